"""Who takes part in `recbole-odrec benchmark train`: RecBole's SASRec, our teacher and students over the same data.

The data is read once; on it contestants can be made for any device, as often as asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import SequentialDataset

from recbole_odrec.config import make_config
from recbole_odrec.data.convert import Split, write_benchmark
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.session_file import session_file_paths
from recbole_odrec.data.session_sources import SourceSessions
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.registry import model_class
from recbole_odrec.trainer.distillation import DistillationTrainer
from recbole_odrec.trainer.resumable import ResumableTrainer

PEER = "RecBole SASRec"
TABLE = "tensor_train"  # the paper's
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


class Sessions(NamedTuple):
    """A data set, read once, as ours and as RecBole's rows.

    Attributes:
        name: of the data set.
        settings: what all contestants share.
        ours: training split.
        device: the one that RecBole finds.
        peers, peer_config: RecBole's own training split and configuration; None without the peer.
    """

    name: str
    settings: dict[str, Any]
    ours: SessionDataset
    device: torch.device
    peers: SequentialDataset | None = None
    peer_config: Config | None = None


def write_sessions(folder: Path, name: str, n_items: int) -> None:
    """Session files in which each of so many items occurs once, in sessions as long as Tmall's."""
    random = np.random.default_rng(0)
    ends = np.cumsum(2 + random.poisson(4.4, size=n_items))
    items = np.split(random.permutation(n_items).astype(str), ends[ends < n_items - 1])
    sessions = [tuple(session.tolist()) for session in items]
    write_benchmark(Split(*(SourceSessions(part) for part in (sessions, sessions[:9], sessions[:9]))), folder, name)


def read_sessions(dataset: str, settings: dict[str, Any], folder: Path, has_peer: bool = True) -> Sessions:
    """Reads session files, and writes the peer's rows of the same sessions into a folder.

    Raises:
        UserError: the data set holds no whole sessions.
    """
    settings = {**_DATA, **settings}
    config = make_config("SASRecTeacher", dataset, config_dict={**settings, "recipe": "paper"})
    data = SessionDataset(config)
    if not session_file_paths(config):
        raise UserError(
            f"{dataset}: benchmark train needs session files of `recbole-odrec convert`, one session a line."
        )
    train = data.build()[0]
    settings["MAX_ITEM_LIST_LENGTH"] = data.max_item_list_len
    if not has_peer:
        return Sessions(dataset, settings, train, config["device"])
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
    of_peer = {
        **{**settings, **_SAME_NETWORK, **_SAME_DROPOUT, "data_path": str(folder), "loss_type": "CE"},
        "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
        "alias_of_item_id": ["item_id_list"],
    }
    peer_config = make_config("SASRec", dataset, config_dict=of_peer)
    return Sessions(dataset, settings, train, config["device"], SequentialDataset(peer_config).build()[0], peer_config)


def contestants(
    data: Sessions, device: torch.device, dtypes: Sequence[str], tables: Sequence[str], folder: Path
) -> Iterator[Contestant]:
    """New, untrained contestants on a device: their numbers do not change the time they take.

    Args:
        data: of `read_sessions`.
        device: where they train.
        dtypes: values of `score_dtype`, each for ours.
        tables: item tables of students.
        folder: for what trainers write.
    """
    yield from _peers(data, device)
    for dtype in dtypes:
        config = _ours("SASRecTeacher", data, device, dtype)
        model = _new_model(config, data.ours)
        trainer = ResumableTrainer(config, model, folder / dtype)
        loader = SessionWindowLoader(config, data.ours)
        yield Contestant(f"SASRecTeacher, {dtype}", loader, model.calculate_loss, trainer.optimizer)
    for table in tables:
        for dtype in dtypes:
            teacher = _new_model(_ours("SASRecTeacher", data, device, dtype), data.ours)
            config = _ours("ODRec", data, device, dtype, table=table, init_from_teacher=True)
            config["init_from_teacher"] = False  # without a fit, whose numbers would be those of chance
            student = _new_model(config, data.ours)
            trainer = DistillationTrainer(config, student, teacher, folder / f"{table}-{dtype}")
            trainer.pair.dataset = data.ours
            loader = SessionWindowLoader(config, data.ours)
            name = "ODRec distillation" if table == TABLE else f"ODRec distillation, {table}"
            yield Contestant(f"{name}, {dtype}", loader, _summed(trainer.loss_parts), trainer.optimizer)


def _peers(data: Sessions, device: torch.device) -> Iterator[Contestant]:
    """RecBole's SASRec over RecBole's own data set and loader, as it comes and without anomaly detection."""
    config = data.peer_config
    if config is None or data.peers is None:
        return
    config["device"] = device
    for name, detects in ((PEER, False), (f"{PEER}, anomaly detection on as its import leaves it", True)):
        model = _new_model(config, data.peers)
        optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])  # as RecBole's Trainer makes it
        loader = TrainDataLoader(config, data.peers, None, shuffle=True)
        yield Contestant(name, loader, model.calculate_loss, optimizer, detects)


def _ours(model: str, data: Sessions, device: torch.device, dtype: str, **settings: Any) -> Config:
    # The paper's network, table and four losses, whatever the data set's own settings are.
    values = {**data.settings, "recipe": "paper", "score_dtype": dtype, **settings}
    config = make_config(model, data.name, config_dict=values)
    config["device"] = device
    return config


@contextmanager
def working_in(folder: str) -> Iterator[None]:
    """Inside, this is the working directory: where RecBole's trainers leave the folders they make."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _new_model(config: Config, train: Any) -> Any:
    return model_class(config["model"])(config, train).to(config["device"]).train()


def _summed(loss_parts: Callable[[Any], tuple[torch.Tensor, ...]]) -> Callable[[Any], torch.Tensor]:
    return lambda batch: sum(loss_parts(batch))  # pyright: ignore[reportReturnType]
