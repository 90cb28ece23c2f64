"""Names -> classes: ours first, then RecBole's."""

from __future__ import annotations

import importlib

from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import get_model

from recbole_odrec.errors import UserError, did_you_mean
from recbole_odrec.parts import FIXED_PARTS, NEIGHBOURS

OUR_MODELS = (*FIXED_PARTS, *NEIGHBOURS)
_PACKAGES = (
    "sequential_recommender",
    "general_recommender",
    "context_aware_recommender",
    "knowledge_aware_recommender",
)

# RecBole looks for these in a package that imports both libraries, which it does not require.
_NEED_A_PACKAGE = ("LightGBM", "XGBoost")


def model_class(name: str) -> type[AbstractRecommender]:
    """The model class of that name, ours or RecBole's.

    Raises:
        UserError: no such model, with the nearest name.
    """
    if not name.isidentifier():  # it becomes that of a module
        raise _unknown(name)
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
