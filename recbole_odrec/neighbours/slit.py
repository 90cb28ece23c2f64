"""SLIT: a linear model of the next item (Choi et al., WWW 2021, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

from recbole_odrec.neighbours.item_to_item import ItemToItem, ItemToItemSettings
from recbole_odrec.neighbours.ridge import ridge
from recbole_odrec.neighbours.sessions import TrainingSessions
from recbole_odrec.parsing import key, require


class SLIT(ItemToItem):
    """W that best predicts the next item of every training case from the items before, as it is used afterwards:

        minimise sum over cases |onehot(next item) - sum_d recency^d W[item d places back]|^2 + ridge |W|^2

    The paper's targets are all later items; RecBole's EASE is of users and has no order. In closed form where the
    catalogue is small, beyond over the strongest inputs of each item.
    """

    @dataclass(frozen=True)
    class Settings(ItemToItemSettings):
        """Its keys."""

        recency: float = key(
            0.7, "Weight of a session's item for each place that it stands further back; 0: the last alone."
        )
        max_distance: int = key(10, "Places back up to which an item predicts.")
        ridge: float = key(10.0, "Penalty of the squared weights.")
        n_inputs: int = key(
            0, "Items that may predict an item, its strongest ones; 0: all of up to 4,096 items, 64 of more."
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            require(self.max_distance >= 1, "max_distance", self.max_distance, "a whole number of at least 1")
            require(self.ridge > 0, "ridge", self.ridge, "a number above 0")
            require(self.n_inputs >= 0, "n_inputs", self.n_inputs, "a whole number of at least 0")

    settings: Settings

    def matrix(self, sessions: TrainingSessions) -> csr_matrix:
        before, after = histories(sessions, self.n_items, self.settings.max_distance, self.settings.recency)
        moments = (before.T @ after).tocsr()
        return ridge((before.T @ before).tocsr(), moments, self.settings.ridge, self.settings.n_inputs)


def histories(
    sessions: TrainingSessions, n_items: int, max_distance: int, recency: float
) -> tuple[csr_matrix, csr_matrix]:
    """Of every training case its items by how recent they are, and its next item: [cases, N] each."""
    session_of = sessions.session_of
    targets = np.flatnonzero(sessions.is_target)
    rows, items, weights = [], [], []
    for distance in range(1, max_distance + 1):
        case = np.flatnonzero(targets >= distance)
        case = case[session_of[targets[case]] == session_of[targets[case] - distance]]
        rows.append(case)
        items.append(sessions.tokens[targets[case] - distance])
        weights.append(np.full(len(case), recency ** (distance - 1.0)))
    shape = (len(targets), n_items)
    pairs = np.concatenate(rows), np.concatenate(items)
    before = coo_matrix((np.concatenate(weights), pairs), shape).tocsr()
    before.eliminate_zeros()
    after = csr_matrix((np.ones(len(targets)), sessions.tokens[targets], np.arange(len(targets) + 1)), shape)
    return before, after
