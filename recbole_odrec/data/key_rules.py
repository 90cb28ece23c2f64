"""Data keys that the data set named cannot honour: refused, never recorded and ignored.

Some act on a table of interactions and not on benchmark files; others name columns or files that are not there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from recbole.config import Config

from recbole_odrec.data.parquet_manifest import parquet_folder
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
    for suffix in config["additional_feat_suffix"] or ():
        path = Path(config["data_path"]) / f"{config['dataset']}.{suffix}"
        if not whole_sessions and not path.is_file():
            raise UserError(f"additional_feat_suffix holds {suffix}, and {path} does not exist: leave it out.")
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


# Keys that name columns, and the types that these have to have.
_NUMBERS, _TOKENS, _LISTS = ("float", "float_seq"), ("token", "token_seq"), ("token_seq", "float_seq")
_OF_COLUMNS = {
    "seq_len": _LISTS,
    "threshold": ("float",),
    **dict.fromkeys(("val_interval", "normalize_field", "numerical_features", "discretization"), _NUMBERS),
    **{f"alias_of_{name}_id": _TOKENS for name in ("user", "item", "entity", "relation")},
}


def check_columns(config: Config, read: Mapping[str, Collection[str]], kinds: Mapping[str, str]) -> None:
    """Refuses keys that name a column or a file that has not been read, or a column of another type.

    Args:
        config: of the run.
        read: kind of file (`inter`, `item` ..) -> the columns that were read of it.
        kinds: the type of each column, as its header has it.

    Raises:
        UserError: the key, what it names and what there is.
    """
    for key in ("load_col", "unload_col", "unused_col"):
        for source, columns in (config.external_config_dict.get(key) or {}).items():
            if source not in read:
                raise UserError(
                    f"{key} names .{source}, and no file {config['dataset']}.{source} is read: leave it out."
                )
            absent = [name for name in columns if name not in read[source]] if key == "unused_col" else []
            if absent:
                raise UserError(f"unused_col of .{source} holds `{absent[0]}`, expected among {_listed(read[source])}.")
    named = [(key, column, kinds_of_key) for key, kinds_of_key in _OF_COLUMNS.items() for column in config[key] or ()]
    for column, weights in (config["preload_weight"] or {}).items():
        named += [("preload_weight", column, ("token",)), ("preload_weight", weights, _NUMBERS)]
    for key, column, allowed in named:
        found = [name for name, kind in kinds.items() if kind in allowed]
        if column not in found:
            raise UserError(f"{key} names `{column}`, expected a column of {' or '.join(allowed)}: {_listed(found)}.")
    others = sorted((config["discretization"] or {}).keys() - set(config["numerical_features"] or ()))
    if others:
        raise UserError(f"discretization names `{others[0]}`, which is not among numerical_features: add it there.")


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none is read"


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
        if suffix == "inter" and columns and items not in columns:
            raise UserError(f"load_col of .inter leaves `{items}` out, which is needed: load it.")


def _refusal(config: Config, key: str, value: Any, why: str) -> UserError:
    folder = parquet_folder(config)
    names = [f"{config['dataset']}.{part}.inter" for part in config["benchmark_filename"]]
    files = ", ".join(names) if folder is None else folder
    return UserError(f"{key}={value!r} has no effect on {files}: {why}; leave it out, or change the files.")
