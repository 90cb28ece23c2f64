"""Head and tail items: the paper's split of the catalogue by training frequency."""

from __future__ import annotations

import numpy as np
import torch
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_odrec.data.session_rows import SessionRows, StreamedRows

HEAD_SHARE = 0.2  # of the items that occur in training, as in the paper
_BLOCK = 1 << 20  # tokens counted at a time: `bincount` makes a copy of 8 bytes each


def head_items(train_dataset: Dataset) -> Tensor:
    """The 20 % most frequent items of the training interactions.

    Frequency counts every training interaction, a session's first item included (not what is given as mere history);
    ties go to the smaller id. Items that never occur in training are tail items, padding is neither.

    Args:
        train_dataset: the training split of a sequential dataset.

    Returns:
        bool [N]: True for head items.
    """
    counts = training_counts(train_dataset)
    order = np.argsort(-counts, kind="stable")
    n_head = round(HEAD_SHARE * (counts > 0).sum())
    is_head = np.zeros(len(counts), dtype=bool)
    is_head[order[:n_head]] = True
    return torch.as_tensor(is_head)


def training_counts(train_dataset: Dataset) -> np.ndarray:
    """How often each item occurs in the training interactions: int [N], 0 for padding.

    A row stands for its next item; a row with a prefix of one also for that first item, which is no row's next item.
    """
    n_items = train_dataset.num(train_dataset.iid_field)
    rows = train_dataset.inter_feat
    if isinstance(rows, StreamedRows):
        return rows.part.counts
    if isinstance(rows, SessionRows):
        return _session_counts(rows, n_items)
    counts = np.bincount(rows[train_dataset.iid_field].numpy(), minlength=n_items)
    length_field = getattr(train_dataset, "item_list_length_field", None)
    if length_field is not None and length_field in rows:
        first = np.flatnonzero(rows[length_field].numpy() == 1)
        if len(first):
            items = train_dataset[first][train_dataset.item_id_list_field][:, 0].numpy()
            counts = counts + np.bincount(items, minlength=n_items)
    counts[0] = 0
    return counts


def _session_counts(rows: SessionRows, n_items: int) -> np.ndarray:
    counts, part = np.zeros(n_items, dtype=np.int64), rows.part
    bounds = np.searchsorted(part.starts, np.arange(part.starts[0], part.starts[-1], _BLOCK))
    for first, last in zip(bounds, [*bounds[1:], part.n_sessions], strict=True):
        sessions = np.arange(first, last)
        start, end = int(part.starts[first]), int(part.starts[last])
        lengths, n_given = (
            np.diff(part.starts[first : last + 1]),
            np.broadcast_to(part.given_of(sessions), len(sessions)),
        )
        if (n_given == 1).all():
            counted = rows.tokens[start:end]
        else:
            given = np.repeat(np.where(n_given == 1, 0, n_given), lengths)
            counted = rows.tokens[start:end][
                np.arange(start, end) - np.repeat(part.starts[first:last], lengths) >= given
            ]
        counts += np.bincount(counted, minlength=n_items)
    return counts
