"""`recbole-odrec benchmark train`: seconds a training epoch, ours beside RecBole's SASRec, in one run.

Contestants take turns, a few steps each, so that whatever else the machine does meets all of them alike; a step is
what a trainer does: draw the batch, forward, backward, update. An epoch is the median step times the steps of an epoch.
The matrix products of a step, done alone, take turns with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch
from tqdm import tqdm

from recbole_odrec.benchmark.contestants import (
    PEER,
    TABLE,
    Contestant,
    contestants,
    read_sessions,
    working_in,
    write_sessions,
)
from recbole_odrec.benchmark.launches import META, Launches, counted, counted_on_gpu
from recbole_odrec.benchmark.memory import peaks_of_blocks
from recbole_odrec.nn.product import is_quick_in_bfloat16

ITEMS_OF_PEER = 100_000  # of generated sessions: its rows of more would take minutes to read


def measure(
    dataset: str,
    data_path: str,
    batch_size: int = 512,
    rounds: int = 8,
    steps: int = 4,
    show_progress: bool = True,
    tables: Sequence[str] = (TABLE,),
    items: int = 0,
) -> dict[str, Any]:
    """Times every contestant on a data set of whole sessions; ours in bfloat16 too where the device is quick in it.

    Args:
        dataset, data_path: session files as `recbole-odrec convert` writes them.
        batch_size: training cases a step, for all.
        rounds, steps: turns that each contestant gets, and steps a turn.
        show_progress: a progress bar over turns.
        tables: item tables of the students.
        items: above 0, of sessions made for this in place of the data set's; without the peer where there are many.

    Returns:
        What `results/training-speed.json` holds.

    Raises:
        UserError: the data set holds no whole sessions.
    """
    settings = {"train_batch_size": batch_size, "state": "ERROR", "show_progress": False}
    settings["data_path"] = str(Path(data_path).resolve())
    with tempfile.TemporaryDirectory() as folder, working_in(folder):  # where RecBole's trainers leave their folders
        if items:
            dataset, settings["data_path"] = "generated", folder
            write_sessions(Path(folder), dataset, items)
        data = read_sessions(dataset, settings, Path(folder), has_peer=items <= ITEMS_OF_PEER)
        device = data.device
        dtypes = [*(["bfloat16"] if is_quick_in_bfloat16(device) else []), "float32"]
        asked = {
            contestant.name: _asked(contestant, batch_size)
            for contestant in contestants(data, META, dtypes, tables, Path(folder))
        }
        racing = [*contestants(data, device, dtypes, tables, Path(folder))]
    score_matrix = 4 * batch_size * data.ours.item_num  # bytes, float32
    # Each one's very first step, so that memory it keeps from step to step counts; a third of a score matrix is more
    # than any item table's gradient.
    peaks = {
        contestant.name: peaks_of_blocks(
            partial(_step, contestant, next(iter(contestant.loader))), score_matrix // 3, 1 << 20
        )
        for contestant in racing
    }
    alone = {contestant.name: _products(asked[contestant.name], device) for contestant in racing}
    times, products = _take_turns(racing, alone, rounds, steps, show_progress)
    report = {}
    for contestant in racing:
        name, counts = contestant.name, asked[contestant.name]
        step_ms = [1000 * seconds for seconds in times[name]]
        first, _, third = quantiles(step_ms, n=4)
        kernels, waits = counts.kernels.total(), counts.waits.total()
        if device.type == "cuda":
            kernels, waits = counted_on_gpu(partial(_ask, contestant, next(iter(contestant.loader))))
        report[name] = {
            "step_ms": round(median(step_ms), 1),
            "step_ms_quartiles": [round(first, 1), round(third, 1)],
            "steps_per_epoch": len(contestant.loader),
            "epoch_seconds": round(median(step_ms) * len(contestant.loader) / 1000, 1),
            "products_ms": round(1000 * median(products[name]), 1),
            "step_to_products": round(median(step_ms) / (1000 * median(products[name])), 2),
            "kernels": kernels,
            "waits": waits,
            "peak_score_matrices": round(peaks[name][0] / score_matrix, 2),
            "peak_gb": round(peaks[name][1] / 1e9, 3),  # beside weights
        }
    for row in report.values():
        row["ratio"] = round(row["epoch_seconds"] / report[PEER]["epoch_seconds"], 3) if PEER in report else None
    facts = {"dataset": dataset, "items": data.ours.item_num, "training_cases": len(data.ours)}
    facts.update(
        batch_size=batch_size, steps_timed=rounds * steps, counted="GPU" if device.type == "cuda" else "shapes"
    )
    return {"facts": facts, "models": report}


def _take_turns(
    racing: list[Contestant],
    alone: dict[str, Callable[[], object]],
    rounds: int,
    steps: int,
    show_progress: bool,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each step, and of each time that the products of a contestant's step were done alone."""
    times: dict[str, list[float]] = {contestant.name: [] for contestant in racing}
    products: dict[str, list[float]] = {contestant.name: [] for contestant in racing}
    batches = {contestant.name: _endless(contestant.loader) for contestant in racing}
    turns = tqdm(range(rounds + 1), desc="rounds", disable=None if show_progress else True)
    for turn in turns:
        for contestant in racing:
            taken = [
                _timed(lambda contestant=contestant: _step(contestant, next(batches[contestant.name])))
                for _ in range(steps if turn else 2)
            ]
            of_products = [_timed(alone[contestant.name]) for _ in range(2)]
            if turn:  # round 0 warms up
                times[contestant.name] += taken
                products[contestant.name] += of_products
    return times, products


def _timed(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _step(contestant: Contestant, batch: Any) -> None:
    _ask(contestant, batch).item()  # waits for an accelerator


def _ask(contestant: Contestant, batch: Any) -> torch.Tensor:
    """All of a step, without waiting for the device."""
    with torch.autograd.set_detect_anomaly(contestant.detects_anomalies):
        device = contestant.optimizer.param_groups[0]["params"][0].device
        contestant.optimizer.zero_grad()
        loss = contestant.loss(batch.to(device))
        loss.backward()
        contestant.optimizer.step()
    return loss


def _asked(contestant: Contestant, n_cases: int) -> Launches:
    """What a step asks of a device, counted on `META`; the first one, which makes what is kept, is left out."""
    contestant = contestant._replace(detects_anomalies=False)  # which looks at numbers
    for group in contestant.optimizer.param_groups:  # as on a GPU, where RecBole's default is `foreach`
        group.update(fused=False, foreach=True)
    counts = [counted(partial(_ask, contestant, next(iter(contestant.loader))), n_cases) for _ in range(2)]
    return counts[1]


def _products(counts: Launches, device: torch.device) -> Callable[[], object]:
    """The products of a step, done alone into memory that is there."""
    work = [
        (torch.randn(left, device=device).to(dtype), torch.randn(right, device=device).to(dtype), times)
        for (left, right, dtype), times in counts.products.items()
    ]
    memory = [
        torch.empty(*left.shape[:-1], right.shape[-1], dtype=left.dtype, device=device) for left, right, _ in work
    ]

    def multiply() -> None:
        for (left, right, times), out in zip(work, memory, strict=True):
            for _ in range(times):
                torch.matmul(left, right, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return multiply
