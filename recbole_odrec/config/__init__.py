"""Configuration: resolved once from files and arguments (`resolve`), and RecBole's `Config` made from the values."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from recbole.config import Config

from recbole_odrec.chosen_parts import possible_keys, unused_keys
from recbole_odrec.config.layers import TEACHER_SPELLINGS, Resolved, known_keys, read_arguments
from recbole_odrec.config.properties import our_properties, properties_folder, recbole_model_keys
from recbole_odrec.config.reading import read_yaml
from recbole_odrec.config.resolve import differences, resolve, resolve_teacher
from recbole_odrec.errors import UserError
from recbole_odrec.nn.product import is_quick_in_bfloat16
from recbole_odrec.registry import OUR_MODELS, model_class

__all__ = ["make_config", "model_keys", "properties_folder", "resolve", "setting_names", "teacher_config"]


class PlainValues(dict):
    """Keys and values that RecBole's `Config` takes as they are: it would evaluate strings otherwise."""


def make_config(
    model: str,
    dataset: str,
    config_files: Sequence[str] = (),
    config_dict: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> Config:
    """RecBole's `Config` of a run (`resolve`).

    Args:
        model: model name, ours or RecBole's.
        dataset: data set name.
        config_files: YAML files.
        config_dict: keys and values.
        arguments: `--key=value` words.

    Raises:
        UserError: whatever is wrong with them, in one line.
    """
    return config_of(resolve(model_class(model).__name__, dataset, config_files, config_dict, arguments))


def config_of(resolved: Resolved) -> Config:
    """RecBole's `Config` that holds these values.

    Raises:
        UserError: RecBole refuses them.
    """
    try:
        return Config(resolved.model, resolved.dataset, config_dict=resolved)
    except UserError:
        raise
    except Exception as error:  # RecBole signals bad values with a dozen exception types
        raise UserError(f"configuration refused by RecBole: {' '.join(str(error).split())}") from error


def teacher_config(
    config: Config, teacher: str, differs: Mapping[str, Any], stored: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of a teacher of this student.

    Args: as `resolve_teacher`.

    Raises:
        UserError: a difference that the teacher does not know.
    """
    student = Resolved(config["model"], config["dataset"], config.final_config_dict, config.external_config_dict)
    result = config_of(resolve_teacher(student, teacher, differs, stored))
    result["data_path"] = config["data_path"]
    return result


def teacher_configs(config: Config) -> list[Config | None]:
    """Configurations of a student's teachers, in the order of its list; None for one that is given as a file.

    Entries that are alike but for their weight have seeds one apart.
    """
    alike: dict[str, int] = {}
    configs: list[Config | None] = []
    for entry in config["teachers"]:
        if "checkpoint" in entry:
            configs.append(None)
            continue
        found = teacher_config(config, entry["model"], differences(entry))
        kind = repr(sorted((key, value) for key, value in entry.items() if key != "weight"))
        alike[kind] = alike.get(kind, -1) + 1
        found["seed"] = (found["seed"] + alike[kind]) % 2**32  # what NumPy takes
        configs.append(found)
    return configs


# ---------------------------------------------------------------------- called while a Config is being made


def resolve_script(model: Any, dataset: str | None, files: Sequence[str] | None, given: Any) -> Resolved | None:
    """What a plain RecBole script asks for where it asks for one of our models; None leaves RecBole as it is.

    Of `sys.argv`, keys that the model knows; the rest is the script's own, as RecBole has it.
    """
    name = getattr(model, "__name__", model)
    if name is not None and name not in OUR_MODELS:
        return None
    words = [] if "ipykernel_launcher" in sys.argv[0] else sys.argv[1:]
    arguments = {word: word[2:].partition("=")[0] for word in words if word.startswith("--") and "=" in word}
    if name is None or dataset is None:
        said = {key: value for path in files or () for key, value in read_yaml(path).items()}
        said.update({**(given or {}), **read_arguments(arguments)})
        name, dataset = name or said.get("model"), dataset or said.get("dataset")
    if name not in OUR_MODELS or dataset is None:
        return None
    known = known_keys(name, dataset) | TEACHER_SPELLINGS | {"preset"}
    return resolve(name, dataset, files or (), given, [word for word, key in arguments.items() if key in known])


@contextmanager
def no_arguments() -> Iterator[None]:
    """RecBole's Config reads `sys.argv` itself, and evaluates it: here it finds nothing there."""
    before = sys.argv
    sys.argv = before[:1]
    try:
        yield
    finally:
        sys.argv = before


def settle_score_dtype(config: Config) -> None:
    """`score_dtype: auto` becomes what the device is quick at."""
    values = config.final_config_dict
    if values.get("score_dtype") == "auto":
        values["score_dtype"] = "bfloat16" if is_quick_in_bfloat16(values["device"]) else "float32"


# ---------------------------------------------------------------------- which keys make a model what it is


def model_keys(model: str) -> set[str]:
    """Keys that a model's network is built from, ours or RecBole's."""
    ours = our_properties(f"model/{model}").keys() | possible_keys(model) if model in OUR_MODELS else set()
    return recbole_model_keys(model) | ours


# Of RecBole's own training settings, those that its models and ours read.
_TRAINING_KEYS = {
    *("learning_rate", "weight_decay", "learner", "train_batch_size", "epochs", "stopping_step", "valid_metric"),
    *("MAX_ITEM_LIST_LENGTH", "enable_amp", "fused_loss", "bucket_by_length", "refit_epochs", "seed"),
    "exclude_seen",
}


def setting_names(model: str) -> list[str]:
    """Names of the settings that make a run of this model what it is; where its files lie is none of them."""
    names = model_keys(model) | _TRAINING_KEYS | (set(our_properties("overall")) if model in OUR_MODELS else set())
    return sorted(names - unused_keys(model) - {"teacher_cache", "save_step", "score_memory", "split_table"})
