"""RecBole's sequential data with sessions kept whole and prefixes cut out when a batch asks for them.

RecBole stores every prefix of every field, padded to the maximum length. Here all item ids lie in one int32 array and
a row (one prefix and its next item) is two positions in it, so the prepared data is as large as the sessions
themselves and a batch is as wide as its own longest prefix. Rows, their order and every split equal RecBole's.
Files that hold whole sessions (`session_file`, `parquet_sessions`) need no rows at all: they are worked out when asked
for; of a Parquet folder whose training part is larger than `shuffle_buffer`, that part stays in its files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_odrec.data.case_runs import CaseRuns, SessionRuns
from recbole_odrec.data.exact_tables import ExactTables
from recbole_odrec.data.parquet_manifest import SPLITS, parquet_folder
from recbole_odrec.data.parquet_sessions import StreamedPart, read_parquet
from recbole_odrec.data.session_file import Sessions, joined, read_sessions, session_file_paths
from recbole_odrec.data.session_rows import RowFields, SessionRows, StreamedRows
from recbole_odrec.data.window_length import decide_window
from recbole_odrec.data.window_plan import SessionBlock
from recbole_odrec.errors import UserError

SESSION_START = "session_start"  # position in `tokens` of the first item of the row's session
HISTORY_END = "history_end"  # one past the last item of the row's prefix


def check_refit(config: Config) -> None:
    """Raises a UserError where a refit is asked for of data that is not in whole sessions."""
    if config["refit_epochs"]:
        raise UserError(
            f"refit_epochs={config['refit_epochs']} needs files of whole sessions (`recbole-odrec convert`), where "
            f"validation sessions stand apart; {config['dataset']} has none."
        )


def refuse_streamed(dataset: Dataset, model: str) -> None:
    """Raises a UserError where a model that wants every training row at once is asked for a streamed part."""
    if isinstance(dataset.inter_feat, StreamedRows):
        raise dataset.inter_feat.refusal(model)


class SessionDataset(ExactTables, SequentialDataset):
    """Drop-in for `recbole.data.dataset.SequentialDataset` that yields the same rows.

    Serves ordinary `.inter` files and session benchmark files (`benchmark_filename`), one case or one whole session a
    line, whose item lists it keeps to the most recent `MAX_ITEM_LIST_LENGTH` items (RecBole ignores that limit there,
    and its `seq_len` keeps the first).

    Attributes:
        tokens: int32 item ids of all sessions, one after the other; a row's next item follows its prefix.
        pad_to_max: pad prefixes to MAX_ITEM_LIST_LENGTH instead of to the batch's longest one, for models that need
            a fixed width.
    """

    pad_to_max = False

    def __init__(self, config: Config) -> None:
        self._folder = folder = parquet_folder(config)
        if folder is not None:
            config["benchmark_filename"] = list(SPLITS)  # split already: RecBole neither filters nor splits
            if "load_col" not in config.external_config_dict:
                config["load_col"] = None  # by default a table's columns
        self._session_files = [folder] if folder else session_file_paths(config)
        if not self._session_files:
            check_refit(config)
        super().__init__(config)

    # ------------------------------------------------------------------ whole sessions: no row is stored

    def _from_scratch(self) -> None:
        if not self._session_files:
            return super()._from_scratch()
        self._get_preset()
        self._get_field_from_config()
        if self._folder is None:
            self._add_sessions(read_sessions(self._session_files, self.config, self._known_items))
        else:
            self._add_sessions(read_parquet(self.config, self._folder))

    def _add_sessions(self, sessions: Sessions) -> None:
        self.tokens, self.parts, self._parts_read = sessions.tokens, sessions.parts, sessions.parts
        train = self.parts[0]
        lengths = None if isinstance(train, StreamedPart) else np.diff(train.starts) - 1
        self.max_item_list_len = decide_window(self.config, 1 if lengths is None else train.n_given, lengths)
        fields = RowFields(self.uid_field, self.iid_field, self.item_list_length_field, SESSION_START, HISTORY_END)
        for field in fields:
            self.set_field_property(field, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)
        self.set_field_property(
            self.item_list_field, FeatureType.TOKEN_SEQ, FeatureSource.INTERACTION, self.max_item_list_len
        )
        item_tokens = np.array(list(sessions.item_ids))
        for field in (self.iid_field, self.item_list_field):
            self.field2id_token[field], self.field2token_id[field] = item_tokens, sessions.item_ids
        if self.config["refit_epochs"] and not isinstance(self.parts[0], StreamedPart):
            self.parts = [joined(*self.parts[:2]), *self.parts[1:]]
        first = np.cumsum([1, *(part.n_sessions for part in sessions.parts)]).tolist()
        self.field2id_token[self.uid_field] = range(first[-1])  # a session's token is its number
        self.user_feat = self.item_feat = None
        self.feat_name_list = ["inter_feat"]
        self._split_rows = [
            (StreamedRows if isinstance(part, StreamedPart) else SessionRows)(
                self.tokens, part, fields, self.max_item_list_len, number
            )
            for part, number in zip(self.parts, first, strict=False)
        ]
        self.inter_feat = self._split_rows[0]  # what may be looked at before `build`: the training rows

    def build(self) -> list[SessionDataset]:
        """Training, validation and test split; with `refit_epochs` the validation rows are training rows as well."""
        parts = [self.copy(rows) for rows in self._split_rows] if self._session_files else super().build()
        for part, split in zip(parts[1:], ("valid", "test"), strict=True):
            # RecBole puts the rows of several sessions, each with its sampled negatives, below each other.
            mode = self.config["eval_args"]["mode"][split]
            part.pad_to_max |= mode != "full"
            if self._session_files and mode.startswith("pop"):
                self.inter_feat = self._every_row()  # whose next items are what RecBole's sampler draws from
        return parts

    def _every_row(self) -> SessionRows:
        if isinstance(self._parts_read[0], StreamedPart):
            return self._split_rows[0]
        rows, (train, valid, test) = self._split_rows[0], self._parts_read
        return SessionRows(self.tokens, joined(joined(train, valid), test), rows.fields, rows.longest, 1)

    @property
    def avg_actions_of_users(self) -> float:
        return len(self) / self.inter_feat.part.n_sessions if self._session_files else super().avg_actions_of_users

    @property
    def avg_actions_of_items(self) -> float:
        return len(self) / (self.item_num - 1) if self._session_files else super().avg_actions_of_items

    # ------------------------------------------------------------------ ordinary files: one row an interaction

    def data_augmentation(self) -> None:
        """Makes each interaction but a user's first a row, in RecBole's order; stores no prefix."""
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        users = self.inter_feat[self.uid_field].numpy()
        self.tokens = self.inter_feat[self.iid_field].numpy().astype(np.int32)
        positions = np.arange(len(users))
        is_first = np.ones(len(users), dtype=bool)
        is_first[1:] = users[1:] != users[:-1]
        session_start = np.maximum.accumulate(np.where(is_first, positions, 0))
        targets = positions[~is_first]
        self.inter_feat = self.inter_feat[targets]
        self._add_row_fields(session_start[targets], targets)

    # ------------------------------------------------------------------ benchmark files: one row a prefix

    def _benchmark_presets(self) -> None:
        self.item_id_list_field = self.item_list_field
        if self._session_files:
            return
        if self.item_list_field not in self.inter_feat:
            self._check_field("item_id_list_field")

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        if self.item_list_field not in data:
            return super()._dataframe_to_interaction(data)
        histories = data[self.item_list_field].values
        lists = [np.append(items, target) for items, target in zip(histories, data[self.iid_field], strict=True)]
        lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        self.tokens = np.concatenate(lists).astype(np.int32) if lists else np.zeros(0, np.int32)
        rows = super()._dataframe_to_interaction(data.drop(columns=self.item_list_field))
        ends = np.cumsum(lengths) - 1
        self._add_row_fields(ends + 1 - lengths, ends, rows)
        return rows

    # ------------------------------------------------------------------ rows

    @property
    def training_block(self) -> SessionBlock | None:
        """All sessions with the cases of this split; None where they are streamed."""
        return None if isinstance(self.inter_feat, StreamedRows) else SessionBlock(self.tokens, self.case_runs())

    @property
    def content(self) -> list[np.ndarray]:
        """Arrays that stand for every training case."""
        if isinstance(self.inter_feat, StreamedRows):
            part = self.inter_feat.part
            return [np.frombuffer("/".join([part.manifest.content, *part.splits]).encode(), np.uint8)]
        return [self.tokens, *(part for _, block in self.case_runs().blocks() for part in block)]

    def case_runs(self) -> CaseRuns:
        """The rows as runs of consecutive prefixes of one session."""
        rows = self.inter_feat
        if isinstance(rows, StreamedRows):
            raise rows.refusal()
        if isinstance(rows, SessionRows):
            return SessionRuns(rows.part)
        starts, ends = rows[SESSION_START].numpy(), rows[HISTORY_END].numpy()
        order = np.lexsort((ends, starts))
        starts, ends = starts[order], ends[order]
        is_new = np.ones(len(starts), dtype=bool)
        is_new[1:] = (starts[1:] != starts[:-1]) | (ends[1:] != ends[:-1] + 1)
        first = np.flatnonzero(is_new)
        return CaseRuns(starts[first], ends[first], ends[np.append(first[1:], len(ends))[: len(first)] - 1])

    def _add_row_fields(self, starts: np.ndarray, ends: np.ndarray, rows: Any = None) -> None:
        fields = {
            SESSION_START: starts,
            HISTORY_END: ends,
            self.item_list_length_field: np.minimum(ends - starts, self.max_item_list_len),
        }
        for field in fields:
            self.set_field_property(field, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)
        rows = self.inter_feat if rows is None else rows
        rows.update(Interaction({field: torch.as_tensor(values) for field, values in fields.items()}))

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        rows = super().__getitem__(index, join)
        rows.update(Interaction({self.item_list_field: self.histories(rows)}))
        return rows

    def histories(self, rows: Interaction) -> Tensor:
        """The most recent items of each row, padded on the right with 0: int64 [B, L]."""
        lengths = rows[self.item_list_length_field].reshape(-1).numpy()
        ends = rows[HISTORY_END].reshape(-1).numpy()
        width = self.max_item_list_len if self.pad_to_max else lengths.max(initial=0)
        columns = np.arange(width)
        positions = (ends - lengths)[:, None] + columns
        is_item = columns < lengths[:, None]
        items = np.where(is_item, self.tokens[np.where(is_item, positions, 0)], 0)
        return torch.as_tensor(items, dtype=torch.int64)
