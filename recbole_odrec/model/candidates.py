"""Scores of single candidates by a model that scores every item at once.

Dimension key: B rows, L positions, N items.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

_SESSIONS_AT_ONCE = 256  # scored over the whole catalogue to look up the scores of a few candidates


def scores_of_candidates(scores_of: Callable[[Tensor], Tensor], item_seq: Tensor, candidates: Tensor) -> Tensor:
    """Score of one candidate item a row; each session is scored once, however many candidates it has.

    Args:
        scores_of: sessions [b, l], as wide as their longest -> scores of every item [b, N].
        item_seq: [B, L], padded on the right with 0.
        candidates: item ids [B].

    Returns:
        [B]
    """
    sessions, row = item_seq.unique(dim=0, return_inverse=True)
    sessions = sessions[:, : (sessions != 0).sum(1).max()]
    found = []
    for number, block in enumerate(sessions.split(_SESSIONS_AT_ONCE)):
        of_block = scores_of(block)
        here = (row // _SESSIONS_AT_ONCE == number).nonzero().squeeze(1)
        found.append((here, of_block[row[here] % _SESSIONS_AT_ONCE, candidates[here]]))
    scores = found[0][1].new_empty(len(row))
    for here, values in found:
        scores[here] = values
    return scores
