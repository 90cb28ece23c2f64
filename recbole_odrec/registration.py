"""Makes RecBole find our models, their trainers and data sets by name.

RecBole resolves names by convention: `get_model` imports `recbole.model.<package>.<lower-case name>`, `get_trainer`
and `create_dataset` look for `<Model>Trainer` and `<Model>Dataset` in a module. Each gets the one entry it looks for.
"""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType

import recbole.data.dataset
import recbole.model.sequential_recommender
import recbole.trainer

from recbole_odrec.config import hook_properties
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.model import GRU4RecTeacher, ODRec, SASRecTeacher
from recbole_odrec.trainer import DistillationTrainer, ResumableTrainer

_TRAINERS = {ODRec: DistillationTrainer, SASRecTeacher: ResumableTrainer, GRU4RecTeacher: ResumableTrainer}


def register() -> None:
    """Registers everything; safe to call more than once."""
    package = recbole.model.sequential_recommender
    for model, trainer in _TRAINERS.items():
        name = model.__name__
        module_name = f"{package.__name__}.{name.lower()}"
        module = ModuleType(module_name, model.__doc__)
        module.__spec__ = importlib.machinery.ModuleSpec(module_name, None)  # `get_model` asks for the spec first
        setattr(module, name, model)
        sys.modules[module_name] = module
        setattr(package, name, model)
        setattr(recbole.trainer, f"{name}Trainer", trainer)
        setattr(recbole.data.dataset, f"{name}Dataset", SessionDataset)
    hook_properties()
