"""Item table of fewer rows than items: the hashing trick, or quotients and remainders (Shi et al., KDD 2020).

Item i has the row `i mod R` of a small table, by the row `i div R` of another, entry by entry: no two items have both.
The hashing trick is the first alone, so items that share a row share every score.

Dimension key: B queries, N items, D embedding, R remainders, Q = ceil(N / R) quotients.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import torch
from torch import Tensor, nn

from recbole_odrec.errors import InfeasibleRateError
from recbole_odrec.nn.followers import bytes_of_followers
from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.nn.table import ItemTable
from recbole_odrec.parsing import key, require

HASHINGS = ("quotient_remainder", "modulo")


@dataclass(frozen=True)
class HashedSettings:
    """How small the table is, and what items share."""

    compression_rate: float = key(30, "At least this many dense bytes for each stored byte, followers' included.")
    hashing: str = key(
        "quotient_remainder", "quotient_remainder (product of two rows, each pair one item's) or modulo (a shared row)."
    )
    n_followers: int = key(0, "The network's, which share the table's bytes: three an item, or four of many items.")

    def __post_init__(self) -> None:
        require(self.compression_rate > 0, "compression_rate", self.compression_rate, "a number above 0")
        require(self.hashing in HASHINGS, "hashing", self.hashing, f"one of {', '.join(HASHINGS)}")


class HashedEmbedding(ItemTable):
    """Rows of remainders, by rows of quotients unless the hashing is modulo; padding is zero.

    Args:
        n_items: N, padding row 0 included.
        embedding_dim: D.
        n_remainders: R.
        has_quotients: whether no two items share everything.
        std: standard deviation of the table's entries after `reset_parameters`.
    """

    Settings = HashedSettings
    quotients: nn.Parameter | None

    def __init__(
        self, n_items: int, embedding_dim: int, n_remainders: int, has_quotients: bool = True, std: float = 0.02
    ) -> None:
        super().__init__(n_items, embedding_dim)
        self.n_quotients, self.std = ceil(n_items / n_remainders), std
        self.remainders = nn.Parameter(torch.empty(n_remainders, embedding_dim))
        self.quotients = nn.Parameter(torch.empty(self.n_quotients, embedding_dim)) if has_quotients else None
        self.reset_parameters()

    @classmethod
    def from_settings(cls, settings: HashedSettings, n_items: int, embedding_dim: int, std: float) -> HashedEmbedding:
        """With the most remainders at the rate, for these forget less than quotients do.

        Raises:
            InfeasibleRateError: fewer rows cannot tell the items apart.
        """
        rate, has_quotients = settings.compression_rate, settings.hashing == "quotient_remainder"
        beside = bytes_of_followers(n_items, settings.n_followers)

        def rate_of(n_remainders: int) -> float:
            n_rows = n_remainders + has_quotients * ceil(n_items / n_remainders)
            return 4 * n_items * embedding_dim / (4 * n_rows * embedding_dim + beside)

        for n_remainders in range(min(n_items, int(n_items / rate) + 1), 0, -1):
            if rate_of(n_remainders) >= rate:
                return cls(n_items, embedding_dim, n_remainders, has_quotients, std)
        highest = rate_of(ceil(sqrt(n_items)) if has_quotients else 1)
        raise InfeasibleRateError(
            f"compression_rate={rate} cannot be reached by hashing={settings.hashing} for {n_items} items"
            f"{f' and {beside} bytes of followers' if beside else ''}; at most {highest:.1f}.",
            highest,
        )

    def reset_parameters(self) -> None:
        """Normal entries; of two tables, each the root, since they are multiplied."""
        for rows in self.parameters():
            nn.init.normal_(rows, std=self.std if self.quotients is None else sqrt(self.std))

    def approximate_(self, matrix: Tensor) -> bool:
        """Means of the items of a row; of two tables, the best product for each column (singular values)."""
        n_remainders = len(self.remainders)
        grid = matrix.new_zeros(self.n_quotients * n_remainders, self.embedding_dim)
        grid[1 : self.n_items] = matrix[1:]
        grid = grid.view(self.n_quotients, n_remainders, -1)
        if self.quotients is None:
            row_of = torch.arange(1, self.n_items, device=matrix.device) % n_remainders
            n_sharing = row_of.bincount(minlength=n_remainders).clamp(min=1)
            self.remainders.copy_(grid.sum(0) / n_sharing.unsqueeze(1))
            return True
        left, size, right = torch.linalg.svd(grid.permute(2, 0, 1), full_matrices=False)  # [D, Q, .], .., [D, ., R]
        share = (self.n_quotients / n_remainders) ** 0.25  # entries of one size in both: one learning rate for both
        self.quotients.copy_((left[:, :, 0] * size[:, :1].sqrt() * share).T)
        self.remainders.copy_((right[:, 0] * size[:, :1].sqrt() / share).T)
        return True

    @property
    def zero_item(self) -> int:
        return 0

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table: ids [...] -> [..., D]."""
        flat, n_remainders = ids.reshape(-1), len(self.remainders)
        rows = self.remainders.index_select(0, flat % n_remainders)
        if self.quotients is not None:
            rows = rows * self.quotients.index_select(0, flat // n_remainders)
        return (rows * (flat != 0).unsqueeze(-1)).view(*ids.shape, self.embedding_dim)

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """See `ItemTable`; each query meets the remainders once for each quotient, and no [B, N, D] appears."""
        if self.quotients is None:
            return product(query, self.remainders, buffer, dtype).repeat(1, self.n_quotients)
        queries = (query.unsqueeze(1) * self.quotients).flatten(0, 1)  # [B Q, D]
        return product(queries, self.remainders, buffer, dtype).view(len(query), -1)  # [B Q, R] -> [B, Q R]
