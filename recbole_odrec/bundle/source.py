"""What is exported: a trained model out of its checkpoint, with the items and test cases of its data set."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.utils import init_seed
from torch import nn

from recbole_odrec.bundle.recbole_pickle import is_plain, read_recbole_checkpoint
from recbole_odrec.config import make_config
from recbole_odrec.config.stored import check_stored
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.errors import UserError
from recbole_odrec.model.adapter import ProductTeacher
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.parts import FIXED_PARTS, NEIGHBOURS
from recbole_odrec.registry import OUR_MODELS, model_class
from recbole_odrec.trainer import checkpoint

# Where a run wrote and on what machine it ran is no property of the model.
_NOT_TAKEN = {
    *("data_path", "checkpoint_dir", "device", "use_gpu", "gpu_id", "state", "show_progress", "log_wandb", "nproc"),
    *("worker", "objectives", "dataset_save_path", "dataloaders_save_path"),
}


@dataclass
class Source:
    """A model ready to be exported.

    Attributes:
        model: in eval mode, on the CPU, with `full_sort_predict`; one of ours or RecBole's.
        config: its configuration.
        test: test rows of its data set.
        data: its rows for training, validation and test.
        tokens: raw token of each id of the bundle, [0] is padding.
        new_ids: int64 [N], the bundle's id of each of RecBole's ids.
        metrics: of the run's `result.json`, None where there is none.
    """

    model: Any
    config: Config
    test: SessionDataset
    data: list[SessionDataset]
    tokens: list[str]
    new_ids: np.ndarray
    metrics: dict[str, Any] | None


def load_source(
    path: Path, data_path: str | None = None, parts: Collection[str] = (), in_seconds: bool = False
) -> Source:
    """Rebuilds the model of a `best.pth` and the data set that it was trained on.

    Args:
        path: checkpoint of a run of ours, or of a RecBole model that scores by an item-embedding product.
        data_path: folder that holds the data set's folder, where it is not where the run found it.
        parts: parts of the user's own, as `module:Class`, that the checkpoint may name.
        in_seconds: keep the times of the data as they are; RecBole makes them 0 to 1.

    Raises:
        UserError: an unreadable checkpoint, data that is missing or another than it was trained on, or a model that
            cannot be exported.
    """
    state = _read(path)
    config = _rebuild_config(state, path, data_path, parts)
    if in_seconds:
        config["normalize_all"] = False
    data = _load_data(config)
    train, test = data[0], data[-1]
    if "items" in state and state["items"] != checkpoint.item_fingerprint(train):
        raise UserError(
            f"{path}: the items of {config['dataset']} in {config['data_path']} are not those it was trained on; "
            "give the folder of its data with --data_path=FOLDER."
        )
    model = _rebuild_model(state, config, train, path)
    if not isinstance(model, SessionRecommender):
        test.pad_to_max = True
        ProductTeacher(model)  # refuses what does not score by a product
    new_ids = _new_ids(model, path)
    old_tokens = [str(token) for token in train.field2id_token[train.iid_field]]
    tokens = [""] * len(old_tokens)
    for old, new in enumerate(new_ids.tolist()):
        tokens[new] = old_tokens[old]
    return Source(model, config, test, data, tokens, new_ids, _run_metrics(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, about the pickle in RecBole's files
            return checkpoint.load_model(path)
    except UserError:
        if not path.is_file():
            raise
        state = read_recbole_checkpoint(path)
        return {**state, "model": state["config"].get("model")}


def _rebuild_config(state: dict[str, Any], path: Path, data_path: str | None, parts: Collection[str]) -> Config:
    stored = state["config"]
    name, dataset = state["model"], stored.get("dataset")
    if not isinstance(name, str) or not isinstance(dataset, str) or Path(dataset).name != dataset:
        raise UserError(f"{path} does not say of which model and data set it is.")
    if name in NEIGHBOURS:
        raise UserError(f"{path}: {name} counts, and has no graph for a device: export a student that it taught.")
    given = {"use_gpu": False, "show_progress": False, "state": "ERROR", "train_neg_sample_args": None}
    if name in FIXED_PARTS:
        given["recipe"] = "none"  # keys younger than the file have their defaults, not a recipe's
    if name not in OUR_MODELS:
        given["metrics"] = stored.get("metrics", ["Recall"])
    folder = Path(str(stored.get("data_path") or "."))
    if data_path is not None or folder.is_dir() or dataset != "ml-100k":  # that one comes with RecBole, wherever it is
        given["data_path"] = data_path if data_path is not None else str(folder.parent)
    config = make_config(name, dataset, config_dict=given)
    taken = {
        key: value
        for key, value in stored.items()
        if key not in _NOT_TAKEN and is_plain(value) and is_plain(config.final_config_dict.get(key))
    }
    check_stored(taken, path, parts, "--part={}")
    for key, value in taken.items():
        config[key] = value
    if config["update_from"]:
        config["update_from"] = str(path)  # its items have the ids of the file, which may be gone
    return config


def _load_data(config: Config) -> list[SessionDataset]:
    init_seed(config["seed"], config["reproducibility"])  # some splits are random
    try:
        return SessionDataset(config).build()
    except UserError:
        raise
    except Exception as error:  # RecBole's data code raises a dozen types
        reason = " ".join(str(error).split())
        raise UserError(f"dataset `{config['dataset']}` could not be prepared: {reason}") from error


def _rebuild_model(state: dict[str, Any], config: Config, train: SessionDataset, path: Path) -> nn.Module:
    try:
        model = model_class(state["model"])(config, train)
        checkpoint.load_weights(model, state["state_dict"], path, state.get("n_items"))
    except UserError:
        raise
    except Exception as error:  # a model of another kind fails in its own way
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: {state['model']} cannot be rebuilt from this data ({reason}).") from error
    return model.eval()


def _new_ids(model: Any, path: Path) -> np.ndarray:
    """Ids of the bundle are columns of the item table, so that an order costs nothing: the list of tokens holds it."""
    ids = torch.arange(model.n_items)
    columns = model.item_table.columns_of(ids) if isinstance(model, SessionRecommender) else ids
    if columns[0] != 0:
        raise UserError(f"{path}: its item table has padding in column {columns[0]}, expected in column 0.")
    return columns.numpy()


def _run_metrics(path: Path) -> dict[str, Any] | None:
    """Validation and test metrics of the phase that wrote this checkpoint."""
    for folder, phase in ((path.parent.parent, path.parent.name), (path.parent, "model")):
        try:
            report = json.loads((folder / "result.json").read_text(encoding="utf-8"))["phases"][phase]
            return {split: report[split]["all"] for split in ("valid", "test") if report[split]}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
