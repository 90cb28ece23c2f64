"""Tokens of histories that are no items: padding, brackets, another numbering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_odrec.data.table_reader import quoted
from recbole_odrec.errors import UserError

# Of the tokens behind a history's first: more that are never a next item are no items. What begins a session is no
# next item anywhere, however many there are of them.
_SHARE = 0.01
_EXAMPLES = 3


def check_histories(
    histories: Sequence[np.ndarray],
    items: set[str],
    place_of: Callable[[int], str],
    listed_items: Callable[[], tuple[Path, list[str]]],
) -> None:
    """Refuses histories of tokens that no file knows as items.

    Args:
        histories: tokens of every row.
        items: the next items of all rows.
        place_of: file, line and column of a row.
        listed_items: the `.item` file and what it lists, asked for where the next items do not do.

    Raises:
        UserError: the first place, how many there are, examples.
    """
    lengths = np.fromiter(map(len, histories), np.int64, len(histories))
    tokens = np.concatenate(histories)
    is_first = np.zeros(len(tokens), bool)
    is_first[np.cumsum(lengths) - lengths] = True
    is_odd = ~pd.Series(tokens).isin(items).to_numpy()
    if not _are_too_many(is_odd, is_first):
        return
    path, listed = listed_items()
    is_odd &= ~pd.Series(tokens).isin(listed).to_numpy()
    if not _are_too_many(is_odd, is_first):
        return
    row = int(np.searchsorted(np.cumsum(lengths), np.flatnonzero(is_odd)[0], side="right"))
    examples = [token for token, _ in Counter(tokens[is_odd]).most_common(_EXAMPLES)]
    raise UserError(
        f"{place_of(row)}: {is_odd.sum():,} of {len(tokens):,} tokens of histories are no item, such as "
        f"{', '.join(map(quoted, examples))}: write items as they are called, without padding, brackets or commas, "
        f"and list items that are in histories alone in {path.name}."
    )


def _are_too_many(is_odd: np.ndarray, is_first: np.ndarray) -> bool:
    if is_first.all():
        return bool(is_odd.mean() > 0.5)
    return bool(is_odd[~is_first].mean() > _SHARE)
