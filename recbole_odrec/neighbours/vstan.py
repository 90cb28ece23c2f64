"""VSTAN: STAN's decays (Garg et al. 2019) with V-SKNN's step and rarity of items (Ludewig et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_odrec.neighbours.session_knn import Pairs, SessionKNN, SessionKNNSettings
from recbole_odrec.parsing import key, require


class VSTAN(SessionKNN):
    """Cosine of sessions whose items count less the further back they stand; of a neighbour, what stands near to the
    item shared counts most. The age of a session has no part in it: session files hold no times.
    """

    @dataclass(frozen=True)
    class Settings(SessionKNNSettings):
        """Its keys, named as session-rec names them."""

        n_neighbours: int = key(500, "Training sessions, the most similar ones, that score a session.")
        n_candidates: int = key(2500, "Most recent training sessions that share an item, among which they are sought.")
        lambda_spw: float = key(1.02, "Steps back in the session over which an item's weight falls by e.")
        lambda_ipw: float = key(1.02, "Steps back to the item shared over which a neighbour's weight falls by e.")
        lambda_inh: float = key(2.05, "Places from the item shared over which a neighbour's items fall by e.")
        lambda_idf: float = key(5.0, "Weight of an item's rarity, log(sessions / sessions with it); 0: none.")

        def __post_init__(self) -> None:
            super().__post_init__()
            for name in ("lambda_spw", "lambda_ipw", "lambda_inh"):
                require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
            require(self.lambda_idf >= 0, "lambda_idf", self.lambda_idf, "a number of at least 0")

    settings: Settings

    def item_weights(self, step: np.ndarray, length: np.ndarray) -> np.ndarray:
        return np.exp((1 - step) / self.settings.lambda_spw)

    def similarities(self, total: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return total / np.sqrt(lengths)

    def neighbour_weights(self, pairs: Pairs, of_pair: np.ndarray, places: np.ndarray, items: np.ndarray) -> np.ndarray:
        asked = self.settings
        first, _, _ = self.occurrences()
        n_sessions = len(self.first_of_session) - 1
        rarity = 1 + asked.lambda_idf * np.log(n_sessions / np.maximum(np.diff(first), 1))
        away = np.abs(places - pairs.place[of_pair])
        step = np.exp((1 - pairs.step) / asked.lambda_ipw)[of_pair]
        return step * np.exp(-away / asked.lambda_inh) * rarity[items]
