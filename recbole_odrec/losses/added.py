"""Scores that are added to those of a few items of each row.

Dimension key: B rows, L of them added to each, N items, n of them some neighbouring columns.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class AddedScores(NamedTuple):
    """What is added to a few scores of each row, such as those of a session's own items (`nn.repeat`).

    Attributes:
        items: ids [B, L]; an id that occurs twice is added to twice.
        values: [B, L], 0 where nothing is added.
    """

    items: Tensor
    values: Tensor

    def add_to_(self, scores: Tensor, columns: slice | None = None) -> Tensor:
        """Adds them in place, without a gradient, to scores [B, N], or [B, n] of some columns."""
        items, values = self.items, self.values.detach()
        if columns is not None:
            items, is_inside = within(items, columns)
            values = values * is_inside
        return scores.scatter_add_(1, items, values.to(scores.dtype))


def within(items: Tensor, columns: slice) -> tuple[Tensor, Tensor]:
    """Columns counted from the first of some, and which lie in them; all others stand anywhere in them."""
    is_inside = (items >= columns.start) & (items < columns.stop)
    return (items - columns.start).clamp(0, columns.stop - columns.start - 1), is_inside
