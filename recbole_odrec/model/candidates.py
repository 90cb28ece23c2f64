"""Scores of single candidates by a model that scores every item at once.

Dimension key: B rows, L positions, N items.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_odrec.processes.shares import summed

_SESSIONS_AT_ONCE = 256  # scored over the whole catalogue to look up the scores of a few candidates


def scores_of_candidates(
    scores_of: Callable[[Tensor], Tensor], item_seq: Tensor, candidates: Tensor, columns: slice | None = None
) -> Tensor:
    """Score of one candidate item a row; each session is scored once, however many candidates it has.

    Args:
        scores_of: sessions [b, l], as wide as their longest -> scores of every item [b, N].
        item_seq: [B, L], padded on the right with 0.
        candidates: item ids [B].
        columns: those that `scores_of` gives in this process, where the others have the rest.

    Returns:
        [B]
    """
    sessions, row = item_seq.unique(dim=0, return_inverse=True)
    sessions = sessions[:, : (sessions != 0).sum(1).max()]
    found = []
    for number, block in enumerate(sessions.split(_SESSIONS_AT_ONCE)):
        of_block = scores_of(block)
        here = (row // _SESSIONS_AT_ONCE == number).nonzero().squeeze(1)
        found.append((here, scores_at(of_block, row[here] % _SESSIONS_AT_ONCE, candidates[here], columns)))
    scores = found[0][1].new_empty(len(row))
    for here, values in found:
        scores[here] = values
    return scores


def scores_at(scores: Tensor, rows: Tensor, items: Tensor, columns: slice | None = None) -> Tensor:
    """Scores of one item a row.

    Args:
        scores: [B, N], or the columns of this process [B, n]; all processes then ask for the same.
        rows, items: int64 [M].
        columns: as for `scores_of_candidates`.

    Returns:
        [M], in all processes.
    """
    if columns is None:
        return scores[rows, items]
    is_own = (items >= columns.start) & (items < columns.stop)
    own = scores[rows, (items - columns.start).clamp(0, scores.shape[1] - 1)]
    return summed(torch.where(is_own, own, 0))
