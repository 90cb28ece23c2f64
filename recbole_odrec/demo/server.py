"""Serves the page's files and nothing else, from this machine."""

from __future__ import annotations

import errno
import io
import os
import re
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO

from recbole_odrec.bundle.manifest import open_regular
from recbole_odrec.demo.runtime import PAGE
from recbole_odrec.demo.site import Site
from recbole_odrec.errors import UserError

DEFAULT_PORT = 8000
_PORTS_TRIED = 20
_MOST_CONNECTIONS = 64  # a browser opens six
_CHUNK = 2**16  # bytes; a reader has `timeout` seconds for each

# Not the mimetypes module: it reads the system's tables, and some of them have no .mjs or .wasm.
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "json": "application/json",
    "wasm": "application/wasm",
    "txt": "text/plain; charset=utf-8",
}


# The page's own policy, which a static host serves too, and what only a header can say: no frame around the page, no
# second window, no form.
POLICY = (
    re.findall('http-equiv="Content-Security-Policy" content="([^"]+)"', (PAGE / "index.html").read_text("utf-8"))[0]
    + "; frame-ancestors 'none'; sandbox allow-scripts allow-same-origin"
)
HEADERS = {
    "Cache-Control": "no-cache",  # another bundle may be served here next time
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class PageServer(ThreadingHTTPServer):
    """A server of one site.

    Args:
        site: of `site.assemble`; its files are read when they are asked for.
        host: address to listen on.
        port: 0 for any free one.
        on_request: told the path of each request that is answered.
        names: hosts that requests may name beside this machine and the address they arrive at. Any other is refused:
            a page elsewhere whose name was made to lead here (DNS rebinding) could read the bundle.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = _MOST_CONNECTIONS

    def __init__(
        self,
        site: Site,
        host: str,
        port: int,
        on_request: Callable[[str], object] = lambda path: None,
        names: Collection[str] = (),
    ) -> None:
        self.site, self.on_request = site, on_request
        self.names = {"localhost", "127.0.0.1", "::1", host.lower(), *(name.lower() for name in names)}
        self._connections: list[socket.socket] = []  # oldest first
        self._lock = threading.Lock()
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Address of the page."""
        host, port = self.server_address[:2]
        return f"http://[{host}]:{port}/" if ":" in str(host) else f"http://{host}:{port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """A connection too many ends the oldest one: slow readers never keep others out."""
        with self._lock:
            self._connections.append(request)
            if len(self._connections) > _MOST_CONNECTIONS:
                with suppress(OSError):
                    self._connections.pop(0).shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock, suppress(ValueError):
            self._connections.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers break connections off; that is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer  # HTTP/1.0, a connection a file: when the server ends, nothing goes on answering
    timeout = 20  # seconds for each chunk sent
    server_version, sys_version = "recbole_odrec", ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *args: Any) -> None:
        """The terminal is for the address."""

    def _answer(self, with_body: bool) -> None:
        if not self._names_this_server():
            text = b"This server answers requests to localhost, or to the host given with --host or --allow-host.\n"
            self._send(HTTPStatus.FORBIDDEN, "txt", io.BytesIO(text), len(text), with_body)
            return
        path = self.path.partition("?")[0]
        self.server.on_request(path)
        source = self.server.site.get(path.removeprefix("/") or "index.html")
        with ExitStack() as stack:
            status, kind = HTTPStatus.OK, path.rpartition(".")[2] if "." in path else "html"
            try:
                if source is None:
                    raise FileNotFoundError
                file = io.BytesIO(source) if isinstance(source, bytes) else stack.enter_context(open_regular(source))
            except OSError:
                status, kind, file = HTTPStatus.NOT_FOUND, "txt", io.BytesIO(b"no such file\n")
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            self._send(status, kind, file, size, with_body)

    def _send(self, status: HTTPStatus, kind: str, file: BinaryIO, size: int, with_body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _TYPES.get(kind, "application/octet-stream"))
        self.send_header("Content-Length", str(size))
        self.end_headers()
        while with_body and size > 0 and (chunk := file.read(min(_CHUNK, size))):
            self.wfile.write(chunk)
            size -= len(chunk)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def _names_this_server(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        named = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::\d*)?", hosts[0].strip().lower()) if hosts else None
        name = named and (named[1] or named[2])
        return len(hosts) == 1 and name in {*self.server.names, self.connection.getsockname()[0]}


def open_server(
    site: Site,
    host: str,
    port: int | None,
    on_request: Callable[[str], object] = lambda path: None,
    names: Collection[str] = (),
) -> PageServer:
    """Listens on a port; where none was asked for, on the first free one from DEFAULT_PORT on.

    Raises:
        UserError: the port is taken or not allowed, or there is no such address here.
    """
    if not host:
        raise UserError("--host is empty, expected an address of this machine such as 127.0.0.1 (0.0.0.0 is all).")
    ports = [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED)
    for candidate in ports:
        try:
            return PageServer(site, host, candidate, on_request, names)
        except (OSError, UnicodeError) as error:  # a name that is none fails in its encoding
            if getattr(error, "errno", None) != errno.EADDRINUSE:
                reason = getattr(error, "strerror", None) or "no host name"
                raise UserError(f"cannot listen on {host}, port {candidate}: {reason}.") from error
    tried = f"port {port} is" if port is not None else f"ports {ports[0]} to {ports[-1]} are"
    raise UserError(f"{tried} in use on {host}; give another one with --port, or --port 0 for any free one.")
