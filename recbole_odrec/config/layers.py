"""Layers of a configuration: property files, a recipe and what the user gives become one set of plain, checked values.

A later line goes over an earlier one:

    RecBole's defaults               recbole/properties
    ours of every model              properties/overall.yaml
    ours of the model                properties/model/<model>.yaml, and what the chosen parts say of their own keys
    data keys of the data set        properties/dataset/<dataset>.yaml
    a recipe                         properties/recipe/<recipe>.yaml: the data set's, or the one asked for
    configuration files
    config_dict
    arguments

RecBole accepts any key of any type, and evaluates what it is given; here an unknown key, a wrong type or a value out of
range is an error before any data is read, and nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from recbole.utils import ModelType, argument_list

from recbole_odrec.chosen_parts import chosen_parts, owners_of, possible_keys, unused_keys
from recbole_odrec.config.properties import (
    folder_and_name,
    our_properties,
    recbole_keys,
    recbole_properties,
    recipe_properties,
)
from recbole_odrec.config.reading import plain, read_word, read_yaml
from recbole_odrec.config.rules import RULES, TEXTS, check_effects, check_types, check_values
from recbole_odrec.errors import UserError, did_you_mean
from recbole_odrec.parsing import defaults, parse, require
from recbole_odrec.registry import OUR_MODELS, model_class
from recbole_odrec.settings import DistillationConfig, NetworkConfig
from recbole_odrec.trainer.objectives import needs_teacher

# What RecBole loads of a data set it does not know: without the time, which every sequential model needs.
_RECBOLE_LOAD_COL = {"inter": ["user_id", "item_id"]}

# Keys that have no default in any property file: RecBole's for every model, then those that only its own models know,
# the last of them through our script (`baseline`).
EXTRA_KEYS = {key for name in dir(argument_list) if name.endswith("_arguments") for key in getattr(argument_list, name)}
EXTRA_KEYS |= {"encoding", "nproc", "tail_ratio"}
EXTRA_KEYS -= {"config_file"}  # which nothing reads
_RECBOLE_KEYS = {
    *("reg_weight", "mask_ratio", "reorder_ratio", "crop_ratio", "accum", "cin", "contrast", "eta", "feature_num"),
    *("has_residual", "hidden_dimension", "mf_embedding_size", "mixed", "norm", "sim", "token_num_threshold"),
    *("train_rec_step", "ui_embedding_size", "use_filter", "xgb_early_stopping_rounds", "MASK_INDEX", "NEG_ITEMS"),
    *("CROP_ITEM_SEQ", "CROP_ITEM_SEQ_LEN", "INVERSE_ITEM_SEQ", "MASK_ITEM_SEQ", "POS_ITEMS", "REORDER_ITEM_SEQ"),
    *("fused_loss", "bucket_by_length", "refit_epochs", "exclude_seen", "shuffle_buffer"),
}


# What a model reads beside its parts.
_SETTINGS: dict[str, tuple[type, ...]] = {
    "ODRec": (NetworkConfig, DistillationConfig),
    "SASRecTeacher": (NetworkConfig,),
    "GRU4RecTeacher": (NetworkConfig,),
}

# How a student's teachers can be written too (`resolve` reads them), and how 0.1 wrote them.
TEACHER_SPELLINGS = {
    "teacher",
    "teacher_config",
    "n_teachers",
    "second_teacher",
    "teacher_weights",
    "teacher_checkpoint",
}

# Prepared data that RecBole finds in `checkpoint_dir` is a pickle: read where somebody names it, never found.
_NO_FILE = "/dev/null/prepared data"


@dataclass(frozen=True)
class Resolved:
    """Values of a configuration.

    Attributes:
        model: name of the model.
        dataset: name of the data set.
        defaults: what the property files, the recipe and the parts say.
        given: what the user says, which goes over them.
    """

    model: str
    dataset: str
    defaults: dict[str, Any]
    given: dict[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """Both, laid over each other."""
        return {**self.defaults, **self.given}


def resolve_model(
    model: str,
    dataset: str,
    config_files: Sequence[str] = (),
    config_dict: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    heard: Mapping[str, Any] | None = None,
) -> Resolved:
    """What a run of a model on a data set is.

    Args:
        model: name of a model, ours or RecBole's.
        dataset: name of the data set.
        config_files: YAML files; of our own property files, what the model knows.
        config_dict: keys and values.
        arguments: `--key=value` words.
        heard: for a teacher, what its student's run says, as far as the teacher knows the keys: below the files. Any
            model trains as ours do then.

    Raises:
        UserError: whatever is wrong with them, in one line.
    """
    kind, is_ours = model_class(model), model in OUR_MODELS
    given, lent = _lay(heard or {}, config_files, config_dict or {}, arguments)
    for key, asked in (("model", model), ("dataset", dataset)):  # a file may say them too
        found = given.pop(key, asked)
        require(found == asked, key, found, f"{asked}, which this run was asked for")
    base, of_data = recbole_properties(model, dataset), our_properties(f"dataset/{dataset}")
    base.update(dict.fromkeys(("dataset_save_path", "dataloaders_save_path"), _NO_FILE))
    overall, recipe, parts = our_properties("overall"), {}, []
    own_recipe = of_data.pop("recipe", overall["recipe"])
    if is_ours or heard is not None:
        base.update({**overall, "recipe": own_recipe})
    if is_ours:
        base.update(our_properties(f"model/{model}"))
        recipe = recipe_properties(given.get("recipe", own_recipe))
        every_teacher = recipe.pop("every_teacher", {})
        if model != "ODRec":  # a teacher that runs alone is the teacher that a student would have
            recipe.update(every_teacher)
        parts = chosen_parts({**base, **recipe, **given, "model": model})
        base = {**{key: value for part in parts for key, value in defaults(part.Settings).items()}, **base}
    known = {
        *base,
        *EXTRA_KEYS,
        *(TEACHER_SPELLINGS if model == "ODRec" else ()),
        *(() if is_ours else _RECBOLE_KEYS | recbole_keys()),
    } - unused_keys(model)
    given = {key: value for key, value in given.items() if key in known or key not in lent}
    for key in given.keys() - known:
        raise _unknown(key, known, model)
    said = {**base, **{key: value for key, value in {**of_data, **recipe}.items() if key in known}}
    is_sequential = kind.type == ModelType.SEQUENTIAL
    if is_sequential:
        mend_sequential_defaults(said, given)
    result = Resolved(model, dataset, said, given)
    settings = [*_SETTINGS.get(model, ()), *(part.Settings for part in parts)]
    typed = {field.name for part in settings for field in fields(part)} | RULES.keys()
    check_types({key: value for key, value in given.items() if key not in typed}, base, is_strict=is_ours)
    check_values(result.values, is_ours, is_sequential)
    check_effects({key: given[key] for key in given.keys() - lent}, base, is_ours)
    parsed = {part: parse(part, result.values) for part in settings}
    if model == "ODRec":
        start, table = parsed[DistillationConfig].init_from_teacher, parts[0]
        table.check_start(parsed[table.Settings], needs_teacher(result.values), start)
    return result


def _lay(
    heard: Mapping[str, Any], config_files: Sequence[str], config_dict: Mapping[str, Any], arguments: Sequence[str]
) -> tuple[dict[str, Any], set[str]]:
    """What is given, later over earlier, and which keys of it nobody gave to this model in particular."""
    given, lent = dict(heard), set(heard)
    for path in config_files:
        found, (folder, name) = read_yaml(path), folder_and_name(path)
        if folder == "recipe":
            found = {"recipe": name}
        lent = lent | found.keys() if folder else lent - found.keys()
        given.update(found)
    words = read_arguments(arguments)
    lent -= {*config_dict, *words}
    for key, value in config_dict.items():
        try:
            given[key] = plain(value)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{key}={value!r}: {error}; expected plain values.") from error
    given.update(words)
    preset = given.pop("preset", "none")  # how 0.1 called a recipe
    if preset != "none":
        require(
            given.get("recipe", preset) == preset, "preset", preset, f"recipe={given.get('recipe')!r}, or one of them"
        )
        given["recipe"] = preset
    return given, lent


def read_arguments(words: Iterable[str]) -> dict[str, Any]:
    """Values of `--key=value` words.

    Raises:
        UserError: a key given twice, with different values.
    """
    found: dict[str, str] = {}
    for word in words:
        key, _, text = word.removeprefix("--").partition("=")
        if found.setdefault(key, text) != text:
            raise UserError(f"--{key}={found[key]} and --{key}={text}: give one of them.")
    values = {key: read_word(text) for key, text in found.items()}
    # A folder called 2020 and the interval [5,10] are no numbers.
    return {
        key: found[key] if key in TEXTS and not isinstance(value, (str, type(None))) else value
        for key, value in values.items()
    }


def _unknown(key: str, known: Iterable[str], model: str) -> UserError:
    owners = owners_of(key) if model in OUR_MODELS else []
    if owners:
        return UserError(f"{key} belongs to {' and '.join(owners)}, which is not chosen for {model}: leave it out.")
    possible = {*known, *(possible_keys(model) if model in OUR_MODELS else ())}
    return UserError(f"unknown key `{key}` for {model}{did_you_mean(key, possible)}.")


def mend_sequential_defaults(said: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Defaults with which no sequential model can run, RecBole's own included, become ones with which it can.

    Negative samples beside a cross-entropy loss are an error, yet RecBole's default; the columns it loads of a data set
    it does not know lack the time.
    """
    values = {**said, **given}
    if values.get("loss_type") == "CE":
        said["train_neg_sample_args"] = None
    if said["load_col"] == _RECBOLE_LOAD_COL:
        user, item = values["USER_ID_FIELD"], values["ITEM_ID_FIELD"]
        third = values["TIME_FIELD"] if values["benchmark_filename"] is None else f"{item}{values['LIST_SUFFIX']}"
        said["load_col"] = {"inter": [user, item, third]}


def known_keys(model: str, dataset: str) -> set[str]:
    """Keys that a model can have, as a run of its own or as a teacher, whichever parts it chooses."""
    ours = our_properties(f"model/{model}").keys() | possible_keys(model) if model in OUR_MODELS else set()
    return {*recbole_properties(model, dataset), *our_properties("overall"), *ours, *EXTRA_KEYS} - unused_keys(model)
