"""What a case's user has had before its target: left out of the ranking where `exclude_seen` asks for it.

Dimension key: R rows (cases), B rows of a batch, P pairs of a row and an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.config import Config
from torch import Tensor

from recbole_odrec.data.session_dataset import HISTORY_END, SESSION_START, SessionDataset


class SeenItems(NamedTuple):
    """Each row's whole history, however few of its items the model reads.

    Attributes:
        tokens: item ids of all histories.
        starts, ends: where each row's lies, int64 [R].
    """

    tokens: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def of(self, rows: Any) -> tuple[Tensor, Tensor]:
        """Row within the batch and item, int64 [P] each, of the rows at these positions [B]."""
        starts, lengths = self.starts[rows], (self.ends - self.starts)[rows]
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        items = self.tokens[starts[row] + place]
        return torch.as_tensor(row), torch.as_tensor(items.astype(np.int64))

    def n_among(self, targets: Tensor) -> int:
        """How many rows have had their target [R] before: none of these can be found."""
        n_rows, found = 100_000, 0
        for first in range(0, len(targets), n_rows):
            rows = np.arange(first, min(first + n_rows, len(targets)))
            row, items = self.of(rows)
            found += len(row[items == targets[first + row]].unique())
        return found


def _of_sessions(part: SessionDataset) -> SeenItems:
    if part.training_block is None:  # streamed, and evaluated by nobody
        return SeenItems(part.tokens, *np.zeros((2, 0), np.int64))
    return SeenItems(part.tokens, *(part.inter_feat[name].numpy() for name in (SESSION_START, HISTORY_END)))


def seen_items(config: Config, parts: Sequence[Any]) -> list[SeenItems]:
    """Of the data sets of training, validation and test, in which a user's rows stand in their order of time.

    In files of one case or one session a line (`benchmark_filename`) a history is what the line says.
    """
    if all(isinstance(part, SessionDataset) for part in parts):
        return [_of_sessions(part) for part in parts]
    # RecBole's rows, whose lists may have lost their oldest items: a user's first list, then the targets one by one.
    rows = [part.inter_feat for part in parts]
    users, items, lengths = (
        np.concatenate([each[name].numpy() for each in rows])
        for name in (parts[0].uid_field, parts[0].iid_field, parts[0].item_list_length_field)
    )
    order = np.argsort(users, kind="stable")
    is_first = np.ones(len(order), bool)
    if config["benchmark_filename"] is None:
        is_first[1:] = users[order][1:] != users[order][:-1]
    given = np.where(is_first, lengths[order], 0)  # items of a user's first list
    targets_at = np.cumsum(given + 1) - 1
    tokens = np.zeros(targets_at[-1] + 1 if len(order) else 0, np.int64)
    tokens[targets_at] = items[order]
    lists = [each[parts[0].item_id_list_field].numpy() for each in rows]
    part_of = np.repeat(np.arange(len(rows)), list(map(len, rows)))
    place_in = np.arange(len(users)) - np.searchsorted(part_of, part_of)
    for at in np.flatnonzero(given):
        row = order[at]
        tokens[targets_at[at] - given[at] : targets_at[at]] = lists[part_of[row]][place_in[row], : given[at]]
    starts = np.maximum.accumulate(np.where(is_first, targets_at - given, 0))
    found = np.empty((2, len(order)), np.int64)
    found[:, order] = starts, targets_at
    splits = np.cumsum(list(map(len, rows)))[:-1]
    return [SeenItems(tokens, *each) for each in zip(*(np.split(column, splits) for column in found), strict=True)]
