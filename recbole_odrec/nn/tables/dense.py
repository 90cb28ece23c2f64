"""The uncompressed item table.

Dimension key: B queries, N items, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.nn.table import ItemTable
from recbole_odrec.nn.unit_rows import LEAST_LENGTH, kept_entries, kept_rows, unit_rows
from recbole_odrec.parsing import key, require


@dataclass(frozen=True)
class DenseSettings:
    """How the rows of a dense table score."""

    normalize_items: bool = key(False, "Rows of the item table count at length one, as in NISER and CORE.")
    table_dropout_prob: float = key(0.0, "Dropout of the table's entries where they score in training, as in CORE.")

    def __post_init__(self) -> None:
        dropout = self.table_dropout_prob
        require(0 <= dropout < 1, "table_dropout_prob", dropout, "a number in [0, 1)")


class DenseEmbedding(ItemTable):
    """A full table [N, D]; its padding row starts at zero, and the softmax sees it, as in RecBole's models.

    Args:
        n_items: rows N, padding row 0 included.
        embedding_dim: columns D.
        std: standard deviation of the entries after `reset_parameters`.
        is_normalized: every row counts at length one, as in NISER and CORE (Hou et al. 2022): an item is then not
            found more easily for having been seen more often.
        dropout: of the entries that score in training, before the rows get their length (CORE).
    """

    Settings = DenseSettings

    def __init__(
        self, n_items: int, embedding_dim: int, std: float = 0.02, is_normalized: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__(n_items, embedding_dim)
        self.std, self.is_normalized, self.dropout = std, is_normalized, dropout
        self.weight = nn.Parameter(torch.empty(self.n_items, self.embedding_dim))
        self.reset_parameters()

    @classmethod
    def from_settings(cls, settings: DenseSettings, n_items: int, embedding_dim: int, std: float) -> DenseEmbedding:
        """See `ItemTable`."""
        return cls(n_items, embedding_dim, std, settings.normalize_items, settings.table_dropout_prob)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Normal entries, zero padding row."""
        nn.init.normal_(self.weight, std=self.std)
        self.weight[0].zero_()

    def approximate_(self, matrix: Tensor) -> bool:
        """Takes all rows over but padding's."""
        self.weight[1:] = matrix[1:]
        return True

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table: ids [...] -> [..., D]."""
        return self._at_length(F.embedding(ids, self.weight, padding_idx=0))

    def to_matrix(self) -> Tensor:
        """The table [N, D]."""
        return self._at_length(self.weight)

    def _at_length(self, rows: Tensor) -> Tensor:
        return F.normalize(rows, dim=-1, eps=LEAST_LENGTH) if self.is_normalized else rows

    def scores(self, query: Tensor) -> Tensor:
        """Inner products of queries [B, D] with every item: [B, N]."""
        return query @ self.to_matrix().T  # [B, D] x [D, N] -> [B, N]

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """See `ItemTable`; the table's dropout is drawn here, in training."""
        return product(query, self._scoring(self.weight, self._kept(self.weight), dtype), buffer, dtype)

    def _kept(self, rows: Tensor) -> Tensor | None:
        return kept_entries(rows, self.dropout if self.training else 0.0)

    def _scoring(self, rows: Tensor, kept: Tensor | None, dtype: torch.dtype | None) -> Tensor:
        return unit_rows(rows, kept, dtype) if self.is_normalized else kept_rows(rows, kept, self.dropout)

    def tile_of(self, values: Sequence[Tensor], columns: slice | Tensor) -> list[Tensor]:
        """Their rows."""
        return [values[0][columns]]

    def tile_scores(
        self, query: Tensor, columns: slice | Tensor, parts: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> Tensor:
        return product(query, self._scoring(parts[0], self._kept(parts[0]), dtype), dtype=dtype)
