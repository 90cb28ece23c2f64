"""What an `.item` file says of items, and the rows that a ridge regression gives them by it.

Words of `token_seq` columns and values of `token` columns are there or not; numbers count in standard deviations. The
ridge's strength is the one with the least error on known items, each left out in turn, which takes no fit of its own.

Dimension key: n items, F facts, D embedding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from recbole_odrec.bundle.tokens import MOST_LINE_BYTES
from recbole_odrec.data.table_reader import Column, Header, read_columns
from recbole_odrec.errors import UserError

Fact = tuple[str, str | int]  # a column, and a word of it or the place of a number
Facts = Mapping[Fact, float]  # of an item, how much of each
_LEAST_ITEMS, _MOST_FACTS = 2, 2000  # of one item alone nothing follows; F x F numbers are in memory
_MOST_ITEMS = 20_000  # that a ridge is fitted on, n x F numbers
_STRENGTHS = 10.0 ** np.arange(-1, 5, 0.5)  # beside each fact's sum of squares, which is its count for a word
_FURTHEST = 3.0  # standard deviations that a number counts


def read_facts(path: Path, item_field: str = "item_id", fields: Collection[str] = ()) -> dict[str, dict[Fact, float]]:
    """The facts of each item of an atomic file.

    Args:
        path: columns apart by tabs, with RecBole's header.
        item_field: its column of item tokens.
        fields: columns that are read; all when empty.

    Raises:
        UserError: the file, the line or the column, and what is wrong with it.
    """
    header = Header.read(path, "\t")
    header.require({item_field: "token"}, "; name its column of items with --item_field")
    header.require({name: header.kinds.get(name, "") for name in fields})
    kinds = {name: kind for name, kind in header.kinds.items() if name != item_field and (not fields or name in fields)}
    if not kinds:
        raise UserError(f"{path}: no column beside `{item_field}`, expected one that says something of items.")
    values = read_columns(path, "\t", None, [item_field, *kinds])
    column = Column(path, item_field, values[item_field], True)
    items = column.keys()
    for row, item in enumerate(items):
        if len(item.encode()) >= MOST_LINE_BYTES:
            raise column.refuse(row, f"a name of fewer than {MOST_LINE_BYTES:,} bytes")
    facts: dict[str, dict[Fact, float]] = {item: {} for item in items}
    for name, kind in kinds.items():
        if kind in ("float", "float_seq"):
            lists = Column(path, name, values[name], False).number_lists(" ")
            for item, numbers in zip(items, lists, strict=True):
                facts[item].update({(name, place): number for place, number in enumerate(numbers.tolist())})
        else:
            for item, value in zip(items, values[name], strict=True):
                words = value.casefold().split() if kind == "token_seq" else filter(None, [value])
                facts[item].update(dict.fromkeys([(name, word) for word in words], 1.0))
    return facts


class FactsRidge:
    """A ridge regression from facts of items onto their rows.

    Args:
        facts: of n known items.
        rows: theirs, [n, D].

    Attributes:
        left_out: [n, D], of each of these items the row that the others' give it.
        strength: the ridge's, chosen by them.

    Raises:
        UserError: nothing is true of two of these items.
    """

    def __init__(self, facts: Sequence[Mapping[Fact, float]], rows: np.ndarray) -> None:
        counts = Counter(fact for of_one in facts for fact in of_one)
        common = [fact for fact, count in counts.most_common(_MOST_FACTS) if count >= _LEAST_ITEMS]
        if not common:
            raise UserError("the item file says nothing of two items of the bundle alike: there is nothing to go by.")
        self._places = {fact: place for place, fact in enumerate(common)}
        self._center, self._scale = np.zeros(len(common)), np.ones(len(common))
        for fact, place in self._places.items():
            if isinstance(fact[1], int):
                numbers = np.array([of_one[fact] for of_one in facts if fact in of_one])
                self._center[place], self._scale[place] = numbers.mean(), numbers.std() or 1.0
        known, of_mean = self._matrix(facts), rows.mean(0)
        self._mean = np.asarray(known.mean(0)).ravel()  # [F]
        square = (known.T @ known).toarray() - len(rows) * np.outer(self._mean, self._mean)
        sizes, axes = np.linalg.eigh(square)
        turned = known @ axes - self._mean @ axes  # [n, F], X in the axes of X'X
        products = turned.T @ (rows - of_mean)  # [F, D]
        best = np.inf
        for strength in _STRENGTHS:
            inverse = 1 / (np.maximum(sizes, 0) + strength)
            # What is left of an item's error when it has not pulled the fit towards itself: e / (1 - h).
            errors = rows - of_mean - turned @ (inverse[:, None] * products)
            pulls = turned**2 @ inverse + 1 / len(rows)
            errors /= np.maximum(1 - pulls, 1e-6)[:, None]
            if (error := float((errors**2).sum())) < best:
                best, self.strength, self.left_out = error, float(strength), rows - errors
                self._weights = axes @ (inverse[:, None] * products)  # [F, D]
        self._offset = of_mean - self._mean @ self._weights

    def rows_of(self, facts: Sequence[Mapping[Fact, float]]) -> np.ndarray:
        """[n, D]."""
        return self._matrix(facts) @ self._weights + self._offset

    def knows(self, facts: Mapping[Fact, float]) -> bool:
        """Whether anything of an item's says something."""
        return not self._places.keys().isdisjoint(facts)

    def _matrix(self, facts: Sequence[Mapping[Fact, float]]) -> sparse.csr_matrix:
        """[n, F]; of a number its distance from the mean, 0 where it is missing."""
        entries = [
            (item, place, value)
            for item, of_one in enumerate(facts)
            for fact, value in of_one.items()
            if (place := self._places.get(fact)) is not None
        ]
        items, places, values = (np.array(part) for part in zip(*entries, strict=True)) if entries else ([], [], [])
        places = np.array(places, dtype=int)
        values = (np.array(values, dtype=float) - self._center[places]) / self._scale[places]
        shape = (len(facts), len(self._places))
        return sparse.csr_matrix((np.clip(values, -_FURTHEST, _FURTHEST), (items, places)), shape)
