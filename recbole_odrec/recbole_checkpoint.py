"""RecBole's own checkpoints, read by RecBole's own code, without running what a file says.

RecBole pickles its Config, and of some models a layer with the whole data set, beside the weights. Stock RecBole on
PyTorch before 2.6 unpickles all of it, which runs any code that a file names; PyTorch since 2.6 refuses the file. Here
the file is read, and of what it names only these are built: tensors and arrays, networks, enumerations, and RecBole's
Config, data and samplers from their values (their constructors, which evaluate strings and read files, cannot be
called). Any other name is refused.

It is a fence, not a proof: RecBole goes on to use the configuration that it finds. Our own `export` and
`--teacher_checkpoint` read weights and plain values alone.
"""

from __future__ import annotations

import functools
import logging
import pickle
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn
from unittest.mock import patch

import numpy as np
import torch
import torch._utils
import yaml
from recbole.config import Config
from scipy.sparse import spmatrix

from recbole_odrec.errors import UserError

_FUNCTIONS = {
    ("logging", "getLogger"): logging.getLogger,
    **{("torch._utils", name): getattr(torch._utils, name) for name in ("_rebuild_tensor_v2", "_rebuild_parameter")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): np.ndarray(0).__reduce__()[0] for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): np.float64(0).__reduce__()[0] for core in ("core", "_core")},
}
_CLASSES = (torch.nn.Module, Enum, np.ndarray, np.generic, np.dtype, spmatrix)
_EXACT = {torch.device, torch.Size, OrderedDict, Counter, defaultdict, set, yaml.FullLoader}
_PACKAGES = {"recbole", "torch", "scipy"}  # these may be imported for a file; others must be there already


@functools.cache
def _from_values(kind: type) -> type:
    """A class whose objects are made of their values alone, and are then objects of `kind`."""

    def refuse(self: object, *arguments: object, **named: object) -> NoReturn:
        raise pickle.UnpicklingError(f"a file may hold a {kind.__name__}, it may not make one")

    def fill(self: Any, state: dict[str, Any]) -> None:
        self.__class__ = kind
        self.__dict__.update(state)

    return type(kind.__name__, (kind,), {"__init__": refuse, "__setstate__": fill})


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        from recbole.data.dataset import Dataset  # late: it may be half imported when this module is
        from recbole.data.interaction import Interaction
        from recbole.sampler.sampler import AbstractSampler

        if (module, name) in _FUNCTIONS:
            return _FUNCTIONS[module, name]
        if module in sys.modules or module.partition(".")[0] in _PACKAGES:
            found = super().find_class(module, name)
            if isinstance(found, type) and issubclass(found, (Config, Dataset, Interaction, AbstractSampler)):
                return _from_values(found)
            if isinstance(found, type) and (found in _EXACT or issubclass(found, _CLASSES)):
                return found
        raise UserError(
            f"a RecBole checkpoint holds {module}.{name}, which could run code: if you trust the file, read it with "
            "torch.load(file, weights_only=False)."
        )


_PICKLE = SimpleNamespace(Unpickler=_Unpickler, load=None, __name__=__name__)
_load = torch.load


def load(file: Any, *arguments: Any, **named: Any) -> Any:
    """`torch.load` that reads RecBole's checkpoints too, by the rules of this module, unless told how to read."""
    if "weights_only" not in named and "pickle_module" not in named:
        named.update(weights_only=False, pickle_module=_PICKLE)
    return _load(file, *arguments, **named)


class TorchForRecBole(ModuleType):
    """What a module of RecBole gets for its `torch`: all of it, with `load` for RecBole's checkpoints."""

    load = staticmethod(load)

    def __init__(self) -> None:
        super().__init__("torch", torch.__doc__)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def reading_checkpoints() -> Iterator[None]:
    """Inside, `torch.load` is this module's."""
    with patch.object(torch, "load", load):
        yield
