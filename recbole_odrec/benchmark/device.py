"""`recbole-odrec benchmark device`: student and teacher as a device runs them, each measured in a process of its own.

One thread, batch 1, random weights (what is measured does not depend on what was learnt), a history of 20 items,
top-20. Ratios teacher / student come from one run.
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
from typing import Any

from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.benchmark.device_report import markdown, plot
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json, write_text
from recbole_odrec.result import versions

SIZES = (40_727, 1_000_000, 10_000_000)  # Tmall's items, then made-up catalogues
_KINDS = (("student", "fp32"), ("student", "int8"), ("teacher", "fp32"))
_LARGEST_TEACHER = 4_000_000  # items whose table still fits into one ONNX file
_BLANK_ITEMS, _BLANK_HIDDEN = 60, 16
_TIMEOUT = 900  # seconds


def benchmark_device(
    output: Path,
    sizes: tuple[int, ...] = SIZES,
    say: Callable[[str], object] = lambda line: None,
    seconds: float = 3.0,
) -> dict[str, Any]:
    """Measures, and writes `device.json`, `device.md` and `device.svg` into a folder.

    Args:
        output: the folder.
        sizes: numbers of items.
        say: told what is being measured.
        seconds: each latency is measured for at least so long.

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
            for model, precision in _KINDS:
                if model == "teacher" and n_items > _LARGEST_TEACHER:
                    continue  # its table alone is over 2 GB: no single ONNX file, and no device
                say(f"{model} {precision}, {n_items:,} items")
                rows.append(_measure(Path(work), model, precision, n_items, seconds))
    result = {
        "rows": rows,
        "machine": {"processor": processor(), "system": platform.platform(), "cpus": os.cpu_count()},
        "versions": {**versions(), "onnxruntime": version("onnxruntime")},
    }
    write_json(output / "device.json", result)
    for name, text in (("device.md", markdown(result)), ("device.svg", plot(result))):
        write_text(output / name, text)
    return result


def _measure(work: Path, model: str, precision: str, n_items: int, seconds: float) -> dict[str, Any]:
    bundle, blank = work / "bundle", work / "blank"
    rate = write_random_bundle(bundle, model, n_items, precision)
    write_random_bundle(blank, model, _BLANK_ITEMS, precision, hidden_size=_BLANK_HIDDEN)
    files = {path.name: path.stat().st_size for path in bundle.iterdir()}
    row = {
        "model": model,
        "precision": precision,
        "n_items": n_items,
        "compression_rate": rate,
        "model_bytes": files["model.onnx"],
        "bundle_bytes": sum(files.values()),
        **_worker("start", bundle, blank, seconds),
        **_worker("run", bundle, blank, seconds),
    }
    shutil.rmtree(bundle)
    return row


def _worker(mode: str, bundle: Path, blank: Path, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "recbole_odrec.benchmark.device_worker", mode, str(bundle), str(blank)]
    command.append(str(seconds))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
        return json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise UserError(f"measuring {mode} failed: {lines[-1] if lines else type(error).__name__}") from error


def processor() -> str:
    """Name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
