"""Histories and other arguments as callers give them, checked before anything is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.bundle.manifest import BundleError


def is_list(value: Any) -> bool:
    """Whether a value is a list, tuple or array.

    A string is a sequence of characters, and bytes of numbers: neither is a list of anything here.
    """
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))


def checked_tokens(history: Any, number: int) -> list[str]:
    """Item tokens of one history, numbers as strings.

    Args:
        history: as it was given.
        number: its place in the batch, for the error.

    Raises:
        BundleError: not a list of strings and whole numbers.
    """
    if not is_list(history):
        raise BundleError(f"history {number}: {history!r:.60}, expected a list of item tokens.")
    for token in history:
        if isinstance(token, bool) or not isinstance(token, (str, int, np.integer)):
            raise BundleError(f"history {number}: item {token!r:.60}, expected a token such as '50'.")
    try:
        return [str(token) for token in history]
    except ValueError as error:  # a number of thousands of digits
        raise BundleError(f"history {number}: {error}.") from error


def checked_ids(history: Any, number: int, n_items: int) -> np.ndarray:
    """Item ids of one history, int64 [L].

    Args:
        history: as it was given.
        number: its place in the batch, for the error.
        n_items: the largest id.

    Raises:
        BundleError: not a list of ids.
    """
    wrong = BundleError(f"history {number}: expected a list of at least one item id, a whole number.")
    is_array = isinstance(history, np.ndarray)
    if not is_list(history) or not (is_array or {bool, np.bool_}.isdisjoint(map(type, history))):  # True would be 1
        raise wrong
    try:
        row = np.asarray(history)
    except (ValueError, OverflowError):  # of unequal depth
        raise wrong from None
    if row.ndim != 1 or not len(row) or row.dtype.kind not in "iu":
        raise wrong
    if row.min() < 1 or row.max() > n_items:
        raise BundleError(f"history {number}: item ids go from 1 to {n_items}.")
    return row.astype(np.int64)


def check_options(k: Any, exclude_seen: Any, topk: int) -> None:
    """Raises a BundleError where k is not 1 to `topk`, or `exclude_seen` no truth value."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= topk:
        raise BundleError(f"k={k!r:.60}, expected 1 to {topk}; for more, export with a larger --topk.")
    if not isinstance(exclude_seen, (bool, np.bool_)):
        raise BundleError(f"exclude_seen={exclude_seen!r:.60}, expected True or False.")


def given_path(given: Any, name: str, what: str) -> Path:
    """A path that was given as `name`.

    Raises:
        BundleError: something else.
    """
    try:
        return Path(given)
    except TypeError:
        raise BundleError(f"{name}={given!r:.60}, expected the path of {what}.") from None
