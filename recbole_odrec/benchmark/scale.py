"""What a training step takes as the catalogue grows: memory and time, each measured in a process of its own.

A step is what a trainer does with a batch: encode, loss over the catalogue, backward, Adam. Weights and items are
random, which changes neither; no data set of ten million items has to be written for it.

Dimension key: B cases, L positions, N items, D embedding.
"""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import psutil
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_odrec.errors import UserError

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
    """

    model: str
    items: int
    batch_size: int
    steps: int
    score_memory: float | str


def measured(asked: Asked) -> dict[str, Any]:
    """`measure` in a new process, whose memory nobody else has used."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (asked,))


def fits(asked: Asked) -> bool:
    """Whether weights, gradients and Adam's state of what trains leave half of the free memory alone."""
    n_dense = {DENSE: 16, "codes that move": 20, "tensor train, taught": 4}.get(asked.model, 0)
    return n_dense * 128 * asked.items < psutil.virtual_memory().available / 2


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
        "processes": 1,
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
    if "compression_rate" in values and asked.items < 10_000:  # codebooks weigh too much for so few items
        values["compression_rate"] = 2
    config = make_config(name, "generated", config_dict=values)
    torch.manual_seed(0)
    model = model_class(name)(config, _Items(asked.items)).to(config["device"]).train()
    table, companion = model.item_table, None
    if asked.model.endswith("move"):
        companion = table.companion(torch.randn(asked.items, table.embedding_dim, device=config["device"]))
    taught = {}
    if asked.model.endswith("taught"):
        taught = {"teacher": _Teacher(asked, table.embedding_dim, config["device"]), "kd_weight": 0.8}
    trained = [*model.parameters(), *([] if companion is None else [companion])]
    optimizer = torch.optim.Adam(trained, fused=True)
    seconds: list[float] = []
    for number in range(asked.steps + 1):
        start = perf_counter()
        cases = model.training_cases(_batch(model, asked))
        if taught:
            taught["teacher"].query = cases.case_repr.detach()
        optimizer.zero_grad()
        model.catalogue_loss(cases, **taught).total.backward()
        optimizer.step()
        if config["device"].type == "cuda":
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
        if number == 0 and seconds[0] < _LONG:
            seconds.clear()
        elif number == 0:
            break
    tile = model.score_memory.tile(table, asked.batch_size, 1 + bool(taught), config["device"])
    return table.n_stored, sum(one.numel() for one in trained), tile is not None, seconds


class _Teacher:
    """Scores of a full table of random rows (`losses.TeacherScores`)."""

    def __init__(self, asked: Asked, width: int, device: torch.device) -> None:
        from recbole_odrec.nn import FrozenTable
        from recbole_odrec.nn.product import ScoreBuffer

        self.table, self.buffer = FrozenTable(torch.randn(asked.items, width, device=device)), ScoreBuffer()
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
    return Interaction(columns).to(model.device)
