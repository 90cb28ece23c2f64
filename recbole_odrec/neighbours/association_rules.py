"""Association rules of two items: co-occurrence."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.sparse import csr_matrix

from recbole_odrec.neighbours.item_to_item import ItemToItem, ItemToItemSettings
from recbole_odrec.neighbours.pairs import together
from recbole_odrec.neighbours.sessions import TrainingSessions, whole
from recbole_odrec.parsing import key


class AR(ItemToItem):
    """W[i, j]: in how many sessions i and j stand together; by a session's last item.

    Defaults are those of session-rec (Ludewig, Jannach 2018): the 20 strongest rules of an item.
    """

    @dataclass(frozen=True)
    class Settings(ItemToItemSettings):
        """Its keys."""

        followers: int = key(20, "Strongest items kept for each item; 0 keeps all.")

    settings: Settings

    def matrix(self, sessions: TrainingSessions) -> csr_matrix:
        return together(whole(sessions), self.n_items)
