"""Checkpoints of tensors and plain types only: written atomically, verified, loaded without executing anything.

RecBole pickles its whole Config, which torch >= 2.6 refuses to load and nobody should.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset

from recbole_odrec.errors import UserError
from recbole_odrec.files import check_zip, json_plain, write_atomically

FORMAT = "recbole_odrec checkpoint 1"


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Saves a checkpoint; `state` holds tensors and plain types."""
    write_atomically(path, lambda file: torch.save({"format": FORMAT, **state}, file))


def load(path: Path) -> dict[str, Any]:
    """Loads a checkpoint onto the CPU; one flipped bit of it would be another network.

    Raises:
        UserError: the file is missing, damaged anywhere, or not one of ours.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist.")
    try:
        with path.open("rb") as file:
            check_zip(file)
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in any way there is
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path} is not a readable recbole_odrec checkpoint ({reason}).") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of this version of recbole_odrec (expected `{FORMAT}`).")
    return state


_KINDS = {"model": str, "config": dict, "items": str, "epoch": int, "state_dict": dict}
_KINDS_OF_CONFIG = {"MAX_ITEM_LIST_LENGTH": int, "seed": int}


def load_model(path: Path) -> dict[str, Any]:
    """As `load`, of a checkpoint that holds a trained model.

    Raises:
        UserError: as `load`, or what the file says of its model is missing or of another type.
    """
    state = load(path)
    for values, kinds in ((state, _KINDS), (state.get("config") or {}, _KINDS_OF_CONFIG)):
        wrong = [key for key, kind in kinds.items() if not isinstance(values.get(key), kind)]
        if wrong:
            raise UserError(f"{path} is no checkpoint of a model: its `{wrong[0]}` is missing or of another type.")
    return state


# ---------------------------------------------------------------------- random numbers


def rng_state() -> dict[str, Any]:
    """State of every random generator that training draws from."""
    numpy_state: Any = np.random.get_state()
    kind, keys, position, has_gauss, gauss = numpy_state
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.as_tensor(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Puts back what `rng_state` gave."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


# ---------------------------------------------------------------------- what a run is a run of

# Settings that change where a run writes or what it shows, never its numbers.
_VOLATILE = {
    *("data_path", "checkpoint_dir", "show_progress", "state", "gpu_id", "device", "log_wandb", "wandb_project"),
    *("save_step", "worker", "save_dataset", "save_dataloaders", "dataset_save_path", "dataloaders_save_path"),
    *("teacher_cache", "recipe", "config_files", "use_gpu", "eval_batch_size"),
}


def plain_config(config: Config) -> dict[str, Any]:
    """A configuration's values as JSON types."""
    return json.loads(json.dumps(config.final_config_dict, default=json_plain, sort_keys=True))


def fingerprint(*values: Any) -> str:
    """Twelve hexadecimal digits that stand for these values; of a configuration, only what can change its numbers."""
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            digest.update(np.ascontiguousarray(value).tobytes())
        elif hasattr(value, "final_config_dict"):
            kept = {key: kept for key, kept in plain_config(value).items() if key not in _VOLATILE}
            for teacher in kept.get("teachers", []):  # one given as a file counts by what is in it (`identify`)
                teacher.pop("checkpoint", None)
            digest.update(json.dumps(kept, sort_keys=True).encode())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()[:12]


def item_fingerprint(dataset: Dataset) -> str:
    """Stands for the item set and the id of each item."""
    return fingerprint("\n".join(map(str, dataset.field2id_token[dataset.iid_field])))
