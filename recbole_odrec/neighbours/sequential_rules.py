"""Sequential rules (Kamehkhosh, Jannach, Ludewig 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.sparse import csr_matrix

from recbole_odrec.neighbours.item_to_item import ItemToItem, ItemToItemSettings
from recbole_odrec.neighbours.pairs import followers
from recbole_odrec.neighbours.sessions import TrainingSessions
from recbole_odrec.parsing import key, require


class SR(ItemToItem):
    """W[i, j]: how often j follows i, a step of distance d counting 1 / d; by a session's last item.

    Defaults are those of session-rec (Ludewig, Jannach 2018): ten steps, the 20 strongest rules of an item.
    """

    @dataclass(frozen=True)
    class Settings(ItemToItemSettings):
        """Its keys."""

        followers: int = key(20, "Strongest items kept for each item; 0 keeps all.")
        max_distance: int = key(10, "Places up to which an item follows another, weight 1 / distance.")

        def __post_init__(self) -> None:
            super().__post_init__()
            require(self.max_distance >= 1, "max_distance", self.max_distance, "a whole number of at least 1")

    settings: Settings

    def matrix(self, sessions: TrainingSessions) -> csr_matrix:
        return followers(sessions, self.n_items, self.settings.max_distance)
