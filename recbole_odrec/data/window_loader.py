"""Training batches of session windows: one encoder pass serves every prefix of a session.

RecBole makes each prefix a row of its own: a session of n items costs n encoder passes. A causal encoder's state at a
position is the state of the prefix that ends there, so a window of a session with a next item at each position holds
the same training cases in one row.

Dimension key: B windows, L positions.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice

import numpy as np
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction

from recbole_odrec.data.length_buckets import SORTING_POOL
from recbole_odrec.data.own_windows import OwnWindows
from recbole_odrec.data.parquet_sessions import StreamedPart
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.session_jumps import SessionJumps
from recbole_odrec.data.window_plan import SessionBlock, WindowPlan
from recbole_odrec.data.windows import NEXT_ITEMS, Windows, beside_others
from recbole_odrec.processes.group import n_processes, rank


class SessionWindowLoader:
    """Yields windows of at most MAX_ITEM_LIST_LENGTH items; each training row is a case of exactly one window.

    A session up to the maximum is one window. A longer one is covered by windows that move by half the maximum, so
    every case sees at least that much of its history, where a row of RecBole sees the full maximum.

    A batch (`Windows`) holds `item_id_list` [B, L], `item_length` [B], `next_items` [B, L] and `item_id` [B], the
    next item of the whole window. Windows of similar length meet in a batch. A data set that is streamed comes block by
    block: a batch that a block does not fill is filled out of the next one. Of several processes each streams row
    groups of its own and gets its share of each batch, where data in memory are the same whole batches for all.

    Args:
        config: RecBole configuration; `train_batch_size` counts cases (prefixes), as RecBole's rows do;
            `session_jump_prob` is how often, at an item, a window goes on as another session that holds it;
            `item_skip_prob` is the share of items left out of a window. Both are drawn anew each time.
        dataset: the training split.
        shuffle: new order each time it is iterated, drawn from `generator`.

    Attributes:
        generator: torch.Generator of the order, as RecBole's loaders have one.
        n_cases: training cases (prefixes with their next item).
    """

    def __init__(self, config: Config, dataset: SessionDataset, shuffle: bool = True) -> None:
        self.config, self._dataset, self.dataset, self.shuffle = config, dataset, dataset, shuffle
        self.batch_size, self.skip_prob = config["train_batch_size"], config["item_skip_prob"]
        self.generator = torch.Generator().manual_seed(config["seed"])
        block = dataset.training_block
        self._whole = None if block is None else self._planned(block)
        self.n_cases = len(dataset) if self._whole is None else self._whole[0].n_cases

    def _planned(self, block: SessionBlock) -> tuple[WindowPlan, SessionJumps | None]:
        prob = self.config["session_jump_prob"]
        return WindowPlan(block, self._dataset.max_item_list_len), SessionJumps(*block, prob) if prob else None

    @property
    def _part(self) -> StreamedPart:
        return self._dataset.inter_feat.part  # pyright: ignore[reportAttributeAccessIssue, reportReturnType]  # streamed

    def __len__(self) -> int:
        return -(-self.n_cases // self.batch_size)

    def __iter__(self) -> Iterator[Interaction]:
        if self._whole is None and n_processes() > 1:
            yield from self._own_shares()
            return
        left, n_before = np.zeros(0, np.int64), 0  # windows of the batch that is not full yet; cases of those before it
        if self._whole is not None:
            planned = self._whole
            left, _ = yield from self._full_batches(*planned, left, n_before)
        else:
            planned, part = None, self._part
            for block in part.blocks(part.dealt(self.generator if self.shuffle else None)[0]):
                planned = self._planned(block if planned is None else planned[0].before(left, block))
                left, n_before = yield from self._full_batches(*planned, np.arange(len(left)), n_before)
        if planned is not None and len(left):
            yield self._batch(*planned, left, self.generator)

    def _own_shares(self) -> Iterator[Windows]:
        """All processes draw the same numbers of `generator`; each has one of its own for what is in its share."""
        part, alike = self._part, self.generator if self.shuffle else None
        groups = part.dealt(alike, n_processes())[rank()]
        seed = int(torch.randint(1 << 62, (), generator=self.generator))
        own = torch.Generator().manual_seed(seed + rank())
        mine = OwnWindows(part.n_cases_of(groups), len(self), own if self.shuffle else None, alike)
        stream = mine.batches(part.blocks(groups, n_processes()), self._planned)
        while some := list(islice(stream, SORTING_POOL)):  # to ask the others once for all of these
            yield from beside_others(
                [
                    (self._batch(*planned, windows, own) if len(windows) else self._stand_in(), len(windows))
                    for planned, windows in some
                ]
            )

    def _stand_in(self) -> Windows:
        """A row of a process that has none of a batch."""
        one, dataset = torch.ones(1, dtype=torch.int64), self._dataset
        fields = {dataset.item_list_field: one[None], dataset.item_list_length_field: one}
        return Windows({**fields, NEXT_ITEMS: one[None], dataset.iid_field: one}, one - 1)

    def _full_batches(
        self, plan: WindowPlan, jumps: SessionJumps | None, left: np.ndarray, n_before: int
    ) -> Generator[Interaction, None, tuple[np.ndarray, int]]:
        """Batches of a block, drawn in pools so that no order of all windows at once is sorted.

        Args:
            left: its first windows, which come first in its first batch.
            n_before: cases of all batches so far.

        Returns:
            The windows that fill no batch, and the cases of all batches so far.
        """
        n_windows = plan.n_windows - len(left)
        if self.shuffle:
            order = torch.randperm(n_windows, generator=self.generator, dtype=torch.int32).numpy()
        else:
            order = np.arange(n_windows, dtype=np.int32)
        n_first, pool_size = len(left), max(self._pool_cases * n_windows // max(plan.n_cases, 1), 1)
        for turn, position in enumerate(range(0, n_windows, pool_size)):
            pool = plan.with_cases(order[position : position + pool_size].astype(np.int64) + n_first)
            start, _, last = plan.cases_of(pool)
            lengths = last - start
            # Shortest first, then longest first: pools meet in windows of like length.
            pool = np.concatenate([left, pool[np.argsort(-lengths if turn % 2 else lengths, kind="stable")]])
            _, first, last = plan.cases_of(pool)
            n_cases = last - first + 1
            batch = (n_before + np.cumsum(n_cases) - n_cases) // self.batch_size
            cuts = np.flatnonzero(np.diff(batch)) + 1
            *batches, left = np.split(pool, cuts)
            n_before += int(n_cases.sum() - n_cases[len(pool) - len(left) :].sum())
            if self.shuffle:
                batches = [batches[i] for i in torch.randperm(len(batches), generator=self.generator)]
            for windows in batches:
                yield self._batch(plan, jumps, windows, self.generator)
        return left, n_before

    @property
    def _pool_cases(self) -> int:
        return self.batch_size * SORTING_POOL

    def _batch(
        self, plan: WindowPlan, jumps: SessionJumps | None, windows: np.ndarray, generator: torch.Generator
    ) -> Windows:
        tokens = plan.tokens
        start, first, last = plan.cases_of(windows)
        lengths = last - start
        columns = np.arange(lengths.max())
        if jumps is None:
            positions = start[:, None] + np.arange(lengths.max() + 1)
        else:
            positions = jumps.walk(start, lengths.max(), generator)
            lengths = np.minimum(lengths, (positions >= 0).sum(1) - 1)
        is_item = columns < lengths[:, None]
        item_seq = np.where(is_item, tokens[np.where(is_item, positions[:, :-1], 0)], 0)
        is_case = is_item & (columns >= (first - start - 1)[:, None])
        next_items = np.where(is_case, tokens[np.where(is_case, positions[:, 1:], 0)], 0)
        window_next = tokens[positions[np.arange(len(windows)), lengths]]
        if self.skip_prob:
            item_seq, next_items, lengths = self._skip_items(item_seq, next_items, lengths, generator)
        dataset = self._dataset
        cases = torch.as_tensor(np.flatnonzero(next_items))
        return Windows(
            {
                dataset.item_list_field: torch.as_tensor(item_seq, dtype=torch.int64),
                dataset.item_list_length_field: torch.as_tensor(lengths, dtype=torch.int64),
                NEXT_ITEMS: torch.as_tensor(next_items, dtype=torch.int64),
                dataset.iid_field: torch.as_tensor(window_next, dtype=torch.int64),
            },
            cases,
        )

    def _skip_items(
        self, item_seq: np.ndarray, next_items: np.ndarray, lengths: np.ndarray, generator: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Leaves out items at random, never a window's last one, and closes the gaps: other contexts every epoch."""
        columns = np.arange(item_seq.shape[1])
        drawn = torch.rand(item_seq.shape, generator=generator).numpy()
        is_kept = ((drawn >= self.skip_prob) | (columns == lengths[:, None] - 1)) & (columns < lengths[:, None])
        order = np.argsort(~is_kept, axis=1, kind="stable")  # kept positions first, in their order
        lengths = is_kept.sum(1)
        item_seq, next_items = (
            np.take_along_axis(values * is_kept, order, axis=1)[:, : lengths.max()] for values in (item_seq, next_items)
        )
        return item_seq, next_items, lengths
