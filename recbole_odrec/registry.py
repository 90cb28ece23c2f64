"""Makes RecBole find our models, their trainers, data sets and properties by name.

RecBole resolves names by convention: `get_model` imports `recbole.model.<package>.<lower-case name>`, `get_trainer`
and `create_dataset` look for `<Model>Trainer` and `<Model>Dataset` in a module, `Config` reads a property file of the
model's name from its own folder. Each of these gets the one entry it looks for.
"""

from __future__ import annotations

import functools
import importlib
import sys
from types import ModuleType

import recbole.data.dataset
import recbole.model.sequential_recommender
import recbole.trainer
from recbole.config import Config
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType, get_model

from recbole_odrec.errors import UserError, did_you_mean

OUR_MODELS = ("ODRec", "SASRecTeacher", "GRU4RecTeacher")
_PACKAGES = (
    "sequential_recommender",
    "general_recommender",
    "context_aware_recommender",
    "knowledge_aware_recommender",
)

# RecBole looks for these in a package that imports both libraries, which it does not require.
_NEED_A_PACKAGE = ("LightGBM", "XGBoost")


def register() -> None:
    """Registers everything; safe to call more than once."""
    from recbole_odrec.data.session_dataset import SessionDataset
    from recbole_odrec.model import GRU4RecTeacher, ODRec, SASRecTeacher
    from recbole_odrec.trainer import DistillationTrainer, ResumableTrainer

    trainers = {"ODRec": DistillationTrainer, "SASRecTeacher": ResumableTrainer, "GRU4RecTeacher": ResumableTrainer}
    package = recbole.model.sequential_recommender
    for model in (ODRec, SASRecTeacher, GRU4RecTeacher):
        name = model.__name__
        module_name = f"{package.__name__}.{name.lower()}"
        module = ModuleType(module_name, model.__doc__)
        module.__spec__ = importlib.machinery.ModuleSpec(module_name, None)  # `get_model` asks for the spec first
        setattr(module, name, model)
        sys.modules[module_name] = module
        setattr(package, name, model)
        setattr(recbole.trainer, f"{name}Trainer", trainers[name])
        setattr(recbole.data.dataset, f"{name}Dataset", SessionDataset)
    _hook_properties()


def _hook_properties() -> None:
    """Our property files join RecBole's when a Config is made for one of our models, and its keys are checked."""
    from recbole_odrec.config import add_our_properties, mend_sequential_defaults

    original = Config._load_internal_config_dict
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def load(self: Config, model: str, model_class: type, dataset: str) -> None:
        original(self, model, model_class, dataset)
        if model_class.type == ModelType.SEQUENTIAL:
            mend_sequential_defaults(self)
        if model in OUR_MODELS:
            add_our_properties(self, model, dataset)

    Config._load_internal_config_dict = load


def model_class(name: str) -> type[AbstractRecommender]:
    """The model class of that name, ours or RecBole's.

    Raises:
        UserError: no such model, with the nearest name.
    """
    try:
        return get_model(name)
    except ModuleNotFoundError as error:
        if name in _NEED_A_PACKAGE:
            raise UserError(f"{name} needs the package {error.name}: pip install {error.name}") from error
        raise _unknown(name) from None
    except (ValueError, AttributeError):
        raise _unknown(name) from None


def _unknown(name: str) -> UserError:
    return UserError(f"no model named `{name}`{did_you_mean(name, model_names())}.")


def model_names() -> list[str]:
    """Names of all models that `--model=` takes."""
    names = {*OUR_MODELS, *_NEED_A_PACKAGE}
    for package_name in _PACKAGES:
        package = importlib.import_module(f"recbole.model.{package_name}")
        names.update(name for name, value in vars(package).items() if isinstance(value, type))
    return sorted(names)
