"""A dense item table whose rows are split over the processes that train it, with gradient and optimizer state.

Dimension key: B queries, N items, n of this process, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recbole_odrec.nn.product import product
from recbole_odrec.nn.table import FrozenTable, ItemTable
from recbole_odrec.nn.tables.dense import DenseEmbedding
from recbole_odrec.nn.unit_rows import kept_entries, random_words
from recbole_odrec.processes.from_first import own_part
from recbole_odrec.processes.group import rank
from recbole_odrec.processes.rows import rows_of, whole_in_all, whole_in_first
from recbole_odrec.processes.shares import bounds_of

_DRAWN = 1 << 21  # numbers at a time, a multiple of 16: a block draws what it would draw as a part of the whole


class SplitEmbedding(DenseEmbedding):
    """As `DenseEmbedding`, of which each process has rows of its own and no others.

    It looks up any row; it scores its own columns alone, and a loss or ranking brings those of all processes together.

    Attributes:
        weight: [n, D].
        bounds: rows at which the parts of all processes begin, and N.
        columns: those that are scored here.
    """

    columns: slice

    def __init__(
        self, n_items: int, embedding_dim: int, std: float = 0.02, is_normalized: bool = False, dropout: float = 0.0
    ) -> None:
        ItemTable.__init__(self, n_items, embedding_dim)
        self.std, self.is_normalized, self.dropout = std, is_normalized, dropout
        self._kept_here: Tensor | None = None
        self.bounds = bounds_of(self.n_items)
        self.columns = slice(self.bounds[rank()], self.bounds[rank() + 1])
        self.weight = nn.Parameter(torch.empty(self.columns.stop - self.columns.start, self.embedding_dim))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """As the whole table would be filled."""
        own, n_numbers = self.weight.view(-1), self.n_items * self.embedding_dim
        first = self.columns.start * self.embedding_dim
        _draw_own_(own, first, n_numbers, lambda n: nn.init.normal_(own.new_empty(n), std=self.std))
        if not self.columns.start:
            self.weight[0].zero_()

    def _random_bytes(self, n_bytes: int) -> Tensor:
        """Of this process's entries, those that a whole table would draw for them: uint8."""
        first, n_numbers = self.columns.start * self.embedding_dim, self.n_items * self.embedding_dim
        words = torch.empty(-(-(first + n_bytes) // 8) - first // 8, dtype=torch.int64, device=self.weight.device)
        _draw_own_(words, first // 8, -(-n_numbers // 8), lambda n: random_words(n, words.device))
        return words.view(torch.uint8)[first % 8 :]

    def approximate_(self, matrix: Tensor) -> bool:
        """Takes its rows over, but for padding's."""
        own = matrix[self.columns]
        self.weight[not self.columns.start :] = own[not self.columns.start :]
        return True

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the whole table: ids [...] -> [..., D]; every process must ask at the same time."""
        return self._at_length(rows_of(self.weight, ids, self.bounds))

    def tile_scores(
        self, query: Tensor, columns: slice | Tensor, parts: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `ItemTable`; dropout is drawn with the first of this process's columns, for all of them."""
        if isinstance(columns, Tensor):
            return super().tile_scores(query, columns, parts, dtype)
        if columns.start == self.columns.start:
            dropout = self.dropout if self.training else 0.0
            self._kept_here = kept_entries(self.weight, dropout, self._random_bytes)
        kept = None if self._kept_here is None else self._kept_here[_within(columns, self.columns)]
        return product(query, self._scoring(parts[0], kept, dtype), dtype=dtype)

    def tile_of(self, values: Sequence[Tensor], columns: slice | Tensor) -> list[Tensor]:
        """Their rows: of a slice of this process's columns, where they are; of indices, from who has them."""
        if isinstance(columns, Tensor):
            return [rows_of(values[0], columns, self.bounds, padded=False)]
        return [values[0][_within(columns, self.columns)]]

    def to_matrix(self) -> Tensor:
        """All rows [N, D] in every process, without gradient; all must ask at the same time."""
        return self._at_length(whole_in_all(self.weight.detach(), self.bounds))

    def scores(self, query: Tensor) -> Tensor:
        """Inner products of queries [B, D] with the items that are this process's: [B, n]."""
        return query @ self._at_length(self.weight).T  # [B, D] x [D, n] -> [B, n]

    def frozen(self, dtype: torch.dtype | None = None) -> SplitFrozenTable:
        """As it is now, its rows where they are."""
        return SplitFrozenTable(self._at_length(self.weight).detach(), self.bounds, dtype=dtype)

    @property
    def n_stored(self) -> int:
        """Numbers that all processes store together."""
        return self.n_items * self.embedding_dim

    def whole(self) -> DenseEmbedding:
        """A table of all rows, in every process; all must ask at the same time."""
        found = DenseEmbedding(self.n_items, self.embedding_dim, self.std, self.is_normalized)
        found.weight = nn.Parameter(whole_in_all(self.weight.detach(), self.bounds))
        return found


def _draw_own_(own: Tensor, first: int, n_all: int, draw: Callable[[int], Tensor]) -> None:
    """Fills `own` with what stands from `first` on in all that is drawn, some at a time."""
    start, last = 0, first + len(own)
    while start < n_all:
        stop = n_all if n_all - start < 2 * _DRAWN else start + _DRAWN
        block = draw(stop - start)
        low, high = max(first, start), min(last, stop)
        if low < high:
            own[low - first : high - first] = block[low - start : high - start]
        start = stop


class SplitFrozenTable(FrozenTable):
    """As `FrozenTable`, of which each process has rows of its own and no others.

    Args:
        weight: this process's rows [n, D].
        bounds: rows at which the parts of all processes begin, and N.
        scale, dtype: as of `FrozenTable`.
    """

    columns: slice

    def __init__(
        self, weight: Tensor, bounds: Sequence[int], scale: float = 1.0, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(weight, scale, dtype)
        self.n_items, self.bounds = bounds[-1], list(bounds)
        self.columns = slice(bounds[rank()], bounds[rank() + 1])

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the whole table: ids [...] -> [..., D]; every process must ask at the same time."""
        return rows_of(self.weight, ids, self.bounds)

    def tile_scores(
        self, query: Tensor, columns: slice | Tensor, parts: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> Tensor:
        """See `ItemTable`; of a slice of this process's columns."""
        own = columns if isinstance(columns, Tensor) else _within(columns, self.columns)
        return super().tile_scores(query, own, parts, dtype)

    def frozen(self, dtype: torch.dtype | None = None) -> SplitFrozenTable:
        """The same for scores of another precision."""
        return SplitFrozenTable(self.weight, self.bounds, self.scale, dtype)

    def in_columns_of(self, table: ItemTable) -> SplitFrozenTable:
        """The same where another table has its items: each process gets the rows of its columns from who has them."""
        every_item = torch.arange(self.n_items, device=self.weight.device)
        bounds = bounds_of(self.n_items, table.tile_step)
        columns = table.columns_of(every_item)
        if bounds == self.bounds and torch.equal(columns, every_item):
            return self
        own = columns.argsort()[bounds[rank()] : bounds[rank() + 1]]
        return SplitFrozenTable(rows_of(self.weight, own, self.bounds), bounds, self.scale)


def side_by_side(tables: Sequence[tuple[float, FrozenTable]]) -> FrozenTable:
    """Tables of the same items as one, each with its weight: [N, sum of D]; split where the rows of any are."""
    split = next((table for _, table in tables if isinstance(table, SplitFrozenTable)), None)
    rows = [
        weight * table.scale * (table.weight if split is None or table.columns else table.weight[split.columns])
        for weight, table in tables
    ]
    return FrozenTable(torch.cat(rows, 1)) if split is None else SplitFrozenTable(torch.cat(rows, 1), split.bounds)


def _within(columns: slice, own: slice) -> slice:
    """Columns of a process, counted from its first."""
    return slice(columns.start - own.start, columns.stop - own.start)


def split_tables(model: nn.Module) -> dict[str, SplitEmbedding]:
    """The tables of a model whose rows are split, by the names of their weights in its state."""
    return {f"{name}.weight": found for name, found in model.named_modules() if isinstance(found, SplitEmbedding)}


# ---------------------------------------------------------------------- files, which hold whole tables


def whole_rows(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model as it goes into a file: all rows of its split tables, in the first process."""
    tables = split_tables(model)
    return {n: whole_in_first(w, tables[n].bounds) if n in tables else w for n, w in model.state_dict().items()}


def own_rows(model: nn.Module, weights: Mapping[str, Any]) -> dict[str, Any]:
    """A state as it comes out of a file: of split tables, this process's rows."""
    tables = split_tables(model)
    return {n: own_part(w, tables[n].bounds if n in tables else None) for n, w in weights.items()}


def whole_optimizer(optimizer: Optimizer, split: Mapping[int, Sequence[int]]) -> dict[str, Any]:
    """As `whole_rows`, of an optimizer: what it keeps of each number.

    Args:
        split: bounds of those of its parameters of which each process has some rows, by where they lie.
    """
    return _of_rows(optimizer, split, optimizer.state_dict(), lambda own, at: whole_in_first(own, at) if at else own)


def own_optimizer(optimizer: Optimizer, split: Mapping[int, Sequence[int]], state: dict[str, Any]) -> dict[str, Any]:
    """As `own_rows`."""
    return _of_rows(optimizer, split, state, own_part)


def _of_rows(
    optimizer: Optimizer,
    split: Mapping[int, Sequence[int]],
    state: dict[str, Any],
    change: Callable[[Any, Sequence[int] | None], Any],
) -> dict[str, Any]:
    places = [split.get(one.data_ptr()) for group in optimizer.param_groups for one in group["params"]]
    kept = {
        place: {name: change(value, places[place] if _is_matrix(value) else None) for name, value in found.items()}
        for place, found in state["state"].items()
    }
    return {**state, "state": kept}


def _is_matrix(value: Any) -> bool:
    return len(getattr(value, "shape", ())) == 2
