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


def mix_(scores: Tensor, shares: ItemShares, total: Tensor | None = None) -> Tensor:
    """Scores become those of a mixture of probabilities, but for a constant of each row.

        softmax(result) ~ (1 - weight) softmax(scores) + weight * shares

    Only the entries of `shares` change: s_j -> log(exp(s_j) + weight / (1 - weight) * share_j * sum_n exp(s_n)).

    Args:
        scores: [B, N], changed in place.
        shares: of these rows.
        total: log of each row's sum of exponentials [B], for scores that are a part of the row.

    Example:
        >>> import torch
        >>> shares = ItemShares(torch.tensor([0]), torch.tensor([1]), torch.tensor([1.0]), 0.5)
        >>> mix_(torch.zeros(1, 2), shares).softmax(1)
        tensor([[0.2500, 0.7500]])
    """
    if not shares.weight or not len(shares.rows):
        return scores
    if total is None:
        dtype = torch.promote_types(scores.dtype, torch.float32)
        total = torch.cat([block.to(dtype).logsumexp(1) for block in scores.split(_ROWS_AT_ONCE)])  # [B]
    before = scores[shares.rows, shares.items].to(total.dtype)
    after = torch.logaddexp(before, shares.values.log() + _log_odds(shares) + total[shares.rows])
    return scores.index_put_((shares.rows, shares.items), after.to(scores.dtype))


def total_of_mixture(total: Tensor, shares: ItemShares) -> Tensor:
    """The `total` [B] that rows have once `shares` are mixed in."""
    if not shares.weight:
        return total
    of_row = torch.zeros_like(total).index_add_(0, shares.rows, shares.values.to(total.dtype))
    return torch.logaddexp(total, of_row.log() + _log_odds(shares) + total)


def shares_within(shares: ItemShares, columns: slice) -> ItemShares:
    """Those of some columns, counted from the first of them."""
    inside = (shares.items >= columns.start) & (shares.items < columns.stop)
    items = shares.items[inside] - columns.start
    return shares._replace(rows=shares.rows[inside], items=items, values=shares.values[inside])


def _log_odds(shares: ItemShares) -> float:
    return math.log(shares.weight) - math.log1p(-shares.weight)
