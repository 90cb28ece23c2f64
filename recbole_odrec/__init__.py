"""OD-Rec for RecBole: next-item recommendation small enough for the user's own device.

Importing this package makes RecBole find our models, trainers and properties by name. It costs nothing until RecBole is
imported too: `recbole_odrec.bundle`, the part that runs on a device, needs neither RecBole nor PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recbole_odrec import import_hooks

if TYPE_CHECKING:
    from recbole_odrec.model import GRU4RecTeacher, ODRec, SASRecTeacher
    from recbole_odrec.nn import SemiTensorTrainEmbedding
    from recbole_odrec.quick_start import run
    from recbole_odrec.trainer.distillation import DistillationTrainer

import_hooks.install()

# Public name -> the module that holds it, imported when the name is first asked for.
_HOMES = {
    "DistillationTrainer": "trainer.distillation",
    "GRU4RecTeacher": "model",
    "ODRec": "model",
    "SASRecTeacher": "model",
    "SemiTensorTrainEmbedding": "nn",
    "run": "quick_start",
}

__all__ = ["DistillationTrainer", "GRU4RecTeacher", "ODRec", "SASRecTeacher", "SemiTensorTrainEmbedding", "run"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
