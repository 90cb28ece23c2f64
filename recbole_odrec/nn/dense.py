"""The uncompressed item table behind the interface of `SemiTensorTrainEmbedding`.

Dimension key: B queries, N items, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.nn.unit_rows import LEAST_LENGTH, unit_rows


class DenseEmbedding(nn.Embedding):
    """`torch.nn.Embedding` [N, D] with a zero padding row, `scores`, `to_matrix` and `compression_rate` = 1.

    Args:
        n_items: rows N, padding row 0 included.
        embedding_dim: columns D.
        std: standard deviation of the entries after `reset_parameters`.
        is_normalized: every row counts at length one, as in NISER and CORE (Hou et al. 2022): an item is then not
            found more easily for having been seen more often.
        dropout: of the entries that score in training, before the rows get their length (CORE).
    """

    compression_rate = 1.0
    zero_item = None  # the softmax sees the padding row, as in RecBole's models
    item_order = None  # column i of the scores is item i

    def __init__(
        self, n_items: int, embedding_dim: int, std: float = 0.02, is_normalized: bool = False, dropout: float = 0.0
    ) -> None:
        self.std, self.is_normalized, self.dropout = std, is_normalized, dropout
        super().__init__(n_items, embedding_dim, padding_idx=0)

    def reset_parameters(self) -> None:
        """Normal entries, zero padding row."""
        nn.init.normal_(self.weight, std=self.std)
        with torch.no_grad():
            self.weight[self.padding_idx].zero_()

    @property
    def n_items(self) -> int:
        return self.num_embeddings

    @property
    def n_stored(self) -> int:
        """Numbers stored, N * D."""
        return self.weight.numel()

    @property
    def n_bytes(self) -> int:
        """Bytes stored, in float32."""
        return 4 * self.n_stored

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table: ids [...] -> [..., D]."""
        return self._at_length(super().forward(ids))

    def to_matrix(self) -> Tensor:
        """The table [N, D]."""
        return self._at_length(self.weight)

    def _at_length(self, rows: Tensor) -> Tensor:
        return F.normalize(rows, dim=-1, eps=LEAST_LENGTH) if self.is_normalized else rows

    def scores(self, query: Tensor) -> Tensor:
        """Inner products of queries [B, D] with every item: [B, N]."""
        return query @ self.to_matrix().T  # [B, D] x [D, N] -> [B, N]

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """`scores` for training, at the precision asked for: [B, D] -> [B, N], in the buffer if there is one."""
        dropout = self.dropout if self.training else 0.0
        rows = unit_rows(self.weight, dropout, dtype) if self.is_normalized else F.dropout(self.weight, dropout)
        return product(query, rows, buffer, dtype)

    def frozen(self, dtype: torch.dtype | None = None) -> FrozenTable:
        """The table as it is now, without gradient, for scores of that precision."""
        return FrozenTable(self.to_matrix().detach(), dtype=dtype)


class FrozenTable(nn.Module):
    """A teacher's item embeddings as it scores with them: `scale * query @ weight.T`.

    Args:
        weight: [N, D], not copied where it has the precision asked for.
        scale: factor of the scores.
        dtype: precision of the products, the weight's own when None; converted once, not at every step.
    """

    zero_item = None

    def __init__(self, weight: Tensor, scale: float = 1.0, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight if dtype is None else weight.to(dtype))
        self.scale = scale

    def forward(self, ids: Tensor) -> Tensor:
        """[...] -> [..., D]."""
        return self.weight[ids]

    def scores(self, query: Tensor) -> Tensor:
        """[B, D] -> [B, N]."""
        return self.raw_scores(query)

    def raw_scores(self, query: Tensor, buffer: ScoreBuffer | None = None) -> Tensor:
        """[B, D] -> [B, N], of the table's precision, in the buffer if there is one."""
        return product(self.scale * query, self.weight, buffer, self.weight.dtype)

    def frozen(self, dtype: torch.dtype | None = None) -> FrozenTable:
        """The same for scores of another precision."""
        return FrozenTable(self.weight, self.scale, dtype)

    def in_order(self, item_order: Tensor | None) -> FrozenTable:
        """The same with item i in row and column `item_order[i]`."""
        return self if item_order is None else FrozenTable(self.weight[item_order.argsort()], self.scale)
