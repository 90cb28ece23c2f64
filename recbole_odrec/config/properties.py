"""Property files, ours and RecBole's: what a configuration is before anybody gives a key."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import recbole
from recbole.config import Config

from recbole_odrec.config.reading import read_yaml
from recbole_odrec.parsing import require
from recbole_odrec.registry import model_class


def properties_folder() -> Path:
    """Our property files: inside the package once installed, beside it in a checkout."""
    inside = Path(__file__).parents[1] / "properties"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "properties"


def our_properties(name: str) -> dict[str, Any]:
    """Keys of one of our property files, `model/ODRec` say; none where there is no such file."""
    return _read(properties_folder() / f"{name}.yaml")


def recipe_properties(recipe: object) -> dict[str, Any]:
    """Keys of a recipe: network, training, teachers; what it does not say, the recipe says that it names.

    Raises:
        UserError: no such recipe.
    """
    names = ["none", *sorted(path.stem for path in (properties_folder() / "recipe").glob("*.yaml"))]
    require(recipe in names, "recipe", recipe, f"one of {', '.join(names)}")
    said = our_properties(f"recipe/{recipe}")
    if "recipe" not in said:
        return said
    base = recipe_properties(said.pop("recipe"))
    of_teachers = {key: {**base[key], **said.get(key, {})} for key in ("every_teacher",) if key in base}
    return {**base, **said, **of_teachers}


def folder_and_name(path: str | Path) -> tuple[str, str]:
    """Of one of our property files, its folder and name (`"recipe", "paper"`); of any other, two empty words."""
    path = Path(path).resolve()
    if properties_folder().resolve() not in path.parents:
        return "", ""
    return path.parent.name, path.stem


def recbole_properties(model: str, dataset: str) -> dict[str, Any]:
    """RecBole's own defaults for a model, ours or its own, on a data set."""
    return deepcopy(_recbole_properties(model, dataset))


def recbole_model_keys(model: str) -> set[str]:
    """Keys of RecBole's property file of a model: what its network is built from."""
    return set(_read(Path(str(recbole.__file__)).parent / "properties" / "model" / f"{model}.yaml"))


@cache
def recbole_keys() -> set[str]:
    """Keys of all of RecBole's property files: one file of settings may serve several of its models."""
    folder = Path(str(recbole.__file__)).parent / "properties"
    return {key for path in folder.rglob("*.yaml") for key in _read_once(path)}


def _read(path: Path) -> dict[str, Any]:
    return deepcopy(_read_once(path)) if path.is_file() else {}


_read_once = cache(read_yaml)  # files of the installation, which do not change under a run


@cache
def _recbole_properties(model: str, dataset: str) -> dict[str, Any]:
    reader = Config.__new__(Config)  # only its reader of property files
    reader.parameters, reader.yaml_loader = {"Dataset": []}, reader._build_yaml_loader()
    reader._load_internal_config_dict(model, model_class(model), dataset)
    return {key: value for key, value in reader.internal_config_dict.items() if key != "MODEL_TYPE"}
