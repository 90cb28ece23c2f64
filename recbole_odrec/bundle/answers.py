"""What a recommender answers.

Dimension key: B sessions, K the bundle's `topk`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Recommendation(NamedTuple):
    """One recommended item.

    Attributes:
        item: its raw token.
        score: inner product of session and item; comparable within one answer.
        title: from the data set's item file, None where there is none.
    """

    item: str
    score: float
    title: str | None


class Recommendations(list[Recommendation]):
    """An answer, best item first.

    Attributes:
        unknown: tokens that the model has never seen and that were skipped, oldest first. A history is looked up
            from its end only until `max_length` known items are found; what is older is not looked at.
    """

    def __init__(self, items: Iterable[Recommendation], unknown: Sequence[str]) -> None:
        super().__init__(items)
        self.unknown = tuple(unknown)


def without(left_out: np.ndarray, ids: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves items to the end of answers [.., K], as places that no item fills."""
    is_out = np.isin(ids, left_out)
    order = np.argsort(is_out, axis=-1, kind="stable")
    is_out, ids, scores = (np.take_along_axis(values, order, -1) for values in (is_out, ids, scores))
    return ids * ~is_out, np.where(is_out, -np.inf, scores)
