"""`recbole-odrec benchmark shipping`: the ways to ship one bundle, each with its bytes and its first answer.

Each first answer comes from a fresh process (for the page: a fresh browser), from its start on: with the bundle and the
way's own files out of the page cache, and with both in it. A way whose needs are not here is left out.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.benchmark.page_cache import dropped
from recbole_odrec.benchmark.shipping_ways import WAYS, MissingError, Way, say, total
from recbole_odrec.bundle.manifest import read_manifest
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json, write_text
from recbole_odrec.result import versions

_ITEMS = 40_727  # Tmall's


def command(words: Sequence[str]) -> None:
    """Measures, writes and prints the table."""
    parser = CommandParser("benchmark shipping", "Bytes and first answer of each way to ship a bundle.")
    random = f"default: a student in int8 with random weights, {_ITEMS:,} items"
    parser.add_argument("--bundle", type=Path, metavar="DIR", help=f"folder that `export` has written; {random}")
    parser.add_argument("--turns", type=int, default=5, help="of each way; medians count (default %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/shipping.json"))
    asked = parser.parse_args(words)
    if asked.turns < 1:
        raise UserError(f"--turns {asked.turns}, expected 1 or more.")
    with tempfile.TemporaryDirectory(prefix="odrec-shipping-") as work:
        bundle = asked.bundle and asked.bundle.resolve()  # the ways start in folders of their own
        if bundle is None:
            bundle = Path(work) / "bundle"
            write_random_bundle(bundle, "student", _ITEMS, "int8")
        rows = []
        for way in WAYS:
            try:
                rows.append(measured(way(Path(work), bundle), asked.turns))
            except MissingError as error:
                say(f"left out: {error}")
        manifest = read_manifest(bundle)
    told = {"command": " ".join(["recbole-odrec", "benchmark", "shipping", *words]), "machine": machine()}
    told |= {"versions": versions(), **{key: manifest[key] for key in ("model", "precision", "n_items")}}
    write_json(asked.output, {**told, "rows": rows})
    write_text(asked.output.with_suffix(".md"), markdown({**told, "rows": rows}))
    sys.stdout.write(f"{markdown({**told, 'rows': rows})}{asked.output}\n")


def markdown(result: Mapping[str, Any]) -> str:
    """The page."""
    head = "| way | its code | runtime | installed | bundle | first answer, cold s | warm s |"
    lines = [
        *("# Ways to ship a bundle", "", f"`{result['command']}`", ""),
        f"{result['machine']['processor']}; {result['model']} {result['precision']}, {result['n_items']:,} items.",
        "Seconds from the start of a process (a page: of its loading, in a browser that runs) to the first answer,",
        "medians. Cold: the bundle and the way's code are out of the page cache and of the browser's; interpreter,",
        "browser and ONNX Runtime's libraries are in it. Node and the page read the web runtime's two files with their",
        "code. KB and MB are a thousand and a million bytes: the wheel's as it travels, the others' as they lie there.",
        *("", head, "|" + " --- |" * 7),
    ]
    for row in result["rows"]:
        cold = "" if row["cold_answer_s"] is None else f"{row['cold_answer_s']:.2f}"
        cells = [
            row["way"],
            f"{row['code_bytes'] / 1e3:,.0f} KB",
            row["runtime"],
            f"{row['runtime_bytes'] / 1e6:.1f} MB",
        ]
        cells += [f"{row['bundle_bytes'] / 1e6:.2f} MB", cold, f"{row['warm_answer_s']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def measured(way: Way, turns: int) -> dict[str, Any]:
    """Bytes, and the medians of so many first answers."""
    cold, warm = [], []
    for turn in range(1, turns + 1):
        say(f"{way.name}, turn {turn} of {turns}")
        is_cold = dropped([*way.code, *way.bundle])
        (cold if is_cold else warm).append(way.answer())
        warm.append(way.answer())
    return {
        "way": way.name,
        "code_bytes": way.code_bytes,
        "runtime": way.runtime,
        "runtime_bytes": way.runtime_bytes,
        "bundle_bytes": total(way.bundle),
        "cold_answer_s": median(cold) if len(cold) == turns else None,
        "warm_answer_s": median(warm),
    }
