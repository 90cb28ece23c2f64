"""Evaluation batches of bounded size: no more scores at a time than fit, rows of like length together.

RecBole scores `eval_batch_size` rows at a time whatever the catalogue: 4096 rows of 300,000 items are 4.9 GB.

Dimension key: B rows of a batch, N items, R rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader
from torch import Tensor

from recbole_odrec.data.seen_items import SeenItems, seen_items
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.processes.group import n_processes, rank

SCORE_BYTES = 600_000_000  # of one block of scores on a CPU
_ROWS_ON_GPU = 4096  # RecBole's default: small blocks leave a GPU idle


def rows_at_once(config: Config, n_items: int) -> int:
    """How many rows are scored at a time, fewer where N float32 scores each would take too much.

    On a CPU `eval_batch_size`; on a GPU at least `_ROWS_ON_GPU`, in a quarter of the memory that is free.
    """
    n_rows, n_bytes = config["eval_batch_size"], SCORE_BYTES
    if config["device"].type == "cuda":
        n_rows, n_bytes = max(n_rows, _ROWS_ON_GPU), torch.cuda.mem_get_info(config["device"])[0] // 4
    return max(min(n_rows, n_bytes // (4 * n_items)), 1)


class BoundedEvalLoader(FullSortEvalDataLoader):
    """RecBole's loader for ranking all items, for sequential models, with `rows_at_once` rows a batch.

    Attributes:
        sorts: whether rows come longest first and each batch is as wide as its own longest, for a model that scores a
            row alike at any width; in the data set's order otherwise.
        order: int64 [R], positions in the data set of the rows as they come, those of one process after those of
            another; None in the data set's order.
        is_shared: whether each of several processes takes rows of its own; all of them otherwise.
        seen: what is left out of each row's ranking; None leaves nothing out, as RecBole's sequential loader does.
    """

    sorts = False
    is_shared = True
    seen: SeenItems | None = None

    def _init_batch_size_and_step(self) -> None:
        self.step = rows_at_once(self.config, self._dataset.item_num)
        self.set_batch_size(self.step)

    @property
    def order(self) -> Tensor | None:
        if n_processes() == 1 or not self.is_shared:
            return self._every_row if self.sorts else None
        return torch.cat([self._every_row[number :: n_processes()] for number in range(n_processes())])

    @property
    def _every_row(self) -> Tensor:
        if not self.sorts:
            return torch.arange(len(self._dataset))
        lengths = self._dataset.inter_feat[self._dataset.item_list_length_field]
        return torch.argsort(lengths, descending=True, stable=True)

    def __iter__(self) -> Iterator[Any]:
        rows = self._every_row.numpy()
        if self.is_shared:
            rows = rows[rank() :: n_processes()]  # each process has long rows and short ones
        for first in range(0, len(rows), self.step):
            yield self.collate_fn(rows[first : first + self.step])

    def collate_fn(self, index: Any) -> tuple:
        interaction, _, *targets = super().collate_fn(index)
        return interaction, None if self.seen is None else self.seen.of(index), *targets


def bounded(loader: Any, seen: SeenItems | None = None) -> Any:
    """The same rows in batches of bounded size; what does not rank all items for sequences is returned as it is."""
    if not isinstance(loader, FullSortEvalDataLoader) or not loader.is_sequential:
        return loader
    loader = BoundedEvalLoader(loader.config, loader._dataset, loader._sampler)
    loader.seen = seen
    return loader


def lost_targets(loader: Any) -> int:
    """How many rows' targets are left out of their own ranking."""
    seen = getattr(loader, "seen", None)
    return 0 if seen is None else seen.n_among(loader._dataset.inter_feat[loader.iid_field])


def never_repeats(loader: Any, train_data: Any) -> bool:
    """Whether no row's target stands in its own whole history, and yet what does is ranked."""
    if not isinstance(loader, BoundedEvalLoader) or loader.seen is not None or not len(loader._dataset):
        return False
    # RecBole's rows have lost their oldest items: those of training have them.
    before = [] if isinstance(loader._dataset, SessionDataset) else [train_data._dataset]
    seen = seen_items(loader.config, [*before, loader._dataset])[-1]
    return seen.n_among(loader._dataset.inter_feat[loader.iid_field]) == 0
