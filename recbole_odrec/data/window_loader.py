"""Training batches of session windows: one encoder pass serves every prefix of a session.

RecBole makes each prefix a row of its own: a session of n items costs n encoder passes. A causal encoder's state at a
position is the state of the prefix that ends there, so a window of a session with a next item at each position holds
the same training cases in one row.

Dimension key: B windows, L positions, C training cases.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_odrec.data.length_buckets import SORTING_POOL
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.session_jumps import SessionJumps
from recbole_odrec.data.window_plan import SessionBlock, WindowPlan
from recbole_odrec.processes.group import rank
from recbole_odrec.processes.shares import Share, bounds_of

NEXT_ITEMS = "next_items"  # [B, L]: next item after each position, 0 where there is no training case


class Windows(Interaction):
    """A batch of windows that knows where its cases are, so that nobody has to ask the device for them.

    Attributes:
        cases: flat positions in `next_items` that hold an item, int64 [C].
        share: which part of a larger batch these are, where several processes share it.
    """

    cases: Tensor
    share: Share | None

    def __init__(self, fields: dict[str, Tensor], cases: Tensor, share: Share | None = None) -> None:
        super().__init__(fields)
        self.cases, self.share = cases, share

    def to(self, device: Any, selected_field: Any = None) -> Interaction:
        """As RecBole's. All of a batch goes to an accelerator as one copy, which the host does not wait for."""
        device, parts = torch.device(device), [*self.interaction.values(), self.cases]
        if selected_field is not None or any(part.dtype != torch.int64 for part in parts):
            return super().to(device, selected_field)
        if self.cases.device.type != "cpu" or device.type == "cpu":
            *values, cases = (part.to(device) for part in parts)
        else:
            packed = torch.cat([part.flatten() for part in parts])
            packed = (packed.pin_memory() if device.type == "cuda" else packed).to(device, non_blocking=True)
            flat = packed.split([part.numel() for part in parts])
            *values, cases = (values.view(part.shape) for values, part in zip(flat, parts, strict=True))
        return Windows(dict(zip(self.interaction, values, strict=True)), cases, self.share)

    def shared(self) -> Windows:
        """This process's share of the rows, as wide as the batch."""
        n_rows, width = self[NEXT_ITEMS].shape
        bounds, cases = bounds_of(n_rows), self.cases.numpy()
        places = np.searchsorted(cases, np.array(bounds) * width)
        own = slice(places[rank()], places[rank() + 1])
        share = Share(bounds, own.stop - own.start, len(cases))
        rows = share.computed
        of_rows = slice(*np.searchsorted(cases, [rows.start * width, rows.stop * width]))
        fields = {name: values[rows] for name, values in self.interaction.items()}
        return Windows(fields, self.cases[of_rows] - rows.start * width, share)


def window_cases(batch: Interaction) -> Tensor:
    """Flat positions of a batch's cases, int64 [C]: those of `Windows`; looked for in any other batch of windows."""
    return batch.cases if isinstance(batch, Windows) else batch[NEXT_ITEMS].flatten().nonzero().squeeze(1)


class SessionWindowLoader:
    """Yields windows of at most MAX_ITEM_LIST_LENGTH items; each training row is a case of exactly one window.

    A session up to the maximum is one window. A longer one is covered by windows that move by half the maximum, so
    every case sees at least that much of its history, where a row of RecBole sees the full maximum.

    A batch (`Windows`) holds `item_id_list` [B, L], `item_length` [B], `next_items` [B, L] and `item_id` [B], the
    next item of the whole window. Windows of similar length meet in a batch. A data set that is streamed comes block by
    block: a batch that a block does not fill is filled out of the next one.

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

    def __len__(self) -> int:
        return -(-self.n_cases // self.batch_size)

    def __iter__(self) -> Iterator[Interaction]:
        left, n_before = np.zeros(0, np.int64), 0  # windows of the batch that is not full yet; cases of those before it
        if self._whole is not None:
            planned = self._whole
            left, _ = yield from self._full_batches(*planned, left, n_before)
        else:
            planned = None
            for block in self._dataset.training_blocks(self.generator if self.shuffle else None):
                planned = self._planned(block if planned is None else planned[0].before(left, block))
                left, n_before = yield from self._full_batches(*planned, np.arange(len(left)), n_before)
        if planned is not None and len(left):
            yield self._batch(*planned, left)

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
                yield self._batch(plan, jumps, windows)
        return left, n_before

    @property
    def _pool_cases(self) -> int:
        return self.batch_size * SORTING_POOL

    def _batch(self, plan: WindowPlan, jumps: SessionJumps | None, windows: np.ndarray) -> Interaction:
        tokens = plan.tokens
        start, first, last = plan.cases_of(windows)
        lengths = last - start
        columns = np.arange(lengths.max())
        if jumps is None:
            positions = start[:, None] + np.arange(lengths.max() + 1)
        else:
            positions = jumps.walk(start, lengths.max(), self.generator)
            lengths = np.minimum(lengths, (positions >= 0).sum(1) - 1)
        is_item = columns < lengths[:, None]
        item_seq = np.where(is_item, tokens[np.where(is_item, positions[:, :-1], 0)], 0)
        is_case = is_item & (columns >= (first - start - 1)[:, None])
        next_items = np.where(is_case, tokens[np.where(is_case, positions[:, 1:], 0)], 0)
        window_next = tokens[positions[np.arange(len(windows)), lengths]]
        if self.skip_prob:
            item_seq, next_items, lengths = self._skip_items(item_seq, next_items, lengths)
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
