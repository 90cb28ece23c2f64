"""RecBole's checkpoints, read without executing what is in them.

RecBole pickles its whole Config beside the weights, and unpickling runs whatever the file says. Here only tensors and
plain types are built; any other class in the file becomes an inert record of its state.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch._utils

from recbole_odrec.errors import UserError
from recbole_odrec.files import check_zip

_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class Inert:
    """Stands for an object of any other class, or for a function: takes arguments and state, does nothing."""

    def __init__(self, *arguments: object, **named: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __call__(self, *arguments: object, **named: object) -> Inert:
        return self

    def _ignore(self, *arguments: object) -> None:
        pass

    __setitem__ = append = extend = add = update = _ignore


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _ALLOWED.get((module, name), Inert)


def read_recbole_checkpoint(path: Path) -> dict[str, Any]:
    """Weights and configuration of a checkpoint written by RecBole's trainer.

    Returns:
        `state_dict`, and `config`: those values of its configuration that are plain types.

    Raises:
        UserError: no such file, or not such a checkpoint.
    """
    try:
        module = SimpleNamespace(Unpickler=_Unpickler, __name__="recbole_odrec.bundle.recbole_pickle")
        with path.open("rb") as file:
            check_zip(file)
            if any(name.endswith("constants.pkl") for name in zipfile.ZipFile(file).namelist()):
                raise ValueError("a TorchScript archive")
            file.seek(0)
            state = torch.load(file, map_location="cpu", pickle_module=module, weights_only=False)
        config = state["config"].state["final_config_dict"]
        weights = {name: tensor for name, tensor in state["state_dict"].items() if isinstance(tensor, torch.Tensor)}
        if not weights:
            raise ValueError("no weights")
    except FileNotFoundError:
        raise UserError(f"checkpoint {path} does not exist.") from None
    except Exception as error:  # a damaged pickle fails in any way there is
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{path} is neither a checkpoint of recbole_odrec nor of RecBole ({reason}).") from error
    return {"state_dict": weights, "config": {key: value for key, value in config.items() if is_plain(value)}}


def is_plain(value: object) -> bool:
    """Whether a value is made of JSON's types alone."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (str, int, float, bool))
