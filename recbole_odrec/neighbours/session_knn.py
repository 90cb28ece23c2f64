"""Models that hold the training sessions themselves, and score by those most like the session at hand.

Dimension key: C sessions at hand, L positions, N items, S training sessions, P items of all of them, G pairs of a
session at hand and a training session that share an item.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix, vstack

from recbole_odrec.neighbours.model import NeighbourModel, NeighbourSettings
from recbole_odrec.neighbours.sessions import TrainingSessions, once_each, whole
from recbole_odrec.parsing import key, require

_MATCHES_AT_ONCE = 1 << 21  # shared items of sessions at hand and training sessions that are held together
_DIGITS = 9  # of a similarity: sums in another order rank alike


class Pairs(NamedTuple):
    """Sessions at hand and training sessions that share an item, ordered by the former, [G] each.

    Attributes:
        row: session at hand.
        session: training session.
        similarity: of the two.
        step: how far back in the session at hand the most recent item shared stands, 1 for its last item.
        place: where that item stands in the training session.
    """

    row: np.ndarray
    session: np.ndarray
    similarity: np.ndarray
    step: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class SessionKNNSettings(NeighbourSettings):
    """Keys of every model of sessions."""

    n_neighbours: int = key(100, "Training sessions, the most similar ones, that score a session.")
    n_candidates: int = key(1000, "Most recent training sessions that share an item, among which they are sought.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("n_neighbours", "n_candidates"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number of at least 1")


class SessionKNN(NeighbourModel):
    """strength(j | session) = sum over its nearest training sessions n that hold j of similarity(n) * weight(n, j).

    An item counts once in a session, where it stands last. Of equally similar sessions the most recent ones count.
    """

    Settings: ClassVar[type[SessionKNNSettings]]
    arrays: ClassVar = {"first_of_session": torch.int32, "items": torch.int32}
    _index: tuple[torch.Tensor, np.ndarray, np.ndarray, np.ndarray] | None = None

    # ------------------------------------------------------------------ what a model must do

    @abstractmethod
    def item_weights(self, step: np.ndarray, length: np.ndarray) -> np.ndarray:
        """What a shared item counts, so many steps back in a session of that length."""

    def similarities(self, total: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Similarity out of the weights of the items shared, and the training session's length."""
        return total

    @abstractmethod
    def neighbour_weights(self, pairs: Pairs, of_pair: np.ndarray, places: np.ndarray, items: np.ndarray) -> np.ndarray:
        """What each item of a neighbour counts, given its pair, its place there and its id."""

    # ------------------------------------------------------------------ what follows

    def count_(self, sessions: TrainingSessions) -> None:
        found = once_each(whole(sessions))
        self.remember(first_of_session=found.starts, items=found.tokens)

    def occurrences(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each item, where its occurrences begin [N + 1]; session and place of each of them [P]."""
        if self._index is None or self._index[0] is not self.items:
            starts, items = self.recalled("first_of_session"), self.recalled("items")
            order = np.argsort(items, kind="stable")
            session_of = np.repeat(np.arange(len(starts) - 1), np.diff(starts))[order]
            first = np.concatenate([[0], np.cumsum(np.bincount(items, minlength=self.n_items))])
            self._index = self.items, first, session_of, order - starts[session_of]
        return self._index[1:]

    def strengths(self, item_seq: np.ndarray) -> csr_matrix:
        if not len(self.first_of_session):  # nothing counted yet
            return csr_matrix((len(item_seq), self.n_items))
        first, _, _ = self.occurrences()
        n_matches = np.cumsum((first[item_seq + 1] - first[item_seq]).sum(1))
        blocks = np.split(item_seq, np.flatnonzero(np.diff(n_matches // _MATCHES_AT_ONCE)) + 1)
        return vstack([self._of_block(block) for block in blocks], format="csr")

    def _of_block(self, item_seq: np.ndarray) -> csr_matrix:
        pairs = self._nearest(item_seq)
        starts, tokens = self.recalled("first_of_session").astype(np.int64), self.recalled("items")
        lengths = starts[pairs.session + 1] - starts[pairs.session]
        of_pair, places = _expanded(lengths)
        items = tokens[starts[pairs.session][of_pair] + places]
        values = pairs.similarity[of_pair] * self.neighbour_weights(pairs, of_pair, places, items)
        return coo_matrix((values, (pairs.row[of_pair], items)), (len(item_seq), self.n_items)).tocsr()

    def _nearest(self, item_seq: np.ndarray) -> Pairs:
        """The neighbours of each session at hand."""
        first, session_of, place_of = self.occurrences()
        row, step, items, length = _asked(item_seq)
        matched, number = _expanded(first[items + 1] - first[items])
        occurrence = first[items][matched] + number
        session, rows, steps = session_of[occurrence], row[matched], step[matched]
        order = np.lexsort((steps, session, rows))
        rows, session, steps = rows[order], session[order], steps[order]
        weights, place = self.item_weights(step, length)[matched][order], place_of[occurrence][order]
        is_first = np.ones(len(rows), bool)
        is_first[1:] = (np.diff(rows) != 0) | (np.diff(session) != 0)
        at = np.flatnonzero(is_first)
        total = np.add.reduceat(weights, at) if len(at) else np.zeros(0)
        pairs = Pairs(rows[at], session[at], total, steps[at], place[at])
        recent = _first_of_each(pairs.row, -pairs.session, self.settings.n_candidates)
        pairs = Pairs(*(values[recent] for values in pairs))
        lengths = np.diff(self.recalled("first_of_session"))[pairs.session]
        pairs = pairs._replace(similarity=self.similarities(pairs.similarity, lengths))
        ranked = -np.round(pairs.similarity, _DIGITS)
        nearest = _first_of_each(pairs.row, ranked, self.settings.n_neighbours, then=-pairs.session)
        return Pairs(*(values[nearest] for values in pairs))


def _asked(item_seq: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of sessions [C, L]: row, steps back (1: the last), id of each different item, and its session's length."""
    rows, positions = item_seq.nonzero()
    items, lengths = item_seq[rows, positions], (item_seq != 0).sum(1)[rows]
    order = np.lexsort((-positions, items, rows))
    is_last = np.ones(len(order), bool)
    is_last[1:] = (np.diff(rows[order]) != 0) | (np.diff(items[order]) != 0)
    kept = order[is_last]
    return rows[kept], (lengths - positions)[kept], items[kept], lengths[kept]


def _expanded(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For runs of these lengths, the run of each element and its number in it."""
    run = np.repeat(np.arange(len(lengths)), lengths)
    return run, np.arange(len(run)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _first_of_each(rows: np.ndarray, by: np.ndarray, n_kept: int, then: np.ndarray | None = None) -> np.ndarray:
    """Places of the `n_kept` smallest of each row, in the order of rows; ties by `then`."""
    order = np.lexsort((by, rows) if then is None else (then, by, rows))
    of_rows = rows[order]
    first = np.searchsorted(of_rows, of_rows)
    return order[np.arange(len(order)) - first < n_kept]
