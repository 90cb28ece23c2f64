"""`recbole-odrec benchmark train`: seconds a training epoch, ours beside RecBole's SASRec, in one run.

Contestants take turns, a few steps each, so that whatever else the machine does meets all of them alike; a step is
what a trainer does: draw the batch, forward, backward, update. An epoch is the median step times the steps of an epoch.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import SequentialDataset
from tqdm import tqdm

from recbole_odrec.benchmark.memory import peak_of_large_blocks
from recbole_odrec.config import make_config
from recbole_odrec.data.convert import Split, write_benchmark
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.session_file import session_file_paths
from recbole_odrec.data.session_sources import SourceSessions
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.nn.product import is_quick_in_bfloat16
from recbole_odrec.registry import model_class
from recbole_odrec.trainer.distillation import DistillationTrainer
from recbole_odrec.trainer.resumable import ResumableTrainer

PEER = "RecBole SASRec"
_DATA = {"USER_ID_FIELD": "session_id", "benchmark_filename": ["train", "valid", "test"]}  # what `convert` writes
_SAME_NETWORK = {"n_layers": 1, "n_heads": 1, "hidden_size": 128, "inner_size": 128}
_SAME_DROPOUT = {"hidden_dropout_prob": 0.5, "attn_dropout_prob": 0.5}


class Contestant(NamedTuple):
    """Something that trains.

    Attributes:
        name: what the table calls it.
        loader: its batches, an epoch each time it is iterated.
        loss: a batch -> scalar with gradient.
        optimizer: over what it trains.
        detects_anomalies: whether autograd's anomaly detection is on, as RecBole's imports leave it.
    """

    name: str
    loader: Any
    loss: Callable[[Any], torch.Tensor]
    optimizer: torch.optim.Optimizer
    detects_anomalies: bool = False


def measure(
    dataset: str, data_path: str, batch_size: int = 512, rounds: int = 8, steps: int = 4, show_progress: bool = True
) -> dict[str, Any]:
    """Times every contestant on a data set of whole sessions; ours in bfloat16 too where the device is quick in it.

    Args:
        dataset, data_path: session files as `recbole-odrec convert` writes them.
        batch_size: training cases a step, for all.
        rounds, steps: turns that each contestant gets, and steps a turn.
        show_progress: a progress bar over turns.

    Returns:
        What `results/training-speed.json` holds.

    Raises:
        UserError: the data set holds no whole sessions.
    """
    settings = {"train_batch_size": batch_size, "state": "ERROR", "show_progress": False}
    common = {**_DATA, **settings, "data_path": str(Path(data_path).resolve())}
    with tempfile.TemporaryDirectory() as folder:
        with _working_in(folder):  # where RecBole's trainers leave the folders they make
            contestants, facts = _contestants(dataset, common, Path(folder))
        score_matrix = 4 * batch_size * facts["items"]  # bytes, float32
        # Each one's very first step, so that memory it keeps from step to step counts; a third of a score matrix is
        # more than any item table's gradient.
        peaks = {
            contestant.name: peak_of_large_blocks(
                partial(_step, contestant, next(iter(contestant.loader))), score_matrix // 3
            )
            for contestant in contestants
        }
        times = _take_turns(contestants, rounds, steps, show_progress)
        report = {}
        for contestant in contestants:
            step_ms = [1000 * seconds for seconds in times[contestant.name]]
            first, _, third = quantiles(step_ms, n=4)
            report[contestant.name] = {
                "step_ms": round(median(step_ms), 1),
                "step_ms_quartiles": [round(first, 1), round(third, 1)],
                "steps_per_epoch": len(contestant.loader),
                "epoch_seconds": round(median(step_ms) * len(contestant.loader) / 1000, 1),
                "peak_score_matrices": round(peaks[contestant.name] / score_matrix, 2),
            }
    peer = report[PEER]["epoch_seconds"]
    for row in report.values():
        row["ratio"] = round(row["epoch_seconds"] / peer, 3)
    return {"facts": {**facts, "batch_size": batch_size, "steps_timed": rounds * steps}, "models": report}


# ---------------------------------------------------------------------- who takes part


def _contestants(dataset: str, common: dict[str, Any], folder: Path) -> tuple[list[Contestant], dict[str, int]]:
    # The paper's network, table and four losses, whatever the data set's own settings are.
    ours = {**common, "preset": "paper"}
    make = {
        dtype: make_config("SASRecTeacher", dataset, config_dict={**ours, "score_dtype": dtype})
        for dtype in ("bfloat16", "float32")
    }
    if not is_quick_in_bfloat16(make["bfloat16"]["device"]):
        del make["bfloat16"]
    data = SessionDataset(make["float32"])
    if not session_file_paths(make["float32"]):
        raise UserError(
            f"{dataset}: benchmark train needs session files of `recbole-odrec convert`, one session a line."
        )
    train = data.build()[0]
    contestants = [*_recbole(dataset, common, data, folder)]
    for dtype, config in make.items():
        model = _new_model(config, train)
        loader = SessionWindowLoader(config, train)
        trainer = ResumableTrainer(config, model, folder / dtype)
        contestants.append(Contestant(f"SASRecTeacher, {dtype}", loader, model.calculate_loss, trainer.optimizer))
    for dtype, teacher_config in make.items():
        config = make_config("ODRec", dataset, config_dict={**ours, "score_dtype": dtype})
        teacher = _new_model(teacher_config, train)  # untrained: its numbers do not change the time they take
        trainer = DistillationTrainer(config, _new_model(config, train), teacher, folder / f"student-{dtype}")
        trainer.pair.dataset = train
        loader = SessionWindowLoader(config, train)
        contestants.append(
            Contestant(f"ODRec distillation, {dtype}", loader, _summed(trainer.loss_parts), trainer.optimizer)
        )
    facts = {"dataset": dataset, "items": data.item_num, "training_cases": len(train)}
    return contestants, facts


def _recbole(dataset: str, common: dict[str, Any], data: SessionDataset, folder: Path) -> Iterator[Contestant]:
    """RecBole's SASRec over RecBole's own data set and loader, as it comes and without anomaly detection."""
    tokens = data.field2id_token[data.iid_field]
    sources = [
        SourceSessions(
            [tuple(tokens[data.tokens[a:b]]) for a, b in zip(part.starts[:-1], part.starts[1:], strict=True)],
            np.broadcast_to(part.n_given, part.n_sessions).tolist(),
        )
        for part in data.parts
    ]
    # As many items a row as the peer has positions: RecBole reads longer rows, and its network fails on them.
    write_benchmark(Split(*sources), folder, dataset, expand=True, max_length=data.max_item_list_len)
    settings = {**common, **_SAME_NETWORK, **_SAME_DROPOUT, "data_path": str(folder)}
    settings["load_col"] = {"inter": ["session_id", "item_id_list", "item_id"]}
    settings["alias_of_item_id"] = ["item_id_list"]
    config = make_config("SASRec", dataset, config_dict={**settings, "loss_type": "CE"})
    train = SequentialDataset(config).build()[0]
    for name, detects in ((PEER, False), (f"{PEER}, anomaly detection on as its import leaves it", True)):
        model = _new_model(config, train)
        optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])  # as RecBole's Trainer makes it
        yield Contestant(
            name, TrainDataLoader(config, train, None, shuffle=True), model.calculate_loss, optimizer, detects
        )


@contextmanager
def _working_in(folder: str) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _new_model(config: Any, train: Any) -> Any:
    return model_class(config["model"])(config, train).to(config["device"]).train()


def _summed(loss_parts: Callable[[Any], tuple[torch.Tensor, ...]]) -> Callable[[Any], torch.Tensor]:
    return lambda batch: sum(loss_parts(batch))  # pyright: ignore[reportReturnType]


# ---------------------------------------------------------------------- the clock


def _take_turns(contestants: list[Contestant], rounds: int, steps: int, show_progress: bool) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    batches = {contestant.name: _endless(contestant.loader) for contestant in contestants}
    turns = tqdm(range(rounds + 1), desc="rounds", disable=None if show_progress else True)
    for turn in turns:
        for contestant in contestants:
            for _ in range(steps if turn else 2):
                start = perf_counter()
                _step(contestant, next(batches[contestant.name]))
                if turn:  # round 0 warms up
                    times[contestant.name].append(perf_counter() - start)
    return times


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _step(contestant: Contestant, batch: Any) -> None:
    with torch.autograd.set_detect_anomaly(contestant.detects_anomalies):
        device = contestant.optimizer.param_groups[0]["params"][0].device
        contestant.optimizer.zero_grad()
        loss = contestant.loss(batch.to(device))
        loss.backward()
        contestant.optimizer.step()
        loss.item()  # waits for an accelerator
