"""One measurement in a process of its own: `python -m recbole_odrec.benchmark.device_worker MODE BUNDLE BLANK S`.

Imports what a device imports. MODE `start` times the way from nothing to the first answer; `run` measures memory and
latency for at least S seconds each. Prints one line of JSON. Memory is read from /proc, so this part needs Linux.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

_STARTED = perf_counter()

import numpy as np  # noqa: E402

from recbole_odrec.bundle.recommender import Recommender  # noqa: E402

_HISTORY_LENGTH, _K = 20, 20
_WARM_UPS, _LEAST_CALLS = 10, 50


def _memory(field: str) -> int:
    """Bytes of a field of /proc/self/status: VmRSS now, VmHWM at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def start(bundle: str) -> dict[str, float]:
    """Seconds from the first import to a loaded bundle, and to its first answer."""
    recommender = Recommender(bundle)
    loaded = perf_counter() - _STARTED
    recommender.recommend_ids([[1, 2, 3]], k=_K)
    return {"start_s": loaded, "first_answer_s": perf_counter() - _STARTED}


def run(bundle: str, blank: str, seconds: float) -> dict[str, float]:
    """Latency history -> top-20, and memory above a process that has served the same graph with next to no weights."""
    random = np.random.default_rng(0)
    runtime_only = Recommender(blank)
    for _ in range(_WARM_UPS):
        runtime_only.recommend_ids([[1, 2, 3]], k=_K)
    runtime = _memory("VmRSS")
    _forget_peak()
    before = perf_counter()
    recommender = Recommender(bundle)
    load_s = perf_counter() - before
    histories: Any = random.integers(1, recommender.n_items + 1, (64, _HISTORY_LENGTH))
    by_id = _latencies(
        lambda number: recommender.recommend_ids(histories[number : number + 1], k=_K), len(histories), seconds
    )
    measured = {
        "load_s": load_s,
        "runtime_bytes": runtime,
        "resident_bytes": _memory("VmRSS") - runtime,
        "peak_bytes": _memory("VmHWM") - runtime,
        "p50_ms": float(np.percentile(by_id, 50)),
        "p95_ms": float(np.percentile(by_id, 95)),
        "calls": len(by_id),
    }
    before = perf_counter()
    tokens = [[recommender.tokens[item] for item in history] for history in histories.tolist()]
    measured["tokens_s"] = perf_counter() - before
    by_token = _latencies(lambda number: recommender.recommend(tokens[number], k=_K), len(tokens), seconds)
    measured["tokens_p50_ms"] = float(np.percentile(by_token, 50))
    measured["tokens_resident_bytes"] = _memory("VmRSS") - runtime
    return measured


def _latencies(call: Callable[[int], object], n_inputs: int, seconds: float) -> list[float]:
    """Milliseconds of single calls."""
    taken: list[float] = []
    for number in range(_WARM_UPS):
        call(number % n_inputs)
    began = perf_counter()
    while len(taken) < _LEAST_CALLS or perf_counter() - began < seconds:
        before = perf_counter()
        call(len(taken) % n_inputs)
        taken.append(1000 * (perf_counter() - before))
    return taken


if __name__ == "__main__":
    mode, bundle, blank, seconds = sys.argv[1:]
    sys.stdout.write(json.dumps(start(bundle) if mode == "start" else run(bundle, blank, float(seconds))) + "\n")
