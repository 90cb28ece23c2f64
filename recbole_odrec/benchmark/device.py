"""`recbole-odrec benchmark device`: student and teacher as a device runs them, each measured in a process of its own.

One thread, batch 1, random weights (what is measured does not depend on what was learnt), a history of 20 items,
top-20. Models of one size take turns, several each, so that whatever else the machine does meets all of them alike; a
number is the median of a model's turns.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.benchmark.device_report import markdown, plot
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.benchmark.page_cache import dropped
from recbole_odrec.bundle.precision import Precision
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json, write_text
from recbole_odrec.result import versions

SIZES = (40_727, 1_000_000, 10_000_000)  # Tmall's items, then made-up catalogues
_KINDS: tuple[tuple[str, Precision], ...] = (
    ("student", "fp32"),
    ("student", "int8"),
    ("rounded", "int8"),
    ("codes", "int8"),
    ("teacher", "fp32"),
)
_LARGEST_TEACHER = 4_000_000  # items whose table still fits into one ONNX file
_BLANK_ITEMS, _BLANK_HIDDEN = 60, 16
_TIMEOUT = 900  # seconds


def benchmark_device(
    output: Path,
    sizes: tuple[int, ...] = SIZES,
    say: Callable[[str], object] = lambda line: None,
    seconds: float = 1.0,
    turns: int = 5,
) -> dict[str, Any]:
    """Measures, and writes `device.json`, `device.md` and `device.svg` into a folder.

    Args:
        output: the folder.
        sizes: numbers of items.
        say: told what is being measured.
        seconds: each latency is measured for at least so long in a turn.
        turns: of each model.

    Returns:
        The content of `device.json`.

    Raises:
        UserError: not Linux, whose /proc the memory is read from, or a measurement that fails.
    """
    if min(sizes) < 100:
        raise UserError(f"sizes={list(sizes)}, expected at least 100 items each.")
    if not Path("/proc/self/clear_refs").exists():
        raise UserError(f"benchmark device reads memory from /proc, which {platform.system()} has not; use Linux.")
    rows = []
    with tempfile.TemporaryDirectory(prefix="odrec-device-") as work:
        for n_items in sizes:
            # A teacher's table of over 2 GB: no single ONNX file, and no device.
            kinds = [kind for kind in _KINDS if kind[0] != "teacher" or n_items <= _LARGEST_TEACHER]
            size = [_Contestant(Path(work), *kind, n_items) for kind in kinds]
            for turn in range(1, turns + 1):
                for contestant in size:
                    say(f"{n_items:,} items, turn {turn} of {turns}: {contestant.name}")
                    contestant.take_turn(seconds)
            rows += [contestant.row() for contestant in size]
            for contestant in size:
                shutil.rmtree(contestant.bundle)
    result = {
        "rows": rows,
        "machine": machine(),
        "versions": {**versions(), "onnxruntime": version("onnxruntime")},
    }
    write_json(output / "device.json", result)
    for name, text in (("device.md", markdown(result)), ("device.svg", plot(result))):
        write_text(output / name, text)
    return result


class _Contestant:
    """A model in a bundle, and what its turns measured."""

    def __init__(self, work: Path, model: str, precision: Precision, n_items: int) -> None:
        self.name = f"{model} {precision}"
        self.bundle, self.blank = work / self.name, work / f"{self.name}, blank"
        rate = write_random_bundle(self.bundle, model, n_items, precision)
        write_random_bundle(self.blank, model, _BLANK_ITEMS, precision, hidden_size=_BLANK_HIDDEN)
        files = {path.name: path.stat().st_size for path in self.bundle.iterdir()}
        self.facts = {
            "model": model,
            "precision": precision,
            "n_items": n_items,
            "compression_rate": rate,
            "model_bytes": files["model.onnx"],
            "bundle_bytes": sum(files.values()),
        }
        self.turns: list[dict[str, Any]] = []

    def take_turn(self, seconds: float) -> None:
        """One start whose files are not in memory, one whose are, and one run, each in a fresh process."""
        is_cold = dropped(self.bundle.iterdir())
        cold = self._worker("start", seconds)["first_answer_s"] if is_cold else None
        turn = {k: v for mode in ("start", "run") for k, v in self._worker(mode, seconds).items()}
        self.turns.append({**turn, "cold_answer_s": cold})

    def row(self) -> dict[str, Any]:
        """Facts, and the median of each measurement; None where one could not be taken."""
        taken = {key: [turn[key] for turn in self.turns if turn[key] is not None] for key in self.turns[0]}
        return {**self.facts, **{key: median(of_one) if of_one else None for key, of_one in taken.items()}}

    def _worker(self, mode: str, seconds: float) -> dict[str, float]:
        worker = [sys.executable, "-m", "recbole_odrec.benchmark.device_worker"]
        command = [*worker, mode, str(self.bundle), str(self.blank), str(seconds)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=True
            )
            return json.loads(done.stdout)
        except (subprocess.SubprocessError, ValueError) as error:
            lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise UserError(f"measuring {mode} failed: {lines[-1] if lines else type(error).__name__}") from error
