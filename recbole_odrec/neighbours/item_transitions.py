"""Transitions between items in both directions, from all of a session's items."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.sparse import csr_matrix

from recbole_odrec.neighbours.item_to_item import ItemToItem, ItemToItemSettings
from recbole_odrec.neighbours.pairs import followers, normalised
from recbole_odrec.neighbours.sessions import TrainingSessions
from recbole_odrec.parsing import key, require


class ItemTransitions(ItemToItem):
    """W[i, j]: how much j follows i, and half as much precedes it, set against how popular both are."""

    @dataclass(frozen=True)
    class Settings(ItemToItemSettings):
        """Its keys."""

        recency: float = key(
            0.7, "Weight of a session's item for each place that it stands further back; 0: the last alone."
        )
        max_distance: int = key(10, "Places up to which an item follows another, weight 1 / distance.")
        backward: float = key(0.5, "Weight of an item that comes before, 0 to 1.")
        out_power: float = key(0.5, "Power of an item's outgoing weight by which its rows are divided.")
        in_power: float = key(0.3, "Power of an item's incoming weight by which its columns are divided.")

        def __post_init__(self) -> None:
            super().__post_init__()
            require(self.max_distance >= 1, "max_distance", self.max_distance, "a whole number of at least 1")
            for name in ("backward", "out_power", "in_power"):
                value = getattr(self, name)
                require(0 <= value <= 1, name, value, "a number in [0, 1]")

    settings: Settings

    def matrix(self, sessions: TrainingSessions) -> csr_matrix:
        asked = self.settings
        counts = followers(sessions, self.n_items, asked.max_distance, asked.backward)
        return normalised(counts, asked.out_power, asked.in_power)
