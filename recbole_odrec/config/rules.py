"""What the value of a key can be: one table for every key that RecBole reads and for those of ours that no part owns.

A key without a rule has the type of its default. Parts (tables, objectives ..) check their own keys (`parsing.parse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recbole_odrec.config.evaluation import EVAL_ARGS, check_evaluation
from recbole_odrec.config.kinds import (
    ANYTHING,
    FIELDS,
    FLAG,
    GPUS,
    INTERVAL,
    NOT_NEGATIVE,
    NOTHING,
    POSITIVE,
    SHARE,
    TEXT,
    Rule,
    is_bounded,
    is_codec,
    is_number,
    is_whole,
    list_of,
    table,
    whole,
    word,
)
from recbole_odrec.errors import UserError
from recbole_odrec.parsing import TYPES, require


def _by_key(*rows: tuple[Rule, str]) -> dict[str, Rule]:
    return {key: rule for rule, keys in rows for key in keys.split()}


_CLIPPING = table(POSITIVE, "such as {'max_norm': 5, 'norm_type': 2}", "max_norm", "norm_type")

_THRESHOLDS = table(Rule(is_number, "a number"), "from one column to a number, such as {'rating': 3}")


def _is_discretization(value: object) -> bool:
    return value == {"method": "LD"} or (
        isinstance(value, dict)
        and value.keys() == {"method", "bucket"}
        and value["method"] == "ED"
        and whole(1).holds(value["bucket"])
    )


RULES: dict[str, Rule] = _by_key(
    # --- machine and folders
    (FLAG, "use_gpu reproducibility show_progress save_dataset save_dataloaders shuffle"),
    (whole(0, 2**32 - 1), "seed"),
    (whole(0, 256), "worker"),
    (TEXT, "data_path checkpoint_dir wandb_project"),
    (GPUS, "gpu_id"),
    (word("debug", "info", "warning", "error", "critical", any_case=True), "state"),
    (NOTHING | TEXT, "dataset_save_path dataloaders_save_path update_from"),
    (Rule(lambda value: is_whole(value) and value == 1, "1: a run is one process"), "nproc"),
    (Rule(lambda value: value is False or (value is True and find_spec("wandb") is not None),
          "False, or True with the package wandb installed (pip install wandb)"), "log_wandb"),
    # --- training
    (whole(1), "epochs train_batch_size eval_batch_size save_step"),
    (word("auto") | whole(1), "MAX_ITEM_LIST_LENGTH"),
    (whole(1, 2**31 - 1), "shuffle_buffer"),
    (whole(0), "stopping_step refit_epochs eval_step update_budget"),
    (whole(0, 17), "loss_decimal_place metric_decimal_place"),  # digits of a float
    (word("adam", "adamw", "sgd", "adagrad", "rmsprop", any_case=True), "learner"),
    (POSITIVE, "learning_rate"),
    (NOT_NEGATIVE, "weight_decay"),
    (FLAG, "require_pow enable_amp enable_scaler fused_loss bucket_by_length teacher_cache"),
    (NOTHING | Rule(lambda value: _CLIPPING.holds(value) and "max_norm" in value, _CLIPPING.expected),
     "clip_grad_norm"),
    (NOTHING | word("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined"), "transform"),
    (NOTHING | table(ANYTHING, "of distribution, sample_num, alpha, dynamic, candidate_num", "distribution",
                     "sample_num", "alpha", "dynamic", "candidate_num"), "train_neg_sample_args"),
    (word("CE", "BPR"), "loss_type"),
    (Rule(lambda value: isinstance(value, str) and value.isidentifier(), "the name of a model"), "teacher"),
    (ANYTHING, "teachers starts_from"),  # `resolve` checks them
    (word("none", "linear"), "learning_rate_decay"),
    (SHARE, "average_decay item_skip_prob session_jump_prob"),
    (word("float32", "bfloat16", "auto"), "score_dtype"),
    (word("auto") | POSITIVE, "score_memory"),
    (word("auto") | FLAG, "split_table"),
    (whole(0), "sampled_items"),
    # --- evaluation
    (table(ANYTHING, f"of {', '.join(EVAL_ARGS)}", *EVAL_ARGS), "eval_args"),
    (FLAG, "repeatable valid_metric_bigger exclude_seen"),
    (whole(1) | list_of(whole(1), "whole numbers from 1"), "topk"),
    (TEXT | list_of(TEXT, "metrics"), "metrics"),
    (TEXT, "valid_metric"),
    (NOTHING | POSITIVE, "tail_ratio"),
    # --- data
    (TEXT, "field_separator seq_separator USER_ID_FIELD ITEM_ID_FIELD RATING_FIELD TIME_FIELD LABEL_FIELD NEG_PREFIX"),
    (TEXT, "ITEM_LIST_LENGTH_FIELD LIST_SUFFIX POSITION_FIELD HEAD_ENTITY_ID_FIELD TAIL_ENTITY_ID_FIELD"),
    (TEXT, "RELATION_ID_FIELD ENTITY_ID_FIELD"),
    (Rule(is_codec, "an encoding that Python knows, such as utf-8"), "encoding"),
    (NOTHING | Rule(lambda value: FIELDS.holds(value) and "inter" in value, FIELDS.expected), "load_col"),
    (NOTHING | FIELDS, "unload_col unused_col"),
    (NOTHING | TEXT | list_of(TEXT, "words"), "additional_feat_suffix"),
    (NOTHING | word("first", "last"), "rm_dup_inter"),
    (NOTHING | table(INTERVAL, "from a column to an interval such as '[5,inf)'"), "val_interval"),
    (FLAG, "filter_inter_by_user_or_item kg_reverse_r"),
    (NOTHING | INTERVAL, "user_inter_num_interval item_inter_num_interval"),
    (NOTHING | INTERVAL, "entity_kg_num_interval relation_kg_num_interval"),
    (NOTHING | list_of(TEXT, "columns"), "alias_of_user_id alias_of_item_id alias_of_entity_id alias_of_relation_id"),
    (NOTHING | list_of(TEXT, "columns"), "normalize_field"),
    (Rule(lambda value: isinstance(value, list) and all(map(TEXT.holds, value)), "a list of columns"),
     "numerical_features"),
    (NOTHING | FLAG, "normalize_all"),
    (NOTHING | table(whole(1), "from a column to a whole number from 1"), "seq_len"),
    (NOTHING | Rule(lambda value: _THRESHOLDS.holds(value) and len(value) == 1, _THRESHOLDS.expected), "threshold"),
    (NOTHING | table(TEXT, "from a column of tokens to one of numbers"), "preload_weight"),
    (NOTHING | table(Rule(_is_discretization, ""), "of {'method': 'LD'} or {'method': 'ED', 'bucket': 9}"),
     "discretization"),
    (NOTHING | list_of(TEXT, "three names of files, such as ['train', 'valid', 'test']", 3), "benchmark_filename"),
)  # fmt: skip

# Where our models ask more than RecBole's.
OURS: dict[str, Rule] = _by_key(
    (Rule(lambda value: value == "CE", "CE: our models minimise cross-entropy over the whole catalogue"), "loss_type"),
    (Rule(lambda value: value is None, "None: cross-entropy over the whole catalogue samples no negatives"),
     "train_neg_sample_args"),
    (Rule(lambda value: value is None, "None: item_skip_prob and session_jump_prob change sessions"), "transform"),
    (whole(1), "eval_step"),
)  # fmt: skip

# Columns that stand side by side.
_NAMES = ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "ITEM_LIST_LENGTH_FIELD")

# RecBole takes the first from valid_metric; nothing reads the second, and nothing of ours the others.
_WITHOUT_EFFECT = ("valid_metric_bigger", "POSITION_FIELD")
_WITHOUT_EFFECT_ON_OURS = (
    *("kg_reverse_r", "entity_kg_num_interval", "relation_kg_num_interval", "alias_of_entity_id"),
    *("alias_of_relation_id", "require_pow", "HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD", "RELATION_ID_FIELD"),
    "ENTITY_ID_FIELD",
)

# The words behind `--key=` of these stay as they stand: a folder called 2020, the interval [5,10].
TEXTS = {key for key, rule in RULES.items() if rule.holds("[0,1]") and not rule.holds(1) and not rule.holds(["a"])}


def check_values(values: Mapping[str, Any], is_ours: bool, is_sequential: bool) -> None:
    """Refuses a value outside its rule.

    Raises:
        UserError: the key, its value and what was expected.
    """
    for key, rule in {**RULES, **(OURS if is_ours else {})}.items():
        if key in values:
            require(rule.holds(values[key]), key, values[key], rule.expected)
    for key, value in values.items():
        require(is_bounded(value), key, value, "finite numbers below 2**32")
        if key.endswith(("dropout_prob", "drop_ratio")) and is_number(value):
            require(0 <= value < 1, key, value, "a number in [0, 1)")
    both = sorted((values["load_col"] or {}).keys() & (values["unload_col"] or {}).keys())
    if both:
        raise UserError(
            f"unload_col of .{both[0]} is given, and load_col={values['load_col']!r} says already what is read of it: "
            "leave it out, or set load_col=None."
        )
    names = [values[key] for key in _NAMES] + [values["ITEM_ID_FIELD"] + values["LIST_SUFFIX"]]
    require(len(set(names)) == len(names), ", ".join(_NAMES), names, "names of their own, a list's included")
    check_evaluation(values, is_ours, is_sequential)


def check_effects(given: Mapping[str, Any], defaults: Mapping[str, Any], is_ours: bool) -> None:
    """Refuses what would be recorded and ignored.

    Raises:
        UserError: the key and its value.
    """
    for key in (*_WITHOUT_EFFECT, *(_WITHOUT_EFFECT_ON_OURS if is_ours else ())):
        value = given.get(key)
        if (value and value != defaults.get(key)) or (value is False and defaults.get(key) is True):
            raise UserError(f"{key}={value!r} has no effect on {'our models' if is_ours else 'a run'}: leave it out.")
    for key in ("dataset_save_path", "dataloaders_save_path"):
        if is_ours and given.get(key) and not Path(given[key]).is_file():
            raise UserError(f"{key}={given[key]!r} does not exist: leave it out, and data are read anew.")


def check_types(given: Mapping[str, Any], defaults: Mapping[str, Any], is_strict: bool) -> None:
    """Refuses values whose type is not that of the key's default.

    Args:
        given: keys and values without a rule of their own.
        defaults: what they stand in for.
        is_strict: a whole number stays one; RecBole writes 1 where 0.5 is meant to be possible.

    Raises:
        UserError: the key, its value and the type expected.
    """
    for key, value in given.items():
        default = defaults.get(key)
        kind = type(default).__name__
        kind = "float" if kind == "int" and not is_strict else kind
        if kind not in ("bool", "int", "float", "dict") or (value is None and kind == "dict"):
            continue
        allowed, expected = TYPES[kind]
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "bool"):
            raise UserError(f"{key}={value!r}, expected {expected} (such as {default!r}).")
