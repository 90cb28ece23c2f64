"""The full table that codes follow: it trains along, by the gradient of the rows that the codes stand for.

Dimension key: N items, n of this process, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_odrec.processes.group import rank
from recbole_odrec.processes.rows import rows_of


class FollowedTable:
    """A table that trains along, whole, or of several processes the rows of this one.

    Args:
        rows: [N, D], or [n, D] with `bounds`.
        bounds: rows at which the parts of all processes begin, and N; None for the whole.

    Attributes:
        columns: items of this process, None for all.
    """

    def __init__(self, rows: Tensor, bounds: Sequence[int] | None = None) -> None:
        self.rows, self.bounds = rows, bounds
        self.columns = None if bounds is None else slice(bounds[rank()], bounds[rank() + 1])

    def of(self, ids: Tensor) -> list[Tensor]:
        """Rows of these items [n, D], which get the gradient of what the codes give for them.

        Where they are split, every process must ask at the same time; none where nobody wants a gradient, as in
        evaluation, where each has cases of its own.
        """
        if self.bounds is None:
            return [self.rows.index_select(0, ids)]
        return [rows_of(self.rows, ids, self.bounds)] if torch.is_grad_enabled() else []

    def all_rows(self) -> list[Tensor]:
        """As `of`, of all items in order."""
        return [self.rows] if self.bounds is None else self.of(torch.arange(self.bounds[-1], device=self.rows.device))

    def tile_of(self, values: Tensor, columns: slice | Tensor) -> Tensor:
        """What of `rows`, or of a tensor of its shape, belongs to some items; a slice is of this process's."""
        if self.bounds is None or self.columns is None:
            return values[columns]
        if isinstance(columns, Tensor):
            return rows_of(values, columns, self.bounds, padded=False)
        return values[columns.start - self.columns.start : columns.stop - self.columns.start]
