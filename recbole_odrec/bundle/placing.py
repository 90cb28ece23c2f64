"""Where items that training has never seen belong: the row next to the one that what is known of them asks for.

What an item's row must be follows from the sessions that lead to it. For items that the model knows, both are there: a
ridge regression from the mean session before an item to the item's row says where a new one belongs. What a file says
of an item counts like some sessions of it, so many as place known items best; without any session it is all there is.

Dimension key: D embedding, N items (padding row 0 included), n new items, C cases, S integers that a
table stores of an item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from recbole_odrec.bundle.item_facts import Facts, FactsRidge
from recbole_odrec.bundle.item_model import ItemModel
from recbole_odrec.bundle.tokens import TokenTable
from recbole_odrec.errors import UserError

_RIDGE = 0.01  # of the mean square of what is regressed on
_MOST_CASES = 50_000  # of known items, from the end of the file
_MOST_DESCRIBED = 20_000  # known items that facts are learnt from
_WORTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # sessions

Case = tuple[list[int], int]  # ids of a history, and the item behind it


class Told(NamedTuple):
    """Rows by what the item file says, NaN where it says nothing.

    Attributes:
        of_known: [n_items + 1, D], each by what is said of the other known items.
        of_new: [n, D].
        length: of a known item's row, in the mean.
    """

    of_known: np.ndarray
    of_new: np.ndarray
    length: float


def cases(
    sessions: Sequence[Sequence[str]], ids: Sequence[Sequence[int]], n_items: int
) -> tuple[list[str], list[Case], list[Case]]:
    """What stands before each item, new and known ones apart.

    Where a new item stands at the head of its session, what follows says where it belongs.

    Returns:
        The new items that have a case, those of new items, whose ids follow the known ones', those of known items.
    """
    new: dict[str, int] = {}
    of_new, of_known = [], []
    for session, found in zip(sessions, ids, strict=True):
        for place, (token, item) in enumerate(zip(session, found, strict=True)):
            before = [other for other in found[:place] if other]
            if item and before:
                of_known.append((before, item))
            elif not item and token not in session[:place]:
                around = before or [other for other in found[place:] if other]
                if around:
                    of_new.append((around, new.setdefault(token, n_items + 1 + len(new))))
    return [*new], of_new, of_known[-_MOST_CASES:]


def told_by(facts: Mapping[str, Facts], known: TokenTable, rows: np.ndarray, new: list[str]) -> Told:
    """Rows of known and new items by what is said of them; new items that it says something of join `new`.

    Args:
        facts: of items, known and new ones.
        known: the bundle's items.
        rows: theirs, [n_items + 1, D].
        new: items that sessions have, in the order of their ids.
    """
    ids = known.find_all([*facts])
    described = {item: of_one for item, of_one in zip(ids, facts.values(), strict=True) if item and of_one}
    items = np.array([*described], dtype=int)
    items = items[:: -(-len(items) // _MOST_DESCRIBED) or 1]
    ridge = FactsRidge([described[item] for item in items.tolist()], rows[items])
    of_known = np.full(rows.shape, np.nan)
    of_known[items] = ridge.left_out
    have = {*new}
    new += [
        token
        for token, item in zip(facts, ids, strict=True)
        if not item and token not in have and ridge.knows(facts[token])
    ]
    said = [facts.get(token, {}) for token in new]
    of_new = ridge.rows_of(said)
    of_new[[not ridge.knows(of_one) for of_one in said]] = np.nan
    return Told(of_known, of_new, float(np.linalg.norm(rows[items], axis=1).mean()))


def fitted(
    model: ItemModel,
    of_new: Sequence[Case],
    of_known: Sequence[Case],
    n_items: int,
    n_new: int,
    told: Told | None = None,
) -> np.ndarray:
    """What the table stores of the new items: [n, S].

    Raises:
        UserError: no case of a known item.
    """
    if told is not None and not of_new:
        return model.nearest(_as_long(told.of_new, told.length))
    if not of_known:
        raise UserError("no known item follows another one in these sessions: give those of some days, as they were.")
    means, counts = _means(*_encoded(model, of_new), n_items + 1, n_new)
    encoded, places = _encoded(model, of_known)
    of_old, seen = _means(encoded, places, 0, n_items + 1)
    is_seen = seen > 0
    # As sure of its mean as a new item is: many sessions of one count as much as those that new ones have.
    weights = np.sqrt(np.minimum(seen[is_seen], np.median(counts[counts > 0])))[:, None]
    left, right = of_old[is_seen] * weights, model.rows[is_seen] * weights
    square = left.T @ left
    ridge = _RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    turn = np.linalg.solve(square + ridge, left.T @ right)
    rows = means @ turn
    if told is not None:
        # Known items of as few sessions as new ones have say how many sessions the facts are worth.
        shown = _so_many(places, np.random.default_rng(0).choice(counts[counts > 0], n_items + 1))
        of_few, few = _means(encoded[shown], places[shown], 0, n_items + 1)
        is_both = (few > 0) & ~np.isnan(told.of_known[:, 0])
        by_few, by_told, right = of_few[is_both] @ turn, told.of_known[is_both], model.rows[is_both]
        shares = [_share(few[is_both], worth) for worth in _WORTHS]
        errors = [((share * by_told + (1 - share) * by_few - right) ** 2).sum() for share in shares]
        share = _share(counts, _WORTHS[int(np.argmin(errors))])
        length = share * told.length + (1 - share) * np.linalg.norm(rows, axis=1, keepdims=True)
        mixed = _as_long(share * told.of_new + (1 - share) * rows, length)
        rows = np.where(np.isnan(told.of_new), rows, mixed)
    return model.nearest(rows)


def _encoded(model: ItemModel, some: Sequence[Case]) -> tuple[np.ndarray, np.ndarray]:
    """The session before each item [C, D], and the item [C]."""
    histories, items = zip(*some, strict=True)
    return model.sessions(histories), np.array(items)


def _means(sessions: np.ndarray, items: np.ndarray, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean session of items first .. first + count - 1 [count, D], and of how many [count]."""
    places = items - first
    counts = np.bincount(places, minlength=count)
    sums = np.zeros((count, sessions.shape[1]))
    np.add.at(sums, places, sessions)
    return sums / np.maximum(counts, 1)[:, None], counts


def _so_many(items: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each item's cases so many at random, or all: places among `items` [C], wanted [N]."""
    order = np.random.default_rng(0).permutation(len(items))
    order = order[np.argsort(items[order], kind="stable")]
    rank = np.arange(len(order)) - np.searchsorted(items[order], items[order])
    return order[rank < wanted[items[order]]]


def _share(counts: np.ndarray, worth: float) -> np.ndarray:
    """Of facts that are worth so many sessions, beside these [n]: [n, 1]."""
    return np.where(counts > 0, worth / np.maximum(worth + counts, 1), 1.0)[:, None]


def _as_long(rows: np.ndarray, length: np.ndarray | float) -> np.ndarray:
    """A ridge draws rows towards their mean, and a short row is found by nobody: by facts alone a direction counts."""
    return rows * (length / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
