"""`recbole-odrec benchmark scale`: measures, writes `scale.json`, `scale.md` and `scale.png`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.benchmark.scale import MODELS, SPLIT, Asked, fits, measured
from recbole_odrec.benchmark.scale_report import markdown, plot
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json, write_text
from recbole_odrec.result import versions

_MOST = 10_000_000


def command(words: Sequence[str]) -> None:
    """Measures what is asked for, beside the rows that the file has already, and writes table and picture."""
    parser = CommandParser("benchmark scale", "Memory and time of a training step as the catalogue grows.")
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], metavar="N")
    parser.add_argument(
        "--models", nargs="+", choices=[*MODELS], help="default: all; of several processes, full tables"
    )
    parser.add_argument("--batch_size", type=int, default=64, help="cases a step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="that are timed (default: %(default)s)")
    parser.add_argument(
        "--score_memory", type=float, default=0.25, help="GB that scores may take (default: %(default)s)"
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="P", help="that share a batch: tables whole, and rows split"
    )
    parser.add_argument("--output", type=Path, default=Path("results"), metavar="DIR", help="default: %(default)s")
    asked = parser.parse_args(words)
    for name in ("batch_size", "steps", "processes"):
        if getattr(asked, name) < 1:
            raise UserError(f"--{name} {getattr(asked, name)}, expected a number from 1.")
    if asked.processes > asked.batch_size:
        raise UserError(f"--processes {asked.processes}, expected at most --batch_size {asked.batch_size}.")
    models = asked.models or [*(MODELS if asked.processes == 1 else SPLIT)]
    if asked.processes > 1 and (wrong := [model for model in models if model not in SPLIT]):
        raise UserError(f"--models {wrong[0]}, expected of several processes: {' or '.join(SPLIT)}.")
    if not asked.score_memory > 0:
        raise UserError(f"--score_memory {asked.score_memory:g}, expected a number above 0.")
    if wrong := [items for items in asked.items if not 1000 <= items <= 10 * _MOST]:
        raise UserError(f"--items {wrong[0]}, expected numbers from 1000 to {10 * _MOST}.")
    path = asked.output / "scale.json"
    rows = {_name(row): row for row in _read(path)}
    for items in asked.items:
        for model in models:
            for is_split in (False, True) if asked.processes > 1 else (False,):
                sizes = (asked.batch_size, asked.steps, asked.score_memory, asked.processes)
                one = Asked(model, items, *sizes, is_split)
                if not fits(one):
                    sys.stderr.write(f"{model}, {items:,} items: does not fit into half of the free memory, left out\n")
                    continue
                sys.stderr.write(f"{model}, {items:,} items{', rows split' if is_split else ''} ...\n")
                row = measured(one)
                rows[_name(row)] = row
                write_json(path, {"machine": machine(), "versions": versions(), "rows": [*rows.values()]})
    if not rows:
        raise UserError(f"{path} holds no measurement, and --items asks for none.")
    result = json.loads(path.read_text())
    write_text(asked.output / "scale.md", markdown(result))
    plot(result, asked.output / "scale.png")
    sys.stdout.write(f"{markdown(result)}\n{path}\n")


def _name(row: dict[str, Any]) -> tuple[Any, ...]:
    of_one = ("items", "model", "batch_size", "score_memory", "device", "processes")
    return *(row[key] for key in of_one), row.get("split", False)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        return json.loads(path.read_text())["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no result of benchmark scale: move it away.") from error
