"""Item table of few columns in 8 or 4 bits, and a projection in 8 bits that gives the others.

Training sees both rounded (the gradient passes through), so that what is trained, evaluated and shipped is one table.

Dimension key: B queries, N items, D embedding, C columns stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recbole_odrec.errors import InfeasibleRateError
from recbole_odrec.nn.followers import follower_bytes
from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.nn.table import ItemTable
from recbole_odrec.nn.tables.passed_on import passed_on
from recbole_odrec.parsing import key, require

# Bits -> the step between 2^bits - 1 even levels that loses least of a normal variable, in its deviations (Max 1960).
STEPS = {8: 0.0308, 4: 0.3534}


@dataclass(frozen=True)
class RoundedSettings:
    """How small the table is, and how coarse."""

    compression_rate: float = key(30, "At least this many dense bytes for each stored byte, followers' included.")
    bits: int = key(8, "Of a number: 8, or 4 and twice as many columns.")
    n_followers: int = key(0, "The network's, which share the table's bytes: three an item, or four of many items.")

    def __post_init__(self) -> None:
        require(self.compression_rate > 0, "compression_rate", self.compression_rate, "a number above 0")
        require(self.bits in STEPS, "bits", self.bits, "8 or 4")


class RoundedEmbedding(ItemTable):
    """Integers [N, C], a step for each column, and a projection [C, D] of 8 bits; padding is zero.

    A step a column and not one a row: it costs nothing, where one a row weighs as much as four columns of 8 bits.

    Args:
        n_items: N, padding row 0 included.
        embedding_dim: D.
        n_columns: C, of 4 bits an even number.
        bits: 8 or 4.
        std: standard deviation of the table's entries after `reset_parameters`.

    Raises:
        ValueError: columns of 4 bits that fill no whole bytes.
    """

    Settings = RoundedSettings

    def __init__(self, n_items: int, embedding_dim: int, n_columns: int, bits: int = 8, std: float = 0.02) -> None:
        super().__init__(n_items, embedding_dim)
        if n_columns * bits % 8:
            raise ValueError(f"n_columns={n_columns}, expected an even number of {bits} bits.")
        self.bits, self.std = bits, std
        self.weight = nn.Parameter(torch.empty(n_items, n_columns))
        self.projection = nn.Parameter(torch.empty(n_columns, embedding_dim))
        self.reset_parameters()

    @classmethod
    def from_settings(cls, settings: RoundedSettings, n_items: int, embedding_dim: int, std: float) -> RoundedEmbedding:
        """With the most columns at the rate, followers included.

        Raises:
            InfeasibleRateError: not even one byte an item reaches it.
        """
        rate, bits, fewest = settings.compression_rate, settings.bits, 8 // settings.bits
        beside = n_items * settings.n_followers * follower_bytes(n_items)

        def rate_of(n_columns: int) -> float:
            return 4 * n_items * embedding_dim / (_n_bytes(n_items, n_columns, embedding_dim, bits) + beside)

        possible = [n for n in range(fewest, embedding_dim + 1, fewest) if rate_of(n) >= rate]
        if not possible:
            raise InfeasibleRateError(
                f"compression_rate={rate} cannot be reached by columns of {bits} bits for {n_items} items of "
                f"{embedding_dim} columns{f' and {beside} bytes of followers' if beside else ''}; at most "
                f"{rate_of(fewest):.1f}.",
                rate_of(fewest),
            )
        return cls(n_items, embedding_dim, possible[-1], bits, std)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """A random projection that keeps lengths, normal entries before it, zero padding row."""
        nn.init.orthogonal_(self.projection)
        nn.init.normal_(self.weight, std=self.std * (self.embedding_dim / len(self.projection)) ** 0.5)
        self.weight[0].zero_()

    def approximate_(self, matrix: Tensor) -> bool:
        """Takes the columns over in which the rows are longest (truncated singular value decomposition)."""
        directions = torch.linalg.eigh(matrix[1:].T @ matrix[1:]).eigenvectors  # the longest last
        self.projection.copy_(directions[:, -len(self.projection) :].T)
        self.weight[1:] = matrix[1:] @ self.projection.T
        return True

    @property
    def zero_item(self) -> int:
        return 0

    @property
    def n_bytes(self) -> int:
        """Bytes: `bits` a number, one for each of the projection's, four a step and a scale of the projection."""
        return _n_bytes(self.n_items, self.weight.shape[1], self.embedding_dim, self.bits)

    # ------------------------------------------------------------------ as it ships

    def steps(self) -> Tensor:
        """What one step of each column's integers is worth: [C]."""
        sizes = self.weight.detach().square().mean(0).sqrt()
        return STEPS[self.bits] * torch.where(sizes > 0, sizes, torch.ones_like(sizes))

    def integers(self, weight: Tensor) -> Tensor:
        """Rows of `weight` in steps, [n, C] -> [n, C]: -127 to 127, of 4 bits -7 to 7."""
        most = 2 ** (self.bits - 1) - 1
        return (weight.detach() / self.steps()).round().clamp(-most, most)

    def _rounded(self, weight: Tensor) -> Tensor:
        return passed_on(self.integers(weight) * self.steps(), weight)

    def rounded_projection(self) -> Tensor:
        """[C, D] as it ships: each row in steps of its own; the gradient passes as if it were not."""
        return _in_8_bits(self.projection)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table: ids [...] -> [..., D]."""
        flat = ids.reshape(-1)
        rows = self._rounded(self.weight.index_select(0, flat)) @ self.rounded_projection()
        return (rows * (flat != 0).unsqueeze(-1)).view(*ids.shape, self.embedding_dim)

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """See `ItemTable`."""
        return product(product(query, self.rounded_projection()), self._rounded(self.weight), buffer, dtype)

    def tile_of(self, values: Sequence[Tensor], columns: slice | Tensor) -> list[Tensor]:
        """Their rows, and the projection."""
        return [values[0][columns], values[1]]

    def tile_scores(
        self, query: Tensor, columns: slice | Tensor, parts: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> Tensor:
        return product(product(query, _in_8_bits(parts[1])), self._rounded(parts[0]), dtype=dtype)


def _in_8_bits(rows: Tensor) -> Tensor:
    """Multiples of a step for each row, the largest number 127 of it."""
    largest = rows.detach().abs().amax(1, keepdim=True)
    steps = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return passed_on((rows.detach() / steps).round() * steps, rows)


def _n_bytes(n_items: int, n_columns: int, embedding_dim: int, bits: int) -> int:
    return n_items * n_columns * bits // 8 + n_columns * (embedding_dim + 8)
