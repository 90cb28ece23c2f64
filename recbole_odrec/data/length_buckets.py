"""RecBole's training rows in batches of like length: little padding for its models to compute on.

RecBole pads every row to MAX_ITEM_LIST_LENGTH, several times the average history of the session benchmarks.

Dimension key: R rows, B of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction

SORTING_POOL = 32  # batches whose rows are sorted by length together: little padding, still well mixed


class LengthBucketLoader(TrainDataLoader):
    """RecBole's training loader with another order: rows of similar length meet in a batch, batches come mixed.

    Every row comes once an epoch. Takes what `TrainDataLoader` takes; the data set is a `SessionDataset` whose
    `pad_to_max` is off, so that a batch is as wide as its own longest row.
    """

    def __iter__(self) -> Iterator[Interaction]:
        for rows in self._batches():
            yield self.collate_fn(rows)

    def _batches(self) -> Iterator[np.ndarray]:
        """Positions of rows [B], one batch after the other."""
        data, size = self._dataset, self.step
        lengths = data.inter_feat[data.item_list_length_field].numpy()
        order = torch.randperm(len(data), generator=self.generator) if self.shuffle else torch.arange(len(data))
        for pool in order.split(size * SORTING_POOL):
            pool = pool.numpy()
            batches = torch.as_tensor(pool[np.argsort(lengths[pool], kind="stable")]).split(size)
            mixed = torch.randperm(len(batches), generator=self.generator) if self.shuffle else range(len(batches))
            yield from (batches[i].numpy() for i in mixed)
