"""Checkpoints of tensors and plain types only: written atomically, verified, loaded without executing anything.

RecBole pickles its whole Config, which torch >= 2.6 refuses to load and nobody should.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_odrec.errors import UserError
from recbole_odrec.files import check_zip, json_plain, write_atomically
from recbole_odrec.nn.tables.split import own_rows
from recbole_odrec.parsing import VOLATILE
from recbole_odrec.processes.from_first import kept_at_first
from recbole_odrec.processes.group import agreed, first_gives

FORMAT = "recbole_odrec checkpoint 1"


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Saves a checkpoint; `state` holds tensors and plain types. Of several processes, the first one does."""
    first_gives(lambda: write_atomically(path, lambda file: torch.save({"format": FORMAT, **state}, file)))


def exists(path: Path) -> bool:
    """Whether there is such a file, for the process that reads it."""
    return first_gives(path.is_file)


def load(path: Path, in_parts: bool = False) -> dict[str, Any]:
    """Loads a checkpoint onto the CPU; one flipped bit of it would be another network.

    Of several processes, the first one reads the file and gives it to the others, which may be on other machines.

    Args:
        in_parts: of several processes, matrices with a row an item stay with the first (`AtFirst`), until what takes
            them (`load_weights`, `own_rows`, `own_optimizer`) asks for all of one, or for this process's rows.

    Raises:
        UserError: the file is missing, damaged anywhere, or not one of ours.
    """
    return first_gives(lambda: kept_at_first(_load(path)) if in_parts else _load(path))


def _load(path: Path) -> dict[str, Any]:
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


_KINDS = {"model": str, "config": dict, "items": str, "n_items": int, "epoch": int, "state_dict": dict}
_KINDS_OF_CONFIG = {"MAX_ITEM_LIST_LENGTH": int, "seed": int}
_KINDS_OF_TRAINING = {
    **{"training": dict, "cur_step": int, "best_epoch": int, "best_valid_score": float, "rng": dict},
    **{"epoch_seconds": list, "loss_history": list},
}


def load_model(path: Path, in_parts: bool = False) -> dict[str, Any]:
    """As `load`, of a checkpoint that holds a trained model.

    Raises:
        UserError: as `load`, or what the file says of its model is missing or of another type.
    """
    state = load(path, in_parts)
    _check_kinds(path, state, _KINDS)
    _check_kinds(path, state["config"], _KINDS_OF_CONFIG)
    return state


def item_tokens(path: Path) -> list[str]:
    """Items of a student in the order of their ids, from 1.

    Raises:
        UserError: as `load_model`, or the file does not have them.
    """
    state = load_model(path)
    found = state.get("tokens")
    text = found.numpy().tobytes().decode(errors="replace") if isinstance(found, Tensor) else ""
    if fingerprint(text) != state["items"]:
        raise UserError(f"{path} does not say which items it is of, as students do since version 0.2: train it anew.")
    return text.split("\n")[1:]


def packed_tokens(dataset: Dataset) -> Tensor:
    """What `item_tokens` reads, as a checkpoint stores it."""
    return torch.frombuffer(bytearray(_item_lines(dataset).encode()), dtype=torch.uint8)


def load_training(path: Path) -> tuple[Path, dict[str, Any]]:
    """As `load_model`, in parts, of the checkpoint from which training goes on: the file, or its best.pth's last.pth.

    Raises:
        UserError: as `load_model`.
    """
    last = path.with_name("last.pth")
    if not first_gives(lambda: "training" in _load(path)) and exists(last):
        path = last  # a script has RecBole's `saved_model_file`: the best
    state = load_model(path, in_parts=True)
    _check_kinds(path, state, _KINDS_OF_TRAINING)
    return path, state


def _check_kinds(path: Path, values: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for key, kind in kinds.items():
        if not isinstance(values.get(key), kind):
            raise UserError(f"{path} is no checkpoint of a model: its `{key}` is missing or of another type.")


def load_weights(model: Any, weights: Mapping[str, Any], path: Path, n_items: int | None = None) -> None:
    """Puts weights of a file into a model, if they are the model's own; it is as it was otherwise.

    Args:
        model: one with `arrays` takes those at any length, and looks at what is in them itself (`check_arrays`).
        n_items: of how many items the file says that it is.

    Raises:
        UserError: the weight that is missing, too many, of another shape or type, NaN or infinite.
    """
    if n_items is not None and n_items != model.n_items:
        raise UserError(f"{path} says that it is of {n_items} items, and this data has {model.n_items}.")
    weights = own_rows(model, weights)
    with agreed():  # of a matrix whose rows are split, one process may find what others do not have
        _check_weights(model, weights, path)
    model.load_state_dict(dict(weights))


def _check_weights(model: Any, weights: Mapping[str, Any], path: Path) -> None:
    arrays = getattr(model, "arrays", ())
    for name, own in model.state_dict().items():
        is_any = name in arrays and isinstance(weights.get(name), Tensor) and weights[name].dim() == 1
        expected = f"{list(weights[name].shape if is_any else own.shape)} of {own.dtype}"
        if not isinstance(weights.get(name), Tensor):
            raise UserError(f"{path} is of another model: it has no weight `{name}`, expected {expected}.")
        found = f"{list(weights[name].shape)} of {weights[name].dtype}"
        if found != expected:
            raise UserError(f"{path} is of another model: its weight `{name}` is {found}, expected {expected}.")
        if not torch.isfinite(weights[name]).all():
            raise UserError(f"{path}: weight `{name}` holds NaN or infinity; this training run has failed.")
    others = sorted(set(weights) - set(model.state_dict()))
    if others:
        raise UserError(f"{path} is of another model: this one has no weight `{others[0]}`.")
    if arrays and (problem := model.check_arrays(weights)):
        raise UserError(f"{path} is damaged: {problem}.")


@contextmanager
def continuing(path: Path) -> Iterator[None]:
    """Inside, training takes its state from a file: whatever is wrong with that is one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # optimizers and generators refuse in any way there is
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path} cannot be continued ({type(error).__name__}: {reason}): train anew.") from error


# ---------------------------------------------------------------------- random numbers


def rng_state() -> dict[str, Any]:
    """State of every random generator that training draws from."""
    numpy_state: Any = np.random.get_state()
    kind, keys, position, has_gauss, gauss = numpy_state
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        "numpy": [kind, torch.as_tensor(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(internal), gauss_next],
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Puts back what `rng_state` gave."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state(state["cuda"][0])  # of the device in use; processes draw alike
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


# ---------------------------------------------------------------------- what a run is a run of


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
            kept = {key: kept for key, kept in plain_config(value).items() if key not in VOLATILE}
            for teacher in kept.get("teachers", []):  # one given as a file counts by what is in it (`identify`)
                teacher.pop("checkpoint", None)
            digest.update(json.dumps(kept, sort_keys=True).encode())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()[:12]


def same_items(dataset: Dataset, before: str) -> str:
    """As `item_fingerprint`, of a run that began with the items that `before` stands for, if with any.

    Raises:
        UserError: they have changed since.
    """
    now = item_fingerprint(dataset)
    if before and before != now:
        raise UserError("the items of this data are not those that the run began with: train anew, without --resume.")
    return now


def item_fingerprint(dataset: Dataset) -> str:
    """Stands for the item set and the id of each item."""
    return fingerprint(_item_lines(dataset))


def _item_lines(dataset: Dataset) -> str:
    return "\n".join(map(str, dataset.field2id_token[dataset.iid_field]))
