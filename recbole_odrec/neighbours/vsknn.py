"""V-SKNN: nearest sessions, recent items first (Ludewig, Jannach 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_odrec.neighbours.session_knn import Pairs, SessionKNN, SessionKNNSettings


class VSKNN(SessionKNN):
    """An item at position p of a session of n counts p / n; a neighbour counts 1 / steps back to what it shares.

    Defaults are those of session-rec.
    """

    @dataclass(frozen=True)
    class Settings(SessionKNNSettings):
        """Its keys."""

    settings: Settings

    def item_weights(self, step: np.ndarray, length: np.ndarray) -> np.ndarray:
        return (length - step + 1) / length

    def neighbour_weights(self, pairs: Pairs, of_pair: np.ndarray, places: np.ndarray, items: np.ndarray) -> np.ndarray:
        return (1 / pairs.step)[of_pair]
