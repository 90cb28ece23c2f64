"""RecBole's data sets with two things put right: tables are read as they stand, rows are ordered by exact times.

RecBole reads with pandas, which takes `NA`, `null` or `nan` for missing values and quotation marks for brackets, and
orders rows by times that it has narrowed to 32 bits (128 s for today's epoch seconds).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_odrec.data.histories import check_histories
from recbole_odrec.data.key_rules import check_columns, check_data_keys
from recbole_odrec.data.known_items import known_items
from recbole_odrec.data.parquet_manifest import parquet_folder
from recbole_odrec.data.session_file import session_file_paths
from recbole_odrec.data.table_reader import Column, Header, read_columns
from recbole_odrec.data.window_length import KEY, decide_window
from recbole_odrec.errors import UserError


def interaction_files(config: Config) -> list[Path]:
    """The `.inter` files that this configuration reads.

    Raises:
        UserError: one does not exist.
    """
    folder, name, parts = Path(config["data_path"]), config["dataset"], config["benchmark_filename"]
    if parts is not None and (not isinstance(parts, list) or len(parts) != 3):
        raise UserError(f"benchmark_filename={parts!r}, expected three names: ['train', 'valid', 'test'].")
    paths = [folder / f"{name}.inter"] if parts is None else [folder / f"{name}.{part}.inter" for part in parts]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"{path} does not exist: dataset `{name}` needs it; give the folder that holds `{name}/` with "
                "--data_path=FOLDER."
            )
    return paths


class ExactTables(Dataset):
    """Goes before any RecBole data set: `class Mine(ExactTables, SequentialDataset)`."""

    def __init__(self, config: Config) -> None:
        folder = parquet_folder(config)
        if folder is None:
            interaction_files(config)
        self._are_histories = config["benchmark_filename"] is not None and isinstance(self, SequentialDataset)
        self.item_list_field = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        if self._are_histories:
            _prepare_benchmark_config(config, self.item_list_field)
        check_data_keys(config, folder is not None or bool(session_file_paths(config)))
        self._columns_read: dict[str, list[str]] = {}
        self._known_items = known_items(config)
        super().__init__(config)
        if isinstance(self, SequentialDataset) and config[KEY] == "auto":  # users are as long as they will be
            n_items = np.bincount(self.inter_feat[self.uid_field])
            self.max_item_list_len = decide_window(config, longest=n_items[n_items > 0] - 1)

    # ------------------------------------------------------------------ reading

    def _load_data(self, token: str, dataset_path: str) -> None:
        super()._load_data(token, dataset_path)
        check_columns(self.config, self._columns_read, {name: kind.value for name, kind in self.field2type.items()})

    def _load_feat(self, filepath: str, source: FeatureSource | str) -> pd.DataFrame | None:
        load_col, unload_col = self._get_load_and_unload_col(source)
        if load_col == set():
            return None
        config, path = self.config, Path(filepath)
        header = Header.read(path, config["field_separator"], config["encoding"])
        needed = self._needed_columns(source)
        header.require(needed, "; name your columns with --USER_ID_FIELD=, --ITEM_ID_FIELD=, --TIME_FIELD=")
        names = [name for name in header.kinds if name in (load_col or header.kinds) and name not in (unload_col or ())]
        left_out = [name for name in needed if name not in names]
        if left_out:
            raise UserError(f"{path}: load_col or unload_col leaves `{left_out[0]}` out, which is needed: load it.")
        kind_of_file = getattr(source, "value", source)
        for key in ("load_col", "unload_col"):
            given = (config.external_config_dict.get(key) or {}).get(kind_of_file)
            header.require({name: header.kinds.get(name, "") for name in given or ()}, f"; {key} names it")
        self._columns_read[kind_of_file] = names
        values = read_columns(path, config["field_separator"], config["encoding"], names)
        columns = [Column(path, name, values[name], name in needed) for name in names]
        if self._are_histories and source == FeatureSource.INTERACTION and config[KEY] == "auto":
            (histories,) = (column for column in columns if column.name == self.item_list_field)
            lengths = np.array([len(items) for items in histories.token_lists(config["seq_separator"])])
            self.max_item_list_len = decide_window(config, lengths, lengths)
        return pd.DataFrame({c.name: self._column(c, FeatureType(header.kinds[c.name]), source) for c in columns})

    def _needed_columns(self, source: FeatureSource | str) -> dict[str, str]:
        """Name and type of the columns without which this data set makes no sense."""
        by_source = {
            FeatureSource.INTERACTION: (self.uid_field, self.iid_field),
            FeatureSource.USER: (self.uid_field,),
            FeatureSource.ITEM: (self.iid_field,),
            FeatureSource.KG: self._own_fields("head_entity_field", "relation_field", "tail_entity_field"),
            "link": (self.iid_field, *self._own_fields("entity_field")),
        }
        needed = {name: "token" for name in by_source.get(source, ()) if name is not None}
        if source != FeatureSource.INTERACTION:
            return needed
        if self._are_histories:
            return needed | {self.item_list_field: "token_seq"}
        needs_time = self.config["benchmark_filename"] is None and (
            isinstance(self, SequentialDataset) or self._is_time_ordered
        )
        return needed | ({self.time_field: "float"} if needs_time else {})

    def _own_fields(self, *names: str) -> tuple[str | None, ...]:
        return tuple(getattr(self, name, None) for name in names)

    def _column(self, column: Column, kind: FeatureType, source: FeatureSource | str) -> Any:
        """Values of a column as RecBole wants them, and what RecBole notes about a field."""
        name, separator, config = column.name, self.config["seq_separator"], self.config
        if source != "link":
            self.field2source[name], self.field2type[name] = source, kind
        if "float" in kind.value:
            self.field2bucketnum[name] = 2
        if not kind.value.endswith("seq"):
            self.field2seqlen[name] = 1
            if kind == FeatureType.TOKEN:
                key = {FeatureSource.USER: self.uid_field, FeatureSource.ITEM: self.iid_field}.get(source)
                return column.keys() if name == key else column.tokens()
            return column.moments() if name == self.time_field else column.numbers()
        lists = column.token_lists(separator) if kind == FeatureType.TOKEN_SEQ else column.number_lists(separator)
        if self._are_histories and source == FeatureSource.INTERACTION and name.endswith(config["LIST_SUFFIX"]):
            lists = [values[-self.max_item_list_len :] for values in lists]  # RecBole minds no limit here
        limit = (config["seq_len"] or {}).get(name)
        self.field2seqlen[name] = max(map(len, lists))
        if limit is not None:
            lists, self.field2seqlen[name] = [values[:limit] for values in lists], min(limit, self.field2seqlen[name])
        return lists

    def _filter_inter_by_user_or_item(self) -> None:
        """As RecBole's, which does it without a word."""
        before = len(self.inter_feat)
        super()._filter_inter_by_user_or_item()
        if len(self.inter_feat) < before:
            self.logger.warning(
                f"{before - len(self.inter_feat):,} of {before:,} interactions are left out: .user or .item does not "
                "list their user or item (filter_inter_by_user_or_item=False keeps them)."
            )

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        if self._are_histories:
            items = set(self.inter_feat[self.iid_field])
            check_histories(self.inter_feat[self.item_list_field].tolist(), items, self._place_of, self._listed_items)

    def _place_of(self, row: int) -> str:
        """File and line of a row of the benchmark files."""
        ends = np.cumsum(self.file_size_list)
        part = int(np.searchsorted(ends, row, side="right"))
        line = row - (int(ends[part - 1]) if part else 0) + 2
        return f"{interaction_files(self.config)[part]}, line {line}: `{self.item_list_field}`"

    def _listed_items(self) -> tuple[Path, list[str]]:
        """The `.item` file, whether it is loaded or not, and the items in it."""
        config = self.config
        path = Path(config["data_path"]) / f"{config['dataset']}.item"
        if not path.is_file():
            return path, []
        Header.read(path, config["field_separator"], config["encoding"]).require({self.iid_field: "token"})
        columns = read_columns(path, config["field_separator"], config["encoding"], [self.iid_field])
        return path, columns[self.iid_field]

    def _remap(self, remap_list: list) -> None:
        """As RecBole's, which numbers tokens in order of their first appearance; known items come first."""
        if self._known_items and any(field == self.iid_field for _, field, _ in remap_list):
            known = pd.DataFrame({self.iid_field: self._known_items})
            remap_list = [(known, self.iid_field, FeatureType.TOKEN), *remap_list]
        super()._remap(remap_list)

    # ------------------------------------------------------------------ order

    @property
    def _is_time_ordered(self) -> bool:
        return self.config["eval_args"]["order"] == "TO"

    def _remove_duplication(self) -> None:
        """RecBole's, in a stable order of time: of two at the same time, the first in the file is the first."""
        keep = self.config["rm_dup_inter"]
        if keep is None:
            return
        if self.time_field in self.inter_feat:
            self.inter_feat.sort_values(self.time_field, kind="stable", inplace=True)
        self.inter_feat.drop_duplicates([self.uid_field, self.iid_field], keep=keep, inplace=True)

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        """RecBole's; the time of interactions is its rank (from 1, int64) until they are ordered and split."""
        time = self.time_field
        if data is not self.inter_feat or time not in data:
            return super()._dataframe_to_interaction(data)
        if self.config["benchmark_filename"] is not None or not self._is_time_ordered:
            return super()._dataframe_to_interaction(data.astype({time: np.float64}))
        moments, ranks = np.unique(data[time].to_numpy(), return_inverse=True)
        self._moments = np.concatenate([[0], moments]).astype(np.float32)
        rows = super()._dataframe_to_interaction(data.assign(**{time: ranks.astype(np.float64)}))
        rows[time] = torch.as_tensor(ranks + 1)
        return rows

    def build(self) -> list[Dataset]:
        """RecBole's splits, by exact times."""
        parts = super().build()
        if hasattr(self, "_moments"):
            moments = torch.as_tensor(self._moments)
            for part in (self, *parts):
                for field in (self.time_field, self.time_field + self.config["LIST_SUFFIX"]):
                    if field in part.inter_feat:
                        part.inter_feat[field] = moments[part.inter_feat[field]]
        return parts


_BEFORE: dict[type[Dataset], type[Dataset]] = {}


def exact(kind: type[Dataset]) -> type[Dataset]:
    """A RecBole data set class with `ExactTables` before it; one that has it already as it is."""
    if issubclass(kind, ExactTables):
        return kind
    return _BEFORE.setdefault(kind, type(kind.__name__, (ExactTables, kind), {}))


def _prepare_benchmark_config(config: Config, item_list_field: str) -> None:
    """Item lists share the items' ids, and `seq_len` limits them from the recent end."""
    alias = list(config["alias_of_item_id"] or [])
    if item_list_field not in alias:
        config["alias_of_item_id"] = [*alias, item_list_field]
    seq_len = dict(config["seq_len"] or {})
    if item_list_field in seq_len:
        asked, limit = config["MAX_ITEM_LIST_LENGTH"], seq_len.pop(item_list_field)
        config["MAX_ITEM_LIST_LENGTH"] = limit if asked == "auto" else min(asked, limit)
        config["seq_len"] = seq_len or None
