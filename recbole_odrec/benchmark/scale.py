"""What a training step takes as the catalogue grows: memory and time, each measured in a process of its own.

A step is what a trainer does with a batch: encode, loss over the catalogue, backward, Adam. Weights and items are
random, which changes neither; no data set of ten million items has to be written for it.

Dimension key: B cases, L positions, N items, D embedding.
"""

from __future__ import annotations

import os
import socket
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import psutil
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_odrec.data.windows import NEXT_ITEMS, Windows
from recbole_odrec.errors import UserError
from recbole_odrec.model.session_recommender import cases_of_all
from recbole_odrec.nn import FrozenTable
from recbole_odrec.nn.product import ScoreBuffer
from recbole_odrec.nn.tables.split import SplitFrozenTable, split_tables
from recbole_odrec.processes.group import rank, started
from recbole_odrec.processes.shares import Share, bounds_of, sum_gradients

DENSE = "dense"  # what the others are compared with
# The paper's rank, whatever the catalogue's size: cores then grow with its square root.
_CORES = {"table": "tensor_train", "tt_ranks": 60, "stp_factor": 2}
_CODES = {"table": "codes", "compression_rate": 30, "init_from_teacher": True}
MODELS: dict[str, dict[str, Any]] = {
    DENSE: {},
    "tensor train": _CORES,
    "tensor train, taught": _CORES,
    "codes": _CODES,
    "codes that move": {**_CODES, "move_codes_every": 20},
}
_LENGTH = 20
_LONG = 10.0  # seconds: a step that takes as long is measured at once, without one before to warm up


class Asked(NamedTuple):
    """One measurement.

    Attributes:
        model: of `MODELS`.
        items: N, padding included.
        batch_size: B.
        steps: that are timed; their median counts.
        score_memory: the key of that name.
        processes: that share the batch.
        split: whether they share out the rows of the full table as well, trained or frozen.
    """

    model: str
    items: int
    batch_size: int
    steps: int
    score_memory: float | str
    processes: int = 1
    split: bool = False


SPLIT = (DENSE, "tensor train, taught", "codes that move")  # models with a full table that processes can share out


def measured(asked: Asked) -> dict[str, Any]:
    """`measure` in new processes, whose memory nobody else has used; of several, the largest peak and longest step."""
    with get_context("spawn").Pool(asked.processes) as pool:
        if asked.processes == 1:
            return pool.apply(measure, (asked,))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        rows = pool.starmap(_measure_together, [(asked, number, port) for number in range(asked.processes)], 1)
    return {**rows[0], **{name: max(row[name] for row in rows) for name in ("peak_bytes", "step_ms")}}


def _measure_together(asked: Asked, number: int, port: int) -> dict[str, Any]:
    """`measure` as process `number` of several on this machine, as `torchrun` would start it."""
    words = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": asked.processes, "LOCAL_WORLD_SIZE": asked.processes}
    os.environ.update({name: str(value) for name, value in words.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(max(1, torch.get_num_threads() // asked.processes))
    with started():
        return measure(asked)


def fits(asked: Asked) -> bool:
    """Whether weights, gradients and Adam's state of what trains leave half of the free memory alone."""
    n_dense = {DENSE: 16, "codes that move": 20, "tensor train, taught": 4}.get(asked.model, 0)
    copies = 1 if asked.split else asked.processes
    return n_dense * 128 * asked.items * copies < psutil.virtual_memory().available / 2


def measure(asked: Asked) -> dict[str, Any]:
    """Trains some steps in this process.

    Returns:
        Peak bytes above those before the model was made; numbers stored in the item table; numbers trained, with what
        trains along; whether the loss went over tiles; median milliseconds a step, and how many were timed.
    """
    _steps(asked._replace(items=1000, steps=1))  # whatever is loaded at the first step
    memory = _Memory()
    n_stored, n_trained, is_tiled, seconds = _steps(asked)
    return {
        **asked._asdict(),
        "peak_bytes": memory.peak(),
        "stored": n_stored,
        "trained": n_trained,
        "tiled": is_tiled,
        "step_ms": round(1000 * median(seconds), 1),
        "steps": len(seconds),
        "device": memory.device.type,
    }


class _Memory:
    """The most memory of a piece of work, above what there was before."""

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
            return
        if not Path("/proc/self/clear_refs").exists():
            raise UserError("benchmark scale reads a process's peak memory from /proc/self, which only Linux has.")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self.before = psutil.Process().memory_info().rss

    def peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() - self.before
        status = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in status if line.startswith("VmHWM"))
        return max(1024 * int(line.split()[1]) - self.before, 0)


class _Items:
    """As much of a data set as a model asks for."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def num(self, field: str) -> int:
        return self.n_items


def _steps(asked: Asked) -> tuple[int, int, bool, list[float]]:
    from recbole_odrec.config import make_config
    from recbole_odrec.registry import model_class

    name = "SASRecTeacher" if asked.model == DENSE else "ODRec"
    values = {**MODELS[asked.model], "score_memory": asked.score_memory, "state": "ERROR", "recipe": "paper"}
    values |= {"split_table": asked.split, "MAX_ITEM_LIST_LENGTH": 50}
    if "compression_rate" in values and asked.items < 10_000:  # codebooks weigh too much for so few items
        values["compression_rate"] = 2
    config = make_config(name, "generated", config_dict=values)
    torch.manual_seed(0)
    model = model_class(name)(config, _Items(asked.items)).to(config["device"]).train()
    table, companion = model.item_table, None
    if asked.model.endswith("move"):
        bounds = bounds_of(asked.items) if asked.split else None
        n_rows = asked.items if bounds is None else bounds[rank() + 1] - bounds[rank()]
        companion = table.companion(torch.randn(n_rows, table.embedding_dim, device=config["device"]), bounds)
    taught = {}
    if asked.model.endswith("taught"):
        teacher = _Teacher(asked, table.embedding_dim, config["device"])
        taught = {"teacher": teacher, "kd_weight": 0.8, "columns": teacher.table.columns}
    trained = [*model.parameters(), *([] if companion is None else [companion])]
    optimizer = torch.optim.Adam(trained, fused=True)
    seconds: list[float] = []
    for number in range(asked.steps + 1):
        start = perf_counter()
        batch = _batch(model, asked)
        share: Share | None = getattr(batch, "share", None)
        cases = model.training_cases(batch)
        if taught:
            scored = cases if share is None or taught["columns"] is None else cases_of_all(cases, share)
            taught["teacher"].query = scored.case_repr.detach()
        optimizer.zero_grad()
        loss = model.catalogue_loss(cases, **taught).total
        (loss if share is None else share.part_of("cases") * loss).backward()
        if share is not None:
            own = [*(split.weight for split in split_tables(model).values()), *([companion] if asked.split else [])]
            sum_gradients([one for one in trained if all(one is not weight for weight in own)])
        optimizer.step()
        if config["device"].type == "cuda":
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
        if number == 0 and seconds[0] < _LONG:
            seconds.clear()
        elif number == 0:
            break
    columns = taught.get("columns") or table.columns
    n_rows = asked.batch_size if columns is not None else -(-asked.batch_size // asked.processes)
    tile = model.score_memory.tile(table, n_rows, 1 + bool(taught), config["device"], columns)
    return table.n_stored, sum(one.numel() for one in trained), tile is not None, seconds


class _Teacher:
    """Scores of a full table of random rows (`losses.TeacherScores`)."""

    def __init__(self, asked: Asked, width: int, device: torch.device) -> None:
        bounds = bounds_of(asked.items)
        n_own = bounds[rank() + 1] - bounds[rank()] if asked.split else asked.items
        rows = torch.randn(n_own, width, device=device)
        self.table = SplitFrozenTable(rows, bounds) if asked.split else FrozenTable(rows)
        self.buffer = ScoreBuffer()
        self.query = torch.empty(0)

    @torch.no_grad()
    def __call__(self, columns: slice | None) -> Tensor:
        if columns is None:
            return self.table.raw_scores(self.query, buffer=self.buffer)
        return self.table.tile_scores(self.query, columns, [])


def _batch(model: Any, asked: Asked) -> Interaction:
    items = torch.randint(1, asked.items, (asked.batch_size, _LENGTH + 1))
    lengths = torch.full((asked.batch_size,), _LENGTH)
    columns = {model.ITEM_SEQ: items[:, 1:], model.ITEM_SEQ_LEN: lengths, model.POS_ITEM_ID: items[:, 0]}
    if asked.processes == 1:
        return Interaction(columns).to(model.device)
    columns[NEXT_ITEMS] = torch.zeros(asked.batch_size, _LENGTH, dtype=torch.int64)
    columns[NEXT_ITEMS][:, -1] = items[:, 0]
    return Windows(columns, columns[NEXT_ITEMS].flatten().nonzero().squeeze(1)).shared().to(model.device)
