"""What evaluation can be asked for: how data is split, which metrics at which cut-offs, which of them selects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from recbole.evaluator.register import metrics_dict

from recbole_odrec.config.kinds import NOT_NEGATIVE, NOTHING, Rule, is_whole, list_of, table, word
from recbole_odrec.errors import UserError, did_you_mean
from recbole_odrec.parsing import require

_MODE = re.compile(r"full|labeled|(?:uni|pop)[1-9]\d*")
_MODES = Rule(
    lambda value: isinstance(value, str) and _MODE.fullmatch(value) is not None, "full, labeled, uniN or popN"
)
_LISTED = list_of(NOT_NEGATIVE, "", 3)
_SHARES = Rule(lambda value: _LISTED.holds(value) and value[0] > 0, "three shares, the first above 0")
_SPLITS = {
    "RS": _SHARES,
    "TS": _SHARES,
    "LS": word("valid_and_test", "valid_only", "test_only"),
}
EVAL_ARGS = {
    "split": Rule(
        lambda value: (
            isinstance(value, dict)
            and len(value) == 1
            and all(kind in _SPLITS and _SPLITS[kind].holds(how) for kind, how in value.items())
        ),
        "{'LS': 'valid_and_test', 'valid_only' or 'test_only'}, or {'RS' or 'TS': three shares, the first above 0}",
    ),
    "group_by": NOTHING | word("user", "none", any_case=True),
    "order": word("RO", "TO"),
    "mode": _MODES | table(_MODES, "of these for 'valid' and 'test'", "valid", "test"),
}
_METRICS = {name: kind.__name__ for name, kind in metrics_dict.items()}
_WITHOUT_CUTOFF = {"auc", "gauc", "mae", "rmse", "logloss"}  # each one number, whatever topk is


def check_evaluation(values: Mapping[str, Any], is_ours: bool, is_sequential: bool) -> None:
    """Refuses what cannot be evaluated so, or not together.

    Raises:
        UserError: the key, its value and what was expected.
    """
    for key, rule in EVAL_ARGS.items():
        if key in values["eval_args"]:
            require(
                rule.holds(values["eval_args"][key]), f"{key} in eval_args", values["eval_args"][key], rule.expected
            )
    mode = values["eval_args"].get("mode", "full")
    if is_ours and "labeled" in (mode.values() if isinstance(mode, dict) else [mode]):
        raise UserError(f"mode in eval_args={mode!r}, expected full, uniN or popN: models that rank read no labels.")
    split, group_by = values["eval_args"].get("split") or {}, values["eval_args"].get("group_by", "user")
    if "RS" not in split and split:
        require(str(group_by) == "user", "group_by in eval_args", group_by, f"user: {split} splits each user's rows")
    if is_sequential:
        order = values["eval_args"].get("order", "none given, which is RO to RecBole")
        require(order == "TO", "order in eval_args", order, "TO: a sequential model learns from the order of time")
        require(values["repeatable"] is True, "repeatable", values["repeatable"], "True: sessions repeat items")
        if values.get("exclude_seen") and mode not in ("full", {"valid": "full", "test": "full"}):
            raise UserError(f"exclude_seen=True needs mode full in eval_args, not {mode!r}: samples are few.")
    metrics = [values["metrics"]] if isinstance(values["metrics"], str) else values["metrics"]
    for name in metrics:
        if name.lower() not in _METRICS:
            hint = did_you_mean(name, _METRICS.values())
            raise UserError(f"metrics={values['metrics']!r}: there is no metric {name}{hint}.")
    cutoffs = [values["topk"]] if is_whole(values["topk"]) else values["topk"]
    metric, _, cutoff = values["valid_metric"].partition("@")
    is_computed = metric.lower() in {name.lower() for name in metrics}
    has_cutoff = not cutoff if metric.lower() in _WITHOUT_CUTOFF else cutoff in {str(k) for k in cutoffs}
    if not (is_computed and has_cutoff):
        raise UserError(
            f"valid_metric={values['valid_metric']!r} is not among the metrics computed, {metrics} at topk={cutoffs}; "
            "set valid_metric, metrics and topk so that it is."
        )
