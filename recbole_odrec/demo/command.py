"""`recbole-odrec demo`: one page that recommends from a bundle, served from here or written as static files."""

from __future__ import annotations

import ipaddress
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from recbole_odrec.arguments import CommandParser
from recbole_odrec.bundle.withdraw import sold_again
from recbole_odrec.demo.module import write_module
from recbole_odrec.demo.runtime import find_runtime
from recbole_odrec.demo.server import open_server
from recbole_odrec.demo.site import assemble, bundle_deltas, bundle_files, write_site
from recbole_odrec.errors import UserError


def demo(words: Sequence[str]) -> None:
    """Serves the page until Ctrl-C, or writes it with `--export`, or its recommender with `--export-module`."""
    parser = CommandParser("demo", "Shows a bundle in a web page; the recommendations are computed in the browser.")
    parser.add_argument("--bundle", required=True, type=Path, metavar="DIR", help="folder that `export` has written")
    parser.add_argument("--port", type=int, help="default: 8000, or the next one that is free")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1, this machine)")
    named = "another name that requests may give this server, as a proxy in front does; may be repeated"
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=named)
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the page as static files, serve nothing")
    module = "write its recommender as an ES module with the bundle, ready for npm; serve nothing"
    parser.add_argument("--export-module", type=Path, metavar="FOLDER", help=module)
    offline = "holds onnxruntime-web's files, where npm cannot fetch them"
    parser.add_argument("--offline-dir", type=Path, metavar="FOLDER", help=offline)
    delta = "a bundle that visitors may have from an earlier page: they fetch the difference only; may be repeated"
    parser.add_argument("--delta-from", action="append", default=[], type=Path, metavar="OLD", help=delta)
    options = parser.parse_args(words)
    if options.port is not None and not 0 <= options.port <= 65535:
        raise UserError(f"--port {options.port}, expected 0 (any free one) to 65535.")
    bundle = bundle_files(options.bundle)  # first: a wrong bundle is told before anything is fetched
    if options.export_module is not None:
        write_module(bundle, options.export_module)
        sys.stdout.write(f"{options.export_module}\n")
        return
    for old in options.delta_from:
        if items := sold_again(old, options.bundle):
            _note(f"{options.bundle} recommends items again that {old} leaves out: {' '.join(items):.60}")
    deltas = bundle_deltas(options.bundle, options.delta_from) if options.delta_from else {}
    site = assemble(bundle, find_runtime(options.offline_dir, _note), deltas)
    if options.export is not None:
        write_site(site, options.export)
        sys.stdout.write(f"{options.export}\n")
        return
    with open_server(site, options.host, options.port, names=options.allow_host) as server:
        if not _is_this_machine(options.host):
            _note("browsers run the page on this machine or over https: from elsewhere, put an https proxy in front")
        sys.stdout.write(f"{server.url}\nCtrl-C stops the server.\n")
        sys.stdout.flush()
        if options.open:
            webbrowser.open(server.url)
        server.serve_forever()


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _note(line: str) -> None:
    sys.stderr.write(f"recbole_odrec: {line}\n")
