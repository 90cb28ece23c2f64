"""Arguments of `recbole-odrec benchmark device`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.device import SIZES, benchmark_device
from recbole_odrec.benchmark.device_report import markdown


def command(words: Sequence[str]) -> None:
    """Measures, writes and prints the table."""
    parser = CommandParser("benchmark device", "Latency, memory and size of student and teacher on ONNX Runtime.")
    parser.add_argument("--output", type=Path, default=Path("results"), help="where device.json, .md and .svg go")
    parser.add_argument("--items", type=int, nargs="+", default=SIZES, help="catalogue sizes (default: %(default)s)")
    asked = parser.parse_args(words)
    result = benchmark_device(asked.output, tuple(asked.items), lambda line: sys.stderr.write(f"{line} ...\n"))
    sys.stdout.write(markdown(result))
