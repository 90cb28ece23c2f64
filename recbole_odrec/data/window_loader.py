"""Training batches of session windows: one encoder pass serves every prefix of a session.

RecBole makes each prefix a row of its own: a session of n items costs n encoder passes. A causal encoder's state at a
position is the state of the prefix that ends there, so a window of a session with a next item at each position holds
the same training cases in one row.

Dimension key: B windows, L positions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction

from recbole_odrec.data.session_dataset import HISTORY_END, SESSION_START, SessionDataset

NEXT_ITEMS = "next_items"  # [B, L]: next item after each position, 0 where there is no training case
_SORTING_POOL = 32  # batches whose windows are sorted by length together: little padding, still well mixed


class SessionWindowLoader:
    """Yields windows of at most MAX_ITEM_LIST_LENGTH items; each training row is a case of exactly one window.

    A session up to the maximum is one window. A longer one is covered by windows that move by half the maximum, so
    every case sees at least that much of its history, where a row of RecBole sees the full maximum.

    A batch is an Interaction of `item_id_list` [B, L], `item_length` [B], `next_items` [B, L] and `item_id` [B], the
    next item of the whole window. Windows of similar length meet in a batch.

    Args:
        config: RecBole configuration; `train_batch_size` counts cases (prefixes), as RecBole's rows do, and
            `item_skip_prob` is the share of items left out of a window at random each time it is drawn.
        dataset: the training split.
        shuffle: new order each time it is iterated, drawn from `generator`.

    Attributes:
        generator: torch.Generator of the order, as RecBole's loaders have one.
    """

    def __init__(self, config: Config, dataset: SessionDataset, shuffle: bool = True) -> None:
        self.config, self._dataset, self.dataset, self.shuffle = config, dataset, dataset, shuffle
        self.batch_size, self.skip_prob = config["train_batch_size"], config["item_skip_prob"]
        self.generator = torch.Generator().manual_seed(config["seed"])
        self._plan_windows(dataset)

    def _plan_windows(self, dataset: SessionDataset) -> None:
        rows, longest = dataset.inter_feat, dataset.max_item_list_len
        starts, ends = rows[SESSION_START].numpy(), rows[HISTORY_END].numpy()
        order = np.lexsort((ends, starts))
        starts, ends, next_items = starts[order], ends[order], rows[dataset.iid_field].numpy()[order]
        step = max(longest // 2, 1)
        # Which window of its session a case falls into: the first takes prefixes up to the maximum, each further
        # one the next `step` prefixes.
        turn = np.maximum(-(-(ends - starts - longest) // step), 0)
        is_new = np.ones(len(starts), dtype=bool)
        is_new[1:] = (starts[1:] != starts[:-1]) | (turn[1:] != turn[:-1])
        first_case = np.flatnonzero(is_new)
        self.cases = np.append(first_case, len(starts))  # cases of window w: [cases[w], cases[w + 1])
        self.window_end = ends[self.cases[1:] - 1]
        self.window_start = np.maximum(starts[first_case], self.window_end - longest)
        self.case_position = ends - 1 - np.repeat(self.window_start, np.diff(self.cases))
        self.case_item = next_items

    @property
    def n_cases(self) -> int:
        """Training cases (prefixes with their next item)."""
        return len(self.case_item)

    def __len__(self) -> int:
        return -(-self.n_cases // self.batch_size)

    def __iter__(self) -> Iterator[Interaction]:
        for windows in self._batches():
            yield self._batch(windows)

    def _batches(self) -> list[np.ndarray]:
        n_windows = len(self.window_start)
        order = np.arange(n_windows)
        if self.shuffle:
            order = torch.randperm(n_windows, generator=self.generator).numpy()
        lengths, n_cases = (self.window_end - self.window_start)[order], np.diff(self.cases)[order]
        pool = (np.cumsum(n_cases) - n_cases) // (self.batch_size * _SORTING_POOL)
        order = order[np.lexsort((lengths, pool))]
        n_cases = np.diff(self.cases)[order]
        batch = (np.cumsum(n_cases) - n_cases) // self.batch_size
        batches = np.split(order, np.flatnonzero(np.diff(batch)) + 1)
        if self.shuffle:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=self.generator)]
        return batches

    def _batch(self, windows: np.ndarray) -> Interaction:
        dataset = self._dataset
        start, end = self.window_start[windows], self.window_end[windows]
        lengths = end - start
        columns = np.arange(lengths.max())
        is_item = columns < lengths[:, None]
        item_seq = np.where(is_item, dataset.tokens[np.where(is_item, start[:, None] + columns, 0)], 0)
        next_items = np.zeros_like(item_seq, dtype=np.int64)
        n_cases = self.cases[windows + 1] - self.cases[windows]
        cases = np.repeat(self.cases[windows + 1] - np.cumsum(n_cases), n_cases) + np.arange(n_cases.sum())
        next_items[np.repeat(np.arange(len(windows)), n_cases), self.case_position[cases]] = self.case_item[cases]
        if self.skip_prob:
            item_seq, next_items, lengths = self._skip_items(item_seq, next_items, lengths)
        return Interaction(
            {
                dataset.item_list_field: torch.as_tensor(item_seq, dtype=torch.int64),
                dataset.item_list_length_field: torch.as_tensor(lengths),
                NEXT_ITEMS: torch.as_tensor(next_items),
                dataset.iid_field: torch.as_tensor(self.case_item[self.cases[windows + 1] - 1]),
            }
        )

    def _skip_items(
        self, item_seq: np.ndarray, next_items: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Leaves out items at random, never a window's last one, and closes the gaps: other contexts every epoch."""
        columns = np.arange(item_seq.shape[1])
        drawn = torch.rand(item_seq.shape, generator=self.generator).numpy()
        is_kept = ((drawn >= self.skip_prob) | (columns == lengths[:, None] - 1)) & (columns < lengths[:, None])
        order = np.argsort(~is_kept, axis=1, kind="stable")  # kept positions first, in their order
        lengths = is_kept.sum(1)
        item_seq, next_items = (
            np.take_along_axis(values * is_kept, order, axis=1)[:, : lengths.max()] for values in (item_seq, next_items)
        )
        return item_seq, next_items, lengths
