"""`recbole-odrec benchmark data`: resident memory of prepared session data against the bytes of its item ids."""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from recbole_odrec.arguments import CommandParser
from recbole_odrec.data.convert import Split, write_benchmark
from recbole_odrec.data.session_sources import SourceSessions
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json
from recbole_odrec.result import versions

MEAN_LENGTH = 6.4  # items a session, as in Tmall's training sessions


def command(words: Sequence[str]) -> None:
    """Makes synthetic sessions, prepares them in a fresh process, prints and writes what that took."""
    parser = CommandParser("benchmark data", "Memory of prepared data: synthetic sessions in a fresh process.")
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=40_000)
    parser.add_argument("--output", type=Path, default=Path("results/data-memory.json"))
    asked = parser.parse_args(words)
    if asked.interactions < 1000 or asked.items < 2:
        raise UserError("--interactions needs at least 1000, --items at least 2.")
    with tempfile.TemporaryDirectory() as folder:
        _write_synthetic(Path(folder), asked.interactions, asked.items)
        with get_context("spawn").Pool(1) as pool:
            result = pool.apply(prepared_memory, (folder, "synthetic"))
    command = " ".join(["recbole-odrec", "benchmark", "data", *words])
    write_json(asked.output, {"command": command, "versions": versions(), **result})
    for name, value in result.items():
        sys.stdout.write(f"{name}: {value:,}\n")
    sys.stdout.write(f"{asked.output}\n")


def _write_synthetic(folder: Path, n_interactions: int, n_items: int) -> None:
    random = np.random.default_rng(0)
    lengths = 2 + random.poisson(MEAN_LENGTH - 2, size=round(n_interactions / MEAN_LENGTH))
    items = random.integers(1, n_items + 1, size=lengths.sum()).astype(str).tolist()
    ends = np.cumsum(lengths).tolist()
    sessions = [tuple(items[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    n_held_out = len(sessions) // 20
    parts = sessions[: -2 * n_held_out], sessions[-2 * n_held_out : -n_held_out], sessions[-n_held_out:]
    write_benchmark(Split(*(SourceSessions(part) for part in parts)), folder, "synthetic")


def prepared_memory(data_path: str, dataset: str) -> dict[str, Any]:
    """Prepares a data set in this process, draws an epoch's order and its first batches.

    Returns:
        Bytes of the raw int32 item ids; of everything that grows with the sessions: ids, session starts, an epoch's
        order; growth of the process's peak resident memory by preparing and drawing, the names of the items and all
        passing memory included; both as ratios to the raw ids; seconds.
    """
    from recbole_odrec.config import make_config
    from recbole_odrec.data.session_dataset import SessionDataset
    from recbole_odrec.data.window_loader import SessionWindowLoader

    values = {"data_path": data_path, "benchmark_filename": ["train", "valid", "test"], "USER_ID_FIELD": "session_id"}
    config = make_config("SASRecTeacher", dataset, config_dict={**values, "state": "ERROR", "show_progress": False})
    gc.collect()
    before, start = peak_bytes(), perf_counter()
    train, *_ = SessionDataset(config).build()
    seconds = perf_counter() - start
    for _ in islice(SessionWindowLoader(config, train), 100):
        pass
    grown, raw = peak_bytes() - before, train.tokens.nbytes
    order = 4 * len(train.parts[0].starts)  # of an epoch, drawn once
    kept = raw + sum(part.starts.nbytes for part in train.parts) + order
    return {
        "interactions": len(train.tokens),
        "raw_bytes": raw,
        "prepared_bytes": kept,
        "prepared_ratio": round(kept / raw, 3),
        "process_peak_bytes": grown,
        "process_peak_ratio": round(grown / raw, 3),
        "seconds_to_prepare": round(seconds, 1),
    }


def peak_bytes() -> int:
    """The most resident memory that this process has had."""
    status = Path("/proc/self/status")
    if not status.is_file():
        raise UserError("benchmark data reads peak memory from /proc/self/status, which only Linux has.")
    # `getrusage` would give the parent's peak where that is higher.
    return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
