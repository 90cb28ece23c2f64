"""Starts `torchrun` on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import recbole_odrec

ROOT = Path(recbole_odrec.__file__).parents[1]
SCRIPT = [str(ROOT / "recbole_odrec" / "__main__.py")]


def torchrun(n_processes: int, folder: Path, words: list[str], **environment: str) -> subprocess.Popen:
    """Starts processes in a folder; what they print is in its `output.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    paths = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    # torchrun kills what does not end by itself; by default, and always before it knew this word, after 30 s.
    paths["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = "5"
    with (folder / "output.txt").open("w") as output:
        return subprocess.Popen(
            [*launcher, *words],
            cwd=folder,
            env={**os.environ, **paths, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def output_of(folder: Path) -> str:
    """What the processes have printed."""
    return (folder / "output.txt").read_text()


def launched(n_processes: int, folder: Path, jobs: list[list]) -> tuple[int, float]:
    """Exit code of the jobs of `worker.py`, and how long they took, seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    start = time.monotonic()
    worker = str(Path(__file__).with_name("worker.py"))
    code = torchrun(n_processes, folder, [worker, "jobs.json", "results.json"]).wait(timeout=300)
    return code, time.monotonic() - start
