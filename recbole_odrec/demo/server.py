"""Serves the page's files and nothing else, from this machine."""

from __future__ import annotations

import errno
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from recbole_odrec.demo.site import Site
from recbole_odrec.errors import UserError

DEFAULT_PORT = 8000
_PORTS_TRIED = 20

# Not the mimetypes module: it reads the system's tables, and some of them have no .mjs or .wasm.
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "wasm": "application/wasm",
    "txt": "text/plain; charset=utf-8",
}


class PageServer(ThreadingHTTPServer):
    """A server of one site.

    Args:
        site: of `site.assemble`; its files are read when they are asked for.
        host: address to listen on.
        port: 0 for any free one.
        on_request: told the path of each request.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, site: Site, host: str, port: int, on_request: Callable[[str], object] = lambda path: None
    ) -> None:
        self.site, self.on_request = site, on_request
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Address of the page."""
        host, port = self.server_address[:2]
        return f"http://{host}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers break connections off; that is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer  # HTTP/1.0, a connection a file: when the server ends, nothing goes on answering
    timeout = 60

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *args: Any) -> None:
        """The terminal is for the address."""

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.on_request(path)
        source = self.server.site.get(path.removeprefix("/") or "index.html")
        try:
            content = source if isinstance(source, bytes) else source.read_bytes() if source else None
        except OSError:
            content = None
        status = HTTPStatus.NOT_FOUND if content is None else HTTPStatus.OK
        content = b"no such file\n" if content is None else content
        kind = "txt" if status == HTTPStatus.NOT_FOUND else path.rpartition(".")[2] if "." in path else "html"
        self.send_response(status)
        self.send_header("Content-Type", _TYPES.get(kind, "application/octet-stream"))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-cache")  # another bundle may be served here next time
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if with_body:
            self.wfile.write(content)


def open_server(
    site: Site, host: str, port: int | None, on_request: Callable[[str], object] = lambda path: None
) -> PageServer:
    """Listens on a port; where none was asked for, on the first free one from DEFAULT_PORT on.

    Raises:
        UserError: the port is taken or not allowed, or there is no such address here.
    """
    ports = [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED)
    for candidate in ports:
        try:
            return PageServer(site, host, candidate, on_request)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(f"cannot listen on {host}, port {candidate}: {error.strerror}.") from error
    tried = f"port {port} is" if port is not None else f"ports {ports[0]} to {ports[-1]} are"
    raise UserError(f"{tried} in use on {host}; give another one with --port, or --port 0 for any free one.")
