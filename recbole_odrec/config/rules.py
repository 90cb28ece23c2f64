"""What the value of a key can be: one table for every key that RecBole reads and for those of ours that no part owns.

A key without a rule has the type of its default. Parts (tables, objectives ..) check their own keys (`parsing.parse`).
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from recbole.evaluator.register import metrics_dict

from recbole_odrec.errors import UserError, did_you_mean
from recbole_odrec.parsing import TYPES, require


@dataclass(frozen=True)
class Rule:
    """What holds of a key's value, and how a message puts it."""

    holds: Callable[[Any], bool]
    expected: str

    def __or__(self, other: Rule) -> Rule:
        return Rule(lambda value: self.holds(value) or other.holds(value), f"{self.expected} or {other.expected}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def whole(low: int, high: int | None = None) -> Rule:
    """A whole number from `low`, to `high` where that is given."""
    ends = f"from {low}" if high is None else f"from {low} to {high}"
    return Rule(
        lambda value: _is_whole(value) and low <= value <= (value if high is None else high), f"a whole number {ends}"
    )


def word(*allowed: str, any_case: bool = False) -> Rule:
    """One of the words."""
    known = {name.lower() if any_case else name for name in allowed}
    return Rule(
        lambda value: isinstance(value, str) and (value.lower() if any_case else value) in known,
        f"one of {', '.join(allowed)}",
    )


def list_of(rule: Rule, what: str, length: int | None = None) -> Rule:
    """A list, not empty, whose every value fulfils a rule."""
    return Rule(
        lambda value: (
            isinstance(value, list) and 0 < len(value) == (length or len(value)) and all(map(rule.holds, value))
        ),
        f"a list of {what}",
    )


def table(values: Rule, what: str, *keys: str) -> Rule:
    """A dictionary whose every value fulfils a rule, and whose keys are among those given."""
    return Rule(
        lambda value: (
            isinstance(value, dict) and set(value) <= set(keys or value) and all(map(values.holds, value.values()))
        ),
        f"a dictionary {what}",
    )


NOTHING = Rule(lambda value: value is None, "None")
ANYTHING = Rule(lambda value: True, "any value")
FLAG = Rule(lambda value: isinstance(value, bool), "True or False")
TEXT = Rule(lambda value: isinstance(value, str) and value != "", "a word")
POSITIVE = Rule(lambda value: _is_number(value) and value > 0, "a number above 0")
NOT_NEGATIVE = Rule(lambda value: _is_number(value) and value >= 0, "a number of at least 0")
SHARE = Rule(lambda value: _is_number(value) and 0 <= value < 1, "a number in [0, 1)")

_END = r"\s*[-+]?(?:inf|\d+(?:\.\d*)?)\s*"
_INTERVAL = re.compile(rf"\s*[\[(]({_END}),({_END})[\])]\s*")


def _is_interval(value: object) -> bool:
    found = [_INTERVAL.fullmatch(part) for part in value.split(";")] if isinstance(value, str) else [None]
    return all(match is not None and float(match[1]) <= float(match[2]) for match in found)


INTERVAL = Rule(_is_interval, "an interval such as '[5,inf)', several with ; between")
FIELDS = table(
    NOTHING | list_of(TEXT, "columns"),
    "from the kind of file to a list of columns, such as {'inter': ['user_id', 'item_id']}",
)


def _is_codec(value: object) -> bool:
    try:
        return isinstance(value, str) and codecs.lookup(value) is not None
    except (LookupError, ValueError):
        return False


# ---------------------------------------------------------------------- evaluation

_MODE = re.compile(r"full|labeled|(?:uni|pop)[1-9]\d*")
_MODES = Rule(
    lambda value: isinstance(value, str) and _MODE.fullmatch(value) is not None, "full, labeled, uniN or popN"
)
_SPLITS = {
    "RS": list_of(NOT_NEGATIVE, "three shares", 3),
    "TS": list_of(NOT_NEGATIVE, "three shares", 3),
    "LS": word("valid_and_test", "valid_only", "test_only"),
}
_EVAL_ARGS = {
    "split": Rule(
        lambda value: (
            isinstance(value, dict)
            and len(value) == 1
            and all(kind in _SPLITS and _SPLITS[kind].holds(how) for kind, how in value.items())
        ),
        "{'LS': 'valid_and_test', 'valid_only' or 'test_only'}, or {'RS': three shares} or {'TS': three shares}",
    ),
    "group_by": NOTHING | word("user", "none", any_case=True),
    "order": word("RO", "TO"),
    "mode": _MODES | table(_MODES, "of these for 'valid' and 'test'", "valid", "test"),
}
_METRICS = {name: kind.__name__ for name, kind in metrics_dict.items()}
_WITHOUT_CUTOFF = {"auc", "gauc", "mae", "rmse", "logloss"}  # each one number, whatever topk is


# ---------------------------------------------------------------------- the table


def _by_key(*rows: tuple[Rule, str]) -> dict[str, Rule]:
    return {key: rule for rule, keys in rows for key in keys.split()}


RULES: dict[str, Rule] = _by_key(
    # --- machine and folders
    (FLAG, "use_gpu reproducibility show_progress save_dataset save_dataloaders shuffle"),
    (whole(0, 2**32 - 1), "seed"),
    (whole(0), "worker"),
    (TEXT, "data_path checkpoint_dir wandb_project"),
    (Rule(lambda value: isinstance(value, str) or _is_whole(value), "a word such as '0' or '0,1'"), "gpu_id"),
    (word("debug", "info", "warning", "error", "critical", any_case=True), "state"),
    (NOTHING | TEXT, "dataset_save_path dataloaders_save_path"),
    (Rule(lambda value: _is_whole(value) and value == 1, "1: a run is one process"), "nproc"),
    (Rule(lambda value: value is False or (value is True and find_spec("wandb") is not None),
          "False, or True with the package wandb installed (pip install wandb)"), "log_wandb"),
    # --- training
    (whole(1), "epochs train_batch_size eval_batch_size save_step MAX_ITEM_LIST_LENGTH"),
    (whole(0), "stopping_step refit_epochs eval_step loss_decimal_place metric_decimal_place"),
    (word("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam", any_case=True), "learner"),
    (POSITIVE, "learning_rate"),
    (NOT_NEGATIVE, "weight_decay"),
    (FLAG, "require_pow enable_amp enable_scaler fused_loss bucket_by_length teacher_cache"),
    (NOTHING | table(POSITIVE, "such as {'max_norm': 5, 'norm_type': 2}", "max_norm", "norm_type"), "clip_grad_norm"),
    (NOTHING | word("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined"), "transform"),
    (NOTHING | table(ANYTHING, "of distribution, sample_num, alpha, dynamic, candidate_num", "distribution",
                     "sample_num", "alpha", "dynamic", "candidate_num"), "train_neg_sample_args"),
    (word("CE", "BPR"), "loss_type"),
    (Rule(lambda value: isinstance(value, str) and value.isidentifier(), "the name of a model"), "teacher"),
    (ANYTHING, "teachers starts_from"),  # `resolve` checks them
    (word("none", "linear"), "learning_rate_decay"),
    (SHARE, "average_decay item_skip_prob session_jump_prob"),
    (word("float32", "bfloat16", "auto"), "score_dtype"),
    # --- evaluation
    (table(ANYTHING, f"of {', '.join(_EVAL_ARGS)}", *_EVAL_ARGS), "eval_args"),
    (FLAG, "repeatable valid_metric_bigger"),
    (whole(1) | list_of(whole(1), "whole numbers from 1"), "topk"),
    (TEXT | list_of(TEXT, "metrics"), "metrics"),
    (TEXT, "valid_metric"),
    # --- data
    (TEXT, "field_separator seq_separator USER_ID_FIELD ITEM_ID_FIELD RATING_FIELD TIME_FIELD LABEL_FIELD NEG_PREFIX"),
    (TEXT, "ITEM_LIST_LENGTH_FIELD LIST_SUFFIX POSITION_FIELD HEAD_ENTITY_ID_FIELD TAIL_ENTITY_ID_FIELD"),
    (TEXT, "RELATION_ID_FIELD ENTITY_ID_FIELD"),
    (Rule(_is_codec, "an encoding that Python knows, such as utf-8"), "encoding"),
    (NOTHING | FIELDS, "load_col unload_col unused_col"),
    (NOTHING | TEXT | list_of(TEXT, "words"), "additional_feat_suffix"),
    (NOTHING | word("first", "last"), "rm_dup_inter"),
    (NOTHING | table(INTERVAL, "from a column to an interval such as '[5,inf)'"), "val_interval"),
    (FLAG, "filter_inter_by_user_or_item kg_reverse_r"),
    (NOTHING | INTERVAL, "user_inter_num_interval item_inter_num_interval"),
    (NOTHING | INTERVAL, "entity_kg_num_interval relation_kg_num_interval"),
    (NOTHING | list_of(TEXT, "columns"), "alias_of_user_id alias_of_item_id alias_of_entity_id alias_of_relation_id"),
    (NOTHING | list_of(TEXT, "columns"), "normalize_field"),
    (NOTHING | FLAG, "normalize_all"),
    (NOTHING | table(ANYTHING, "from a column to a number"), "seq_len threshold preload_weight discretization"),
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
        if key.endswith(("dropout_prob", "drop_ratio")) and _is_number(value):
            require(0 <= value < 1, key, value, "a number in [0, 1)")
    _check_evaluation(values, is_sequential)


def _check_evaluation(values: Mapping[str, Any], is_sequential: bool) -> None:
    for key, rule in _EVAL_ARGS.items():
        if key in values["eval_args"]:
            require(
                rule.holds(values["eval_args"][key]), f"{key} in eval_args", values["eval_args"][key], rule.expected
            )
    if is_sequential:
        order = values["eval_args"].get("order", "RO")
        require(order == "TO", "order in eval_args", order, "TO: a sequential model learns from the order of time")
        require(values["repeatable"] is True, "repeatable", values["repeatable"], "True: sessions repeat items")
    metrics = [values["metrics"]] if isinstance(values["metrics"], str) else values["metrics"]
    for name in metrics:
        if name.lower() not in _METRICS:
            hint = did_you_mean(name, _METRICS.values())
            raise UserError(f"metrics={values['metrics']!r}: there is no metric {name}{hint}.")
    cutoffs = [values["topk"]] if _is_whole(values["topk"]) else values["topk"]
    metric, _, cutoff = values["valid_metric"].partition("@")
    is_computed = metric.lower() in {name.lower() for name in metrics}
    has_cutoff = not cutoff if metric.lower() in _WITHOUT_CUTOFF else cutoff in {str(k) for k in cutoffs}
    if not (is_computed and has_cutoff):
        raise UserError(
            f"valid_metric={values['valid_metric']!r} is not among the metrics computed, {metrics} at topk={cutoffs}; "
            "set valid_metric, metrics and topk so that it is."
        )


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
