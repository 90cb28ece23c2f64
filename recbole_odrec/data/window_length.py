"""How many of a history's most recent items are read, where the data decide (`MAX_ITEM_LIST_LENGTH: auto`)."""

from __future__ import annotations

import numpy as np
from recbole.config import Config

KEY = "MAX_ITEM_LIST_LENGTH"
USUAL = 50  # RecBole's default
MOST = 100
_SHARE = 0.9  # of the histories, to be read whole


def decide_window(config: Config, shortest: np.ndarray | int = 1, longest: np.ndarray | None = None) -> int:
    """Puts a number in the place of `auto`, with the reason where it is not the usual one; returns the number.

    Args:
        config: of the run; left as it is where a number stands there.
        shortest, longest: items in the first and in the last history of each session, which has one of every length
            between [S]; None: nobody knows, and the number is the usual one.
    """
    if config[KEY] != "auto":
        return config[KEY]
    config[KEY] = USUAL
    if longest is None:
        return USUAL
    last = np.maximum(longest.astype(np.int64), np.asarray(shortest) - 1)
    total = int((last - shortest + 1).sum())
    n_up_to = _n_up_to(last, np.broadcast_to(shortest, last.shape))
    if total and n_up_to[USUAL] < _SHARE * total:
        enough = int(np.argmax(n_up_to >= _SHARE * total)) or MOST
        config[KEY] = min(MOST, -(-enough // 10) * 10)
        reason = f"{config[KEY]}, for {1 - n_up_to[USUAL] / total:.0%} of the histories have more than {USUAL} items"
        config["decided"] = {**(config["decided"] or {}), KEY: reason}
    return config[KEY]


def _n_up_to(longest: np.ndarray, shortest: np.ndarray) -> np.ndarray:
    """How many histories have at most 0, 1, .. `MOST` items: int64 [MOST + 1]."""
    begun, ended = (np.bincount(np.clip(at, 0, MOST + 1), minlength=MOST + 2) for at in (shortest, longest + 1))
    return np.cumsum(np.cumsum(begun - ended))[: MOST + 1]
