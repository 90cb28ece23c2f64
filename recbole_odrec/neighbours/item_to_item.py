"""Models that hold what speaks for an item given another one: a sparse matrix of items by items.

Dimension key: B sessions, L positions, N items.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix

from recbole_odrec.neighbours.model import NeighbourModel, NeighbourSettings
from recbole_odrec.neighbours.pairs import strongest
from recbole_odrec.neighbours.sessions import TrainingSessions
from recbole_odrec.parsing import key, require


@dataclass(frozen=True)
class ItemToItemSettings(NeighbourSettings):
    """Keys of every model of items by items."""

    followers: int = key(0, "Strongest items kept for each item; 0 keeps all.")
    recency: float = key(
        0.0, "Weight of a session's item for each place that it stands further back; 0: the last alone."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.followers >= 0, "followers", self.followers, "a whole number of at least 0")
        require(0 <= self.recency <= 1, "recency", self.recency, "a number in [0, 1]")


class ItemToItem(NeighbourModel):
    """strength(j | session) = sum over the session's items i, d = 0 for the last one, of recency^d * W[i, j]."""

    Settings: ClassVar[type[ItemToItemSettings]]
    arrays: ClassVar = {"first_of_row": torch.int32, "items": torch.int32, "weights": torch.float32}

    @abstractmethod
    def matrix(self, sessions: TrainingSessions) -> csr_matrix:
        """W: [N, N]."""

    def count_(self, sessions: TrainingSessions) -> None:
        kept = strongest(self.matrix(sessions), self.settings.followers)
        kept.sort_indices()
        self.remember(first_of_row=kept.indptr, items=kept.indices, weights=kept.data)

    def strengths(self, item_seq: np.ndarray) -> csr_matrix:
        shape = (self.n_items, self.n_items)
        if not len(self.first_of_row):  # nothing counted yet
            return csr_matrix((len(item_seq), self.n_items))
        weights = csr_matrix(tuple(map(self.recalled, ("weights", "items", "first_of_row"))), shape=shape)
        rows, positions = item_seq.nonzero()
        back = (item_seq != 0).sum(1)[rows] - 1 - positions
        decay = np.float32(self.settings.recency) ** back.astype(np.float32)
        used = decay > 0
        asked = coo_matrix((decay[used], (rows[used], item_seq[rows, positions][used])), (len(item_seq), self.n_items))
        return (asked.tocsr() @ weights).tocsr()
