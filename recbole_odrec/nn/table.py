"""What an item table is: all that encoder, losses, trainer, exporter and reports ever ask of one.

Dimension key: B queries, N items, D embedding, M columns of raw scores, M >= N.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.nn.whole_numbers import WholeNumbers


class ItemTable(nn.Module, ABC):
    """Embeddings of the items [N, D], row 0 for padding, stored in any form.

    Three abstract methods, the others have defaults. What is stored is what is in the state, buffers such as codes too.
    One of one's own: a class with frozen `Settings`, a line in `nn.tables.TABLES` (or `module:Class`), and a graph in
    `bundle.tables`.

    Attributes:
        Settings: frozen dataclass of the table's keys (`parsing.key`).
        n_items, embedding_dim: N and D.
    """

    Settings: ClassVar[type]
    columns: slice | None = None  # those that this process scores, where rows are split over several
    numbers: ClassVar[type[WholeNumbers] | None] = None  # where rows are small whole numbers, which an update may move
    splits_companion: ClassVar[bool] = False  # whether `companion` may be of some of the rows, with `bounds`

    def __init__(self, n_items: int, embedding_dim: int) -> None:
        super().__init__()
        self.n_items, self.embedding_dim = int(n_items), int(embedding_dim)

    # ------------------------------------------------------------------ what a table must do

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Any, n_items: int, embedding_dim: int, std: float) -> ItemTable:
        """An untrained table of N x D, its entries of this standard deviation; settings of the class `Settings`.

        Raises:
            ValueError: settings that no table of this size can have, with what would do.
        """

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table: ids [...] -> [..., D]."""

    @abstractmethod
    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """Products of each query with every item, for a loss that knows what else stands there.

        Args:
            query: [B, D].
            dtype: precision of the products, the query's own when None; sums inside a product are float32 at least.
            buffer: where the scores go; new memory when None.

        Returns:
            [B, M] of that precision: item i in column `columns_of(i)` below N, no item in columns from N on, anything
            in column `zero_item`.
        """

    # ------------------------------------------------------------------ where items stand

    @property
    def zero_item(self) -> int | None:
        """The column that counts as 0 whatever `raw_scores` gives there; None where padding scores like any row."""
        return None

    def columns_of(self, ids: Tensor) -> Tensor:
        """Columns of `raw_scores` in which items stand, [...] -> [...]: a permutation of 0 .. N - 1."""
        return ids

    def rows_at(self, columns: Tensor) -> Tensor:
        """Rows of the items that stand in columns, for a device, whose ids are columns: [...] -> [..., D]."""
        return self(columns)

    # ------------------------------------------------------------------ some columns alone, by slices and by indices

    @property
    def tile_step(self) -> int:
        """Slices of columns cost least where they begin and end at multiples of it."""
        return 1

    def trained(self) -> list[Tensor]:
        """What gets a gradient from scores: the parameters, and what trains along with them."""
        return [*self.parameters()]

    def tile_of(self, values: Sequence[Tensor], columns: slice | Tensor) -> list[Tensor]:
        """What of `trained()`, or of tensors of the same shapes such as gradients, belongs to some columns: views."""
        return [*values]

    def tile_scores(
        self, query: Tensor, columns: slice | Tensor, parts: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> Tensor:
        """`raw_scores` in some columns, by default from their rows.

        Args:
            query: [B, D].
            columns: a slice of 0 .. N, or indices [n].
            parts: `tile_of` what is trained; a table may also read its own parameters where those are the parts.
            dtype: as in `raw_scores`.

        Returns:
            [B, n].
        """
        if isinstance(columns, slice):
            columns = torch.arange(columns.start, columns.stop, device=query.device)
        return product(query, self.rows_at(columns), dtype=dtype)

    # ------------------------------------------------------------------ what follows

    def scores(self, query: Tensor) -> Tensor:
        """Inner products of each query with every item, in the order of ids: [B, D] -> [B, N]."""
        scores = self.raw_scores(query)
        if self.zero_item is not None:
            scores = scores.index_fill(1, torch.tensor([self.zero_item], device=query.device), 0)
        return scores.index_select(1, self.columns_of(torch.arange(self.n_items, device=query.device)))

    def to_matrix(self) -> Tensor:
        """The full table [N, D]: for tests and small tables, never needed to train or to score."""
        return self(torch.arange(self.n_items, device=next(iter(self.state_dict().values())).device))

    def settle_(self) -> None:
        """Stores what is rounded as it comes out: a runtime that divides in another way then rounds it to the same."""

    def frozen(self, dtype: torch.dtype | None = None) -> FrozenTable:
        """The table as it is now, without gradient, for scores of that precision."""
        return FrozenTable(self.to_matrix().detach(), dtype=dtype)

    @property
    def n_stored(self) -> int:
        """Numbers stored."""
        return sum(values.numel() for values in self.state_dict().values())

    @property
    def n_bytes(self) -> int:
        """Bytes stored on a device without loss: four a number, unless the table says otherwise."""
        return 4 * self.n_stored

    @property
    def compression_rate(self) -> float:
        """Bytes of a dense float32 table for each byte stored."""
        return 4 * self.n_items * self.embedding_dim / self.n_bytes

    def extra_repr(self) -> str:
        return f"{self.n_items}, {self.embedding_dim}, bytes={self.n_bytes:,}"

    # ------------------------------------------------------------------ a teacher's table, for those that take one

    @classmethod
    def check_start(cls, settings: Any, has_teacher: bool, starts_from_teacher: bool) -> None:
        """Refuses settings that need a teacher, or its rows to start from, where there are none.

        Raises:
            UserError: what to set.
        """

    def check_teacher(self, width: int) -> None:
        """Refuses a teacher's table of that many columns, 0 for no table, if this one cannot do with it.

        Raises:
            UserError: what to set.
        """

    def arrange_(self, vectors: Tensor) -> None:
        """Gives items their columns, learnt from a teacher's rows [N, any width]; most tables have nothing to learn."""

    @torch.no_grad()
    def fit_(self, matrix: Tensor) -> float | None:
        """Starts from a table of the same size.

        Args:
            matrix: table to approximate [N, D].

        Returns:
            Share of its squared norm that is kept, 0 to 1; None from a table that keeps its random start.

        Raises:
            ValueError: a matrix of another shape.
        """
        if matrix.shape != (self.n_items, self.embedding_dim):
            raise ValueError(f"matrix {tuple(matrix.shape)}, expected ({self.n_items}, {self.embedding_dim}).")
        if not self.approximate_(matrix):
            return None
        return 1 - ((self.to_matrix() - matrix).square().sum() / matrix.square().sum()).item()

    def approximate_(self, matrix: Tensor) -> bool:
        """Becomes the table nearest to a matrix [N, D] for `fit_`, without gradients; False from one that cannot."""
        return False

    def companion(self, vectors: Tensor, bounds: Sequence[int] | None = None) -> nn.Parameter | None:
        """To train along and throw away: made of a teacher's rows [N, D], or of this process's [n, D] with `bounds`."""
        return None

    def after_step(self, step: int) -> None:
        """Called after each step of the optimizer where there is a companion; steps count from 1."""


class FrozenTable(ItemTable):
    """A teacher's item embeddings as it scores with them: `scale * query @ weight.T`.

    Args:
        weight: [N, D], not copied where it has the precision asked for.
        scale: factor of the scores.
        dtype: precision of the products, the weight's own when None; converted once, not at every step.
    """

    weight: Tensor

    def __init__(self, weight: Tensor, scale: float = 1.0, dtype: torch.dtype | None = None) -> None:
        super().__init__(*weight.shape)
        self.register_buffer("weight", weight if dtype is None else weight.to(dtype))
        self.scale = scale

    @classmethod
    def from_settings(cls, settings: Any, n_items: int, embedding_dim: int, std: float) -> FrozenTable:
        """None: it is taken from a trained table."""
        raise TypeError("a frozen table is taken from a trained one.")

    def forward(self, ids: Tensor) -> Tensor:
        """[...] -> [..., D]."""
        return self.weight[ids]

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """[B, D] -> [B, N], of the table's own precision when None."""
        return product(self.scale * query, self.weight, buffer, dtype or self.weight.dtype)

    def tile_scores(
        self, query: Tensor, columns: slice | Tensor, parts: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> Tensor:
        return product(self.scale * query, self.weight[columns], dtype=dtype or self.weight.dtype)

    def frozen(self, dtype: torch.dtype | None = None) -> FrozenTable:
        """The same for scores of another precision."""
        return FrozenTable(self.weight, self.scale, dtype)

    def in_columns_of(self, table: ItemTable) -> FrozenTable:
        """The same with every item in the row and column in which another table has it."""
        every_item = torch.arange(self.n_items, device=self.weight.device)
        columns = table.columns_of(every_item)
        return self if torch.equal(columns, every_item) else FrozenTable(self.weight[columns.argsort()], self.scale)
