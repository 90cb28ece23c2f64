"""Configuration: RecBole's `Config` with our properties, its keys checked strictly.

RecBole accepts any key of any type and drops arguments it does not understand. For our models an unknown key, a wrong
type or a value out of range is an error before any data is read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import recbole
import yaml
from recbole.config import Config
from recbole.utils import argument_list

from recbole_odrec.chosen_parts import chosen_parts, keys_of, owners_of, possible_keys
from recbole_odrec.errors import UserError, did_you_mean
from recbole_odrec.nn.product import is_quick_in_bfloat16
from recbole_odrec.parsing import TYPES, defaults, parse, require
from recbole_odrec.registry import OUR_MODELS, model_class
from recbole_odrec.settings import (
    LEARNING_RATE_DECAYS,
    PARSED_KEYS,
    SCORE_DTYPES,
    DistillationConfig,
    NetworkConfig,
)
from recbole_odrec.trainer.objectives import needs_teacher

# Keys RecBole reads without a default in any property file.
_RECBOLE_EXTRA_KEYS = {
    *("model", "dataset", "config_files", "encoding", "nproc", "world_size", "ip", "port", "group_offset"),
    *("metrics_decimal_place", "reg_weight", "mask_ratio", "reorder_ratio", "crop_ratio", "local_rank", "offset"),
}

# What RecBole loads of a data set it does not know: without the time, which every sequential model needs.
_RECBOLE_LOAD_COL = {"inter": ["user_id", "item_id"]}


# ---------------------------------------------------------------------- properties and their keys


def properties_folder() -> Path:
    """Our property files: inside the package once installed, beside it in a checkout."""
    inside = Path(__file__).parent / "properties"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "properties"


def _load_properties(name: str) -> dict[str, Any]:
    path = properties_folder() / f"{name}.yaml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}


def dataset_properties(dataset: str, known: Iterable[str]) -> dict[str, Any]:
    """Our settings for a data set, as far as the model knows their keys."""
    known = set(known)
    return {key: value for key, value in _load_properties(f"dataset/{dataset}").items() if key in known}


def _preset_properties(preset: object, known: Iterable[str]) -> dict[str, Any]:
    """The settings of a preset, as far as the model knows their keys.

    Raises:
        UserError: no such preset.
    """
    names = ["none", *sorted(path.stem for path in (properties_folder() / "preset").glob("*.yaml"))]
    require(preset in names, "preset", preset, f"one of {', '.join(names)}")
    known = set(known)
    return {key: value for key, value in _load_properties(f"preset/{preset}").items() if key in known}


# How a data set is read and judged: our settings for it hold for RecBole's models too, so that all rows compare.
_DATA_KEYS = {
    *("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "load_col", "benchmark_filename", "alias_of_item_id"),
    *("MAX_ITEM_LIST_LENGTH", "eval_args", "metrics", "topk", "valid_metric", "eval_batch_size"),
}


def mend_sequential_defaults(config: Config, dataset: str) -> None:
    """Defaults with which no sequential model can run, RecBole's own included, become ones with which it can.

    Negative samples beside a cross-entropy loss are an error, yet RecBole's default; the columns it loads of a data set
    it does not know lack the time. What the user gives stays as given.
    """
    internal, external = config.internal_config_dict, config.external_config_dict
    internal.update(dataset_properties(dataset, _DATA_KEYS))
    values = {**internal, **external}
    if values.get("loss_type") == "CE":
        internal["train_neg_sample_args"] = None
    if internal["load_col"] == _RECBOLE_LOAD_COL:
        internal["load_col"] = {"inter": _needed_columns(values)}


def add_our_properties(config: Config, model: str, dataset: str) -> None:
    """Lays our property files over RecBole's and checks what the user gave (called while a Config is being made)."""
    internal = config.internal_config_dict
    internal.update(_load_properties("overall"))
    internal.update(_load_properties(f"model/{model}"))
    parts = _add_defaults_of_parts(internal, config.external_config_dict, model, dataset)
    internal.update(dataset_properties(dataset, internal))
    if model != "ODRec":  # a teacher that runs alone is the teacher that a student would have
        of_teacher = _load_properties(f"dataset/{dataset}").get("teacher_config", {})
        internal.update({key: value for key, value in of_teacher.items() if key in internal})
    internal.update(_preset_properties(config.external_config_dict.get("preset", internal["preset"]), internal))
    check_keys(config.external_config_dict, internal, f"for {model}")
    if isinstance(config.external_config_dict.get("teacher_config"), dict):  # over the data set's, not in its place
        config.external_config_dict["teacher_config"] = {
            **internal["teacher_config"],
            **config.external_config_dict["teacher_config"],
        }
    values = {**internal, **config.external_config_dict}
    _check_valid_metric(values)
    for key in ("average_decay", "item_skip_prob", "session_jump_prob"):
        require(isinstance(values[key], (int, float)) and 0 <= values[key] < 1, key, values[key], "a number in [0, 1)")
    refit = values["refit_epochs"]
    require(isinstance(refit, int) and refit >= 0, "refit_epochs", refit, "a whole number from 0")
    decay = values["learning_rate_decay"]
    require(decay in LEARNING_RATE_DECAYS, "learning_rate_decay", decay, f"one of {', '.join(LEARNING_RATE_DECAYS)}")
    dtype = values["score_dtype"]
    require(dtype in SCORE_DTYPES, "score_dtype", dtype, f"one of {', '.join(SCORE_DTYPES)}")
    parse(NetworkConfig, values)
    settings = {part: parse(part.Settings, values) for part in parts}
    if model == "ODRec":
        table, distillation = parts[0], parse(DistillationConfig, values)
        table.check_start(settings[table], needs_teacher(values), distillation.init_from_teacher)


def _add_defaults_of_parts(internal: dict[str, Any], given: Mapping[str, Any], model: str, dataset: str) -> list[type]:
    """The parts that the configuration chooses; their keys join the properties, under those of the model's file."""
    parts = _parts_of(model, dataset, given)
    for part in parts:
        internal.update({key: default for key, default in defaults(part.Settings).items() if key not in internal})
    return parts


def _parts_of(model: str, dataset: str, given: Mapping[str, Any]) -> list[type]:
    """The parts that one of our models has on a data set, with what the user gives."""
    files = ("overall", f"model/{model}", f"dataset/{dataset}", f"preset/{given.get('preset', 'none')}")
    layers = [*map(_load_properties, files), given]
    return chosen_parts({**{key: value for layer in layers for key, value in layer.items()}, "model": model})


def settle_score_dtype(config: Config) -> None:
    """`score_dtype: auto` becomes what the device is quick at (called while a Config is being made, device and all)."""
    values = config.final_config_dict
    if values["score_dtype"] == "auto":
        values["score_dtype"] = "bfloat16" if is_quick_in_bfloat16(values["device"]) else "float32"


def _needed_columns(values: Mapping[str, Any]) -> list[str]:
    """Columns of the interaction files that a sequential model reads."""
    user, item = values["USER_ID_FIELD"], values["ITEM_ID_FIELD"]
    return [user, item, values["TIME_FIELD"] if values["benchmark_filename"] is None else item + values["LIST_SUFFIX"]]


def check_keys(given: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> None:
    """Refuses unknown keys and values whose type differs from the default's.

    Raises:
        UserError: the key, what it was given, and the nearest known key or the type expected.
    """
    lists = (getattr(argument_list, name) for name in dir(argument_list) if name.endswith("_arguments"))
    known = set(defaults) | _RECBOLE_EXTRA_KEYS | {key for keys in lists for key in keys}
    for key, value in given.items():
        if key not in known and (owners := owners_of(key)):
            raise UserError(f"{key} belongs to {' and '.join(owners)}, which is not chosen {where}: leave it out.")
        if key not in known:
            raise UserError(f"unknown key `{key}` {where}{did_you_mean(key, known)}.")
        default = defaults.get(key)
        kind = type(default).__name__ if key not in PARSED_KEYS and not owners_of(key) else ""
        if kind not in ("bool", "int", "float", "dict") or (value is None and kind == "dict"):
            continue
        allowed, expected = TYPES[kind]
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "bool"):
            raise UserError(f"{key}={value!r}, expected {expected} (such as {default!r}).")


def _check_valid_metric(values: Mapping[str, Any]) -> None:
    metric, _, cutoff = str(values["valid_metric"]).partition("@")
    metrics = [values["metrics"]] if isinstance(values["metrics"], str) else list(values["metrics"])
    cutoffs = [values["topk"]] if isinstance(values["topk"], int) else list(values["topk"])
    if metric.lower() not in {name.lower() for name in metrics} or cutoff not in {str(k) for k in cutoffs}:
        raise UserError(
            f"valid_metric={values['valid_metric']!r} is not among the metrics computed, {metrics} at topk={cutoffs}; "
            "set valid_metric, metrics and topk so that it is."
        )


# ---------------------------------------------------------------------- making configurations


@contextmanager
def _command_line(arguments: Sequence[str]) -> Iterable[None]:
    """RecBole's Config reads `sys.argv` itself: lets it see exactly these arguments."""
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before


def make_config(
    model: str,
    dataset: str,
    config_files: Sequence[str] = (),
    config_dict: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> Config:
    """RecBole's `Config` with RecBole's precedence (arguments over config_dict over files over properties).

    Args:
        model: model name, ours or RecBole's.
        dataset: data set name.
        config_files: YAML files.
        config_dict: keys and values.
        arguments: `--key=value` words.

    Raises:
        UserError: whatever is wrong with them, in one line.
    """
    for path in config_files:
        if not Path(path).is_file():
            raise UserError(f"configuration file {path} does not exist.")
    name = model_class(model).__name__
    try:
        with _command_line(arguments):
            return Config(name, dataset, config_file_list=list(config_files), config_dict=dict(config_dict or {}))
    except UserError:
        raise
    except yaml.YAMLError as error:
        raise UserError(f"a configuration file is not YAML: {' '.join(str(error).split())}") from error
    except Exception as error:  # RecBole signals bad values with a dozen exception types
        raise UserError(f"configuration refused by RecBole: {' '.join(str(error).split())}") from error


def teacher_config(config: Config, teacher: str, overrides: Mapping[str, Any]) -> Config:
    """The teacher's configuration: its own properties, then what the user gave for the run, then `teacher_config`.

    Data, evaluation and machine settings are the student's own, so that both phases see the same rows. What the data
    set or the run says of a network that this teacher is not is left out.

    Raises:
        UserError: an override that the teacher does not know.
    """
    of_data = _load_properties(f"dataset/{config['dataset']}").get("teacher_config", {})
    foreign = model_keys("SASRecTeacher") - model_keys(teacher)
    if teacher in OUR_MODELS:
        parts = _parts_of(teacher, config["dataset"], {**config.external_config_dict, **overrides})
        foreign = possible_keys("ODRec") - keys_of(parts)
    overrides = {key: value for key, value in overrides.items() if key not in foreign or of_data.get(key) != value}
    student_only = (model_keys("ODRec") | keys_of(chosen_parts(config))) - model_keys("SASRecTeacher")
    given = {key: value for key, value in config.external_config_dict.items() if key not in student_only | foreign}
    given.update({key: config[key] for key in _SHARED_KEYS if key in config})
    given = {**_training_defaults(config), **given, **overrides, "train_neg_sample_args": None}
    given.pop("model", None)
    result = make_config(teacher, config["dataset"], config_dict=given)
    check_keys(overrides, result.internal_config_dict | _training_defaults(config), f"in teacher_config for {teacher}")
    result["data_path"] = config["data_path"]
    return result


def model_keys(model: str) -> set[str]:
    """Keys of the model's own property file, ours or RecBole's, and of its parts: what its network is built from."""
    path = Path(recbole.__file__).parent / "properties" / "model" / f"{model}.yaml"
    recbole_keys = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
    of_parts = possible_keys(model) if model in OUR_MODELS else set()
    return set(recbole_keys) | set(_load_properties(f"model/{model}")) | of_parts


# Of RecBole's own training settings, those that its models and ours read.
_TRAINING_KEYS = {
    *("learning_rate", "weight_decay", "learner", "train_batch_size", "epochs", "stopping_step", "valid_metric"),
    *("MAX_ITEM_LIST_LENGTH", "enable_amp", "fused_loss", "bucket_by_length", "refit_epochs", "seed"),
}


def setting_names(model: str) -> list[str]:
    """Names of the settings that make a run of this model what it is; where its files lie is none of them."""
    names = model_keys(model) | _TRAINING_KEYS | (set(_load_properties("overall")) if model in OUR_MODELS else set())
    return sorted(names - {"teacher_checkpoint", "teacher_cache", "save_step"})


# Both phases must agree on these: the rows, the metric that selects, where things go.
_SHARED_KEYS = ("MAX_ITEM_LIST_LENGTH", "eval_args", "metrics", "topk", "valid_metric", "eval_batch_size", "repeatable")


def _training_defaults(config: Config) -> dict[str, Any]:
    """Training settings that our properties give every model, RecBole's own teachers included."""
    keys = {*_load_properties("overall"), "learning_rate"}
    return {key: config[key] for key in keys if key in config}
