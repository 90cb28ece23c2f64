"""Arguments of `recbole-odrec benchmark browser`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.browser import TMALL_ITEMS
from recbole_odrec.benchmark.browser import benchmark_browser as measure
from recbole_odrec.benchmark.browser_report import markdown
from recbole_odrec.errors import UserError


def command(words: Sequence[str]) -> None:
    """Measures, writes and prints the table."""
    parser = CommandParser("benchmark browser", "Bytes, load time and latency of the demo page in Chromium.")
    parser.add_argument("--output", default="results", metavar="DIR", help="where browser.json and .md go")
    parser.add_argument("--bundles", nargs="*", default=[], metavar="DIR", help="trained bundles to measure too")
    parser.add_argument("--items", type=int, default=TMALL_ITEMS, help="of the bundles with random weights")
    options = parser.parse_args(words)
    if options.items < 100:
        raise UserError(f"--items {options.items}, expected at least 100.")
    bundles = [Path(bundle) for bundle in options.bundles]
    result = measure(Path(options.output), bundles, options.items, lambda line: sys.stderr.write(f"{line} ...\n"))
    sys.stdout.write(markdown(result))
