"""The server: the site and nothing else, to this machine's names alone, however slowly it is read."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from recbole_odrec.benchmark.chromium import serve


def test_the_server_gives_the_site_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "engine.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret").write_text("secret")
    site = {
        "index.html": b"<p>",
        "runtime/engine.wasm": tmp_path / "engine.wasm",
        "a.mjs": b"",
        "gone.js": tmp_path / "x",
    }
    with serve(site) as server:
        for path, kind, body in (
            ("", "text/html; charset=utf-8", b"<p>"),
            ("index.html?query", "text/html; charset=utf-8", b"<p>"),
            ("runtime/engine.wasm", "application/wasm", b"\0asm"),
            ("a.mjs", "text/javascript; charset=utf-8", b""),
        ):
            with urllib.request.urlopen(server.url + path, timeout=10) as answer:
                assert (answer.headers["Content-Type"], answer.read()) == (kind, body)
                assert answer.headers["Cache-Control"] == "no-cache"
        for path in ("secret", "runtime/../secret", f"{tmp_path}/secret", "gone.js", "runtime/"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(server.url + path, timeout=10)


def raw(server, text: str) -> tuple[str, bytes]:
    """Status line and headers, and body, of a request written by hand."""
    with socket.create_connection(server.server_address[:2], timeout=10) as connection:
        connection.sendall(text.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


@pytest.mark.parametrize(
    ("host", "is_answered"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:PORT", True),
        ("127.0.0.1:1", True),  # as through a tunnel
        ("[::1]:8000", True),
        ("Proxy.example", True),
        ("evil.example", False),
        ("evil.example:PORT", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example#localhost", False),
        ("localhost@evil.example", False),
        ("localhost:80:80", False),
        ("192.168.1.1", False),
        ("[::2]", False),
        ("", False),
        (None, False),
        ("localhost\r\nHost: evil.example", False),
    ],
)
def test_a_host_that_is_not_this_server_is_refused(host: str | None, is_answered: bool) -> None:
    """A page elsewhere whose name leads here (DNS rebinding) must not read what is served."""
    with serve({"index.html": b"<p>secret"}) as server:
        server.names.add("proxy.example")  # --allow-host
        line = "" if host is None else f"Host: {host}\r\n".replace("PORT", str(server.server_address[1]))
        for method in ("GET", "HEAD"):
            head, body = raw(server, f"{method} / HTTP/1.1\r\n{line}\r\n")
            assert head.split()[1] == ("200" if is_answered else "403")
            assert body == (b"" if method == "HEAD" else b"<p>secret" if is_answered else body)
            assert b"secret" not in body or is_answered
        if not is_answered:
            head, body = raw(server, f"GET / HTTP/1.1\r\n{line}\r\n")
            assert (
                body
                == b"This server answers requests to localhost, or to the host given with --host or --allow-host.\n"
            )


def test_every_answer_has_the_policy(tmp_path: Path) -> None:
    with serve({"index.html": b"<p>"}) as server:
        for request, status in (("GET /", 200), ("HEAD /", 200), ("GET /x", 404), ("POST /", 501), ("GET /?q=1", 200)):
            head, _ = raw(server, f"{request} HTTP/1.1\r\nHost: localhost\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
            assert head.split()[1] == str(status)
            policy = headers["Content-Security-Policy"].split("; ")
            assert {"default-src 'self'", "img-src data:", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
            assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
            assert "Python" not in headers["Server"]


def test_a_head_has_the_length_and_a_range_is_the_whole(tmp_path: Path) -> None:
    (tmp_path / "file.js").write_bytes(bytes(range(256)) * 1000)
    with serve({"file.js": tmp_path / "file.js"}) as server:
        for request, expected in (("HEAD", b""), ("GET", bytes(range(256)) * 1000)):
            head, body = raw(server, f"{request} /file.js HTTP/1.1\r\nHost: localhost\r\nRange: bytes=5-9\r\n\r\n")
            assert head.split()[1] == "200"
            assert "\r\nContent-Length: 256000\r\n" in head
            assert body == expected


def test_no_spelling_of_a_path_leaves_the_site(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.js").write_text("a")
    os.mkfifo(tmp_path / "pipe")
    dots = ["..", "%2e%2e", "%252e%252e", ".%2e", "..;", "..%00", "\u2025", "%c0%ae%c0%ae", "....//.."]
    slashes = ["/", "\\", "%2f", "%5c", "%252f", "//"]
    with serve({"index.html": b"i", "site/a.js": tmp_path / "site" / "a.js", "p.js": tmp_path / "pipe"}) as server:
        for dot, slash, start in itertools.product(dots, slashes, ["/", "/site/", "//", "http://localhost/"]):
            for end in ("secret", f"{tmp_path}/secret"):
                head, body = raw(server, f"GET {start}{dot}{slash}{end} HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert head.split()[1] == "404", (start, dot, slash)
                assert b"secret" not in body
        head, _ = raw(server, "GET /p.js HTTP/1.1\r\nHost: localhost\r\n\r\n")  # a pipe is not waited for
        assert head.split()[1] == "404"


def test_many_slow_readers_cost_little_and_keep_nobody_out(tmp_path: Path) -> None:
    """Each got the whole file into memory once: 60 readers of a model took 857 MB."""
    size = 32 * 2**20
    (tmp_path / "model.onnx").write_bytes(b"\0" * size)
    script = """
import resource, sys
from pathlib import Path
from recbole_odrec.benchmark.chromium import serve
with serve({"index.html": b"<p>", "model.onnx": Path(sys.argv[1])}) as server:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(server.server_address[1], flush=True)
    sys.stdin.readline()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "model.onnx")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    readers = []
    try:
        address = ("127.0.0.1", int(process.stdout.readline()))
        for _ in range(150):
            readers.append(socket.create_connection(address, timeout=20))
            readers[-1].sendall(b"GET /model.onnx HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for reader in readers[-60:]:
            assert reader.recv(1024).startswith(b"HTTP/1.0 200")
        with urllib.request.urlopen(f"http://localhost:{address[1]}/model.onnx", timeout=20) as answer:
            assert len(answer.read()) == size
        out, _ = process.communicate("\n", timeout=20)
        assert int(out) < 40_000  # kB
    finally:
        for reader in readers:
            reader.close()
        process.kill()


def test_a_reader_that_takes_nothing_is_dropped(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("recbole_odrec.demo.server._Handler.timeout", 0.3)
    (tmp_path / "model.onnx").write_bytes(b"\0" * 2**25)
    with serve({"model.onnx": tmp_path / "model.onnx"}) as server:
        for request in (b"GET /model.onnx HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /mod"):
            with socket.create_connection(server.server_address[:2], timeout=10) as reader:
                reader.sendall(request)
                time.sleep(1.5)
                assert server._connections == []
                assert sum(map(len, iter(lambda reader=reader: reader.recv(2**16), b""))) < 2**25
