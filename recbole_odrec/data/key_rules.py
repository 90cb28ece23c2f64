"""Data keys that act on a table of interactions and not on benchmark files: refused, never recorded and ignored."""

from __future__ import annotations

from typing import Any

from recbole.config import Config

from recbole_odrec.data.session_file import N_GIVEN
from recbole_odrec.errors import UserError

# RecBole neither filters nor splits benchmark files, which are split already. Key -> values that ask for nothing.
_TABLES_ONLY: dict[str, Any] = {
    **dict.fromkeys(("rm_dup_inter", "val_interval")),
    **dict.fromkeys(("user_inter_num_interval", "item_inter_num_interval"), ("[0,inf)", "[1,inf)")),
}
# Of whole sessions nothing is read but sessions of items.
_ROWS_ONLY = (
    *("unload_col", "unused_col", "additional_feat_suffix", "seq_len", "threshold", "preload_weight"),
    *("numerical_features", "discretization", "normalize_field", "normalize_all"),
    *("alias_of_user_id", "alias_of_entity_id", "alias_of_relation_id"),
)


def check_data_keys(config: Config, whole_sessions: bool) -> None:
    """Refuses keys that the data set named would leave without effect.

    Args:
        config: of the run, `prepare_benchmark_config` behind it.
        whole_sessions: whether the benchmark files hold whole sessions.

    Raises:
        UserError: the key, its value and where it does act.
    """
    time = config["TIME_FIELD"]
    if config["benchmark_filename"] is None:
        if config["eval_args"]["order"] == "TO" and time in (config["numerical_features"] or ()):
            raise UserError(f"numerical_features holds `{time}`, and rows are ordered by its values: leave it out.")
        return
    for key, nothing in _TABLES_ONLY.items():
        value = config[key]
        if value and str(value).replace(" ", "") not in (nothing or ()):
            raise _refusal(config, key, value, "benchmark files are read as they are")
    if config.external_config_dict.get("filter_inter_by_user_or_item") is True:
        raise _refusal(config, "filter_inter_by_user_or_item", True, "benchmark files are read as they are")
    usual = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user"}
    given = config.external_config_dict.get("eval_args") or {}
    for key, value in {**usual, **config.internal_config_dict["eval_args"]}.items():
        asked = given.get(key, value)  # RecBole fills in what is not given, a split too
        if key in usual and asked not in (value, None if key == "group_by" else value):
            raise _refusal(config, f"{key} in eval_args", config["eval_args"][key], "benchmark files are split already")
    if whole_sessions:
        _check_session_keys(config)


def _check_session_keys(config: Config) -> None:
    for key in _ROWS_ONLY:
        if config[key]:
            raise _refusal(config, key, config[key], "whole sessions hold nothing but items")
    user, item = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
    items = item + config["LIST_SUFFIX"]
    others = set(config["alias_of_item_id"] or ()) - {items}
    if others:
        raise _refusal(config, "alias_of_item_id", sorted(others), "whole sessions hold nothing but items")
    for suffix, columns in (config["load_col"] or {}).items():
        others = set(columns or ()) - ({user, item, items, N_GIVEN} if suffix == "inter" else set())
        if others:
            raise _refusal(config, f"load_col of .{suffix}", sorted(others), "whole sessions hold nothing but items")


def _refusal(config: Config, key: str, value: Any, why: str) -> UserError:
    files = ", ".join(f"{config['dataset']}.{part}.inter" for part in config["benchmark_filename"])
    return UserError(f"{key}={value!r} has no effect on {files}: {why}; leave it out, or change the files.")
