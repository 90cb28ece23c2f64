"""Scores of a mixture: a network's probabilities, and beside them a share of probabilities of a few items a row.

Dimension key: B rows, N items, M entries.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_ROWS_AT_ONCE = 64  # whose exponentials are held at a time


class ItemShares(NamedTuple):
    """Probabilities of a few items of each row; those of a row sum to 1, or there are none.

    Attributes:
        rows, items: int64 [M], a pair once.
        values: above 0, [M].
        weight: of all this in the mixture, 0 to below 1.
    """

    rows: Tensor
    items: Tensor
    values: Tensor
    weight: float


def mix_(scores: Tensor, shares: ItemShares) -> Tensor:
    """Scores become those of a mixture of probabilities, but for a constant of each row.

        softmax(result) ~ (1 - weight) softmax(scores) + weight * shares

    Only the entries of `shares` change: s_j -> log(exp(s_j) + weight / (1 - weight) * share_j * sum_n exp(s_n)).

    Args:
        scores: [B, N], changed in place.
        shares: of these rows.

    Example:
        >>> import torch
        >>> shares = ItemShares(torch.tensor([0]), torch.tensor([1]), torch.tensor([1.0]), 0.5)
        >>> mix_(torch.zeros(1, 2), shares).softmax(1)
        tensor([[0.2500, 0.7500]])
    """
    if not shares.weight or not len(shares.rows):
        return scores
    total = torch.cat([block.float().logsumexp(1) for block in scores.split(_ROWS_AT_ONCE)])  # [B]
    odds = math.log(shares.weight) - math.log1p(-shares.weight)
    before = scores[shares.rows, shares.items].float()
    after = torch.logaddexp(before, shares.values.log() + odds + total[shares.rows])
    return scores.index_put_((shares.rows, shares.items), after.to(scores.dtype))
