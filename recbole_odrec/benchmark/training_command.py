"""`recbole-odrec benchmark train`: measures, prints a table, writes the numbers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.contestants import PEER, TABLE
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.benchmark.training import measure
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json
from recbole_odrec.nn import TABLES
from recbole_odrec.result import versions


def command(words: Sequence[str]) -> None:
    """Runs the benchmark as asked on the command line."""
    parser = CommandParser("benchmark train", f"Seconds a training epoch, ours beside {PEER}, and as a ratio to it.")
    parser.add_argument(
        "--dataset", default="tmall", help="session files of `recbole-odrec convert` (default: %(default)s)"
    )
    parser.add_argument("--data_path", default="dataset", help="folder that holds them (default: %(default)s)")
    parser.add_argument("--batch_size", type=int, default=512, help="training cases a step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each model (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="steps a turn (default: %(default)s)")
    parser.add_argument(
        "--tables", nargs="+", default=[TABLE], choices=sorted(TABLES), help="of the students (default: %(default)s)"
    )
    parser.add_argument(
        "--items", type=int, default=0, help="sessions made for this, of so many items, in place of a data set"
    )
    parser.add_argument("--output", type=Path, default=Path("results/training-speed.json"))
    parser.add_argument("--no_progress", action="store_true", help="no progress bar")
    asked = parser.parse_args(words)
    for name in ("batch_size", "rounds", "steps"):
        if getattr(asked, name) < 1:
            raise UserError(f"--{name} {getattr(asked, name)}, expected a number from 1.")
    if asked.items and asked.items < 1000:
        raise UserError(f"--items {asked.items}, expected a number from 1000.")
    if not asked.items and not (Path(asked.data_path) / asked.dataset).is_dir():
        raise UserError(
            f"{Path(asked.data_path) / asked.dataset} does not exist: write it with `recbole-odrec convert --name "
            f"{asked.dataset} --output {asked.data_path} ..`."
        )
    result = measure(
        asked.dataset,
        asked.data_path,
        asked.batch_size,
        asked.rounds,
        asked.steps,
        not asked.no_progress,
        list(dict.fromkeys(asked.tables)),
        asked.items,
    )
    place = {**machine(), "threads": torch.get_num_threads(), "gpu": _gpu()}
    command = " ".join(["recbole-odrec", "benchmark", "train", *words])
    write_json(asked.output, {"command": command, "machine": place, "versions": versions(), **result})
    sys.stdout.write(f"{table(result)}\n{asked.output}\n")


def table(result: dict[str, Any]) -> str:
    """The measurement as a Markdown table."""
    lines = [
        "| model | ms a step (quartiles) | s an epoch | ratio | step / products | kernels | waits | score matrices "
        "alive |",
        f"|{' --- |' * 8}",
    ]
    for name, row in result["models"].items():
        low, high = row["step_ms_quartiles"]
        lines.append(
            f"| {name} | {row['step_ms']:.0f} ({low:.0f} to {high:.0f}) | {row['epoch_seconds']:.0f} | "
            f"{_of_peer(row['ratio'])} | {row['step_to_products']:.2f} | {row['kernels']} | {row['waits']} | "
            f"{row['peak_score_matrices']:.1f} |"
        )
    return "\n".join(lines)


def _of_peer(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _gpu() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
