"""Item table of few columns in 8 or 4 bits, and a projection in 8 bits that gives the others.

Training sees both rounded (the gradient passes through), so that what is trained, evaluated and shipped is one table.

Dimension key: B queries, N items, D embedding, C columns stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from recbole_odrec.errors import InfeasibleRateError
from recbole_odrec.nn.followers import bytes_of_followers
from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.nn.table import ItemTable
from recbole_odrec.nn.tables.followed import FollowedTable
from recbole_odrec.nn.tables.passed_on import passed_on
from recbole_odrec.nn.tables.rounded_numbers import Integers
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

    Settings, numbers = RoundedSettings, Integers
    held_steps: Tensor | None  # [C], of an update's student, whose steps are those of the rows before it

    def __init__(self, n_items: int, embedding_dim: int, n_columns: int, bits: int = 8, std: float = 0.02) -> None:
        super().__init__(n_items, embedding_dim)
        if n_columns * bits % 8:
            raise ValueError(f"n_columns={n_columns}, expected an even number of {bits} bits.")
        self.bits, self.std = bits, std
        self.register_buffer("held_steps", None)
        self.followed: FollowedTable | None = None
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
        beside = bytes_of_followers(n_items, settings.n_followers)

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
        directions = torch.linalg.eigh(matrix[1:].T @ matrix[1:]).eigenvectors.T  # the longest last
        signs = directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()  # else the last bits decide
        self.projection.copy_((signs * directions)[-len(self.projection) :])
        self.weight[1:] = matrix[1:] @ self.projection.T
        return True

    @property
    def zero_item(self) -> int:
        return 0

    @property
    def n_bytes(self) -> int:
        """Bytes: `bits` a number, one for each of the projection's, four a step and a scale of the projection."""
        return self.n_bytes_with(self.weight.shape[1])

    def n_bytes_with(self, n_columns: int) -> int:
        """As `n_bytes`, if it had C columns."""
        return _n_bytes(self.n_items, n_columns, self.embedding_dim, self.bits)

    # ------------------------------------------------------------------ as it ships

    def steps(self) -> Tensor:
        """What one step of each column's integers is worth: [C]."""
        return self.steps_of(self.weight) if self.held_steps is None else self.held_steps

    def steps_of(self, weight: Tensor) -> Tensor:
        """Those that suit some rows, [N, C] -> [C]."""
        sizes = weight.detach().square().mean(0).sqrt()
        return STEPS[self.bits] * torch.where(sizes > 0, sizes, torch.ones_like(sizes))

    def integers(self, weight: Tensor, steps: Tensor | None = None) -> Tensor:
        """Rows of `weight` in steps, the table's when None, [n, C] -> [n, C]: -127 to 127, of 4 bits -7 to 7."""
        most = 2 ** (self.bits - 1) - 1
        return (weight.detach() / (self.steps() if steps is None else steps)).round().clamp(-most, most)

    @torch.no_grad()
    def settle_(self) -> None:
        """See `ItemTable`: whole multiples of steps that no longer depend on them."""
        steps = self.steps()
        self.weight.copy_(self.integers(self.weight) * steps)
        self.projection.copy_(self.rounded_projection())
        self.held_steps = steps

    def follow(self, latent: Tensor) -> None:
        """From now on a table [N, C] gets the gradient of the rows before the projection."""
        self.followed = FollowedTable(latent)

    def _rounded(self, weight: Tensor, latents: Sequence[Tensor]) -> Tensor:
        return reduce(passed_on, [weight, *latents], self.integers(weight) * self.steps())

    def rounded_projection(self) -> Tensor:
        """[C, D] as it ships: each row in steps of its own; the gradient passes as if it were not."""
        return _in_8_bits(self.projection)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table: ids [...] -> [..., D]."""
        flat = ids.reshape(-1)
        latents = [] if self.followed is None else self.followed.of(flat)
        rows = self._rounded(self.weight.index_select(0, flat), latents) @ self.rounded_projection()
        return (rows * (flat != 0).unsqueeze(-1)).view(*ids.shape, self.embedding_dim)

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """See `ItemTable`."""
        latents = [] if self.followed is None else self.followed.all_rows()
        return product(product(query, self.rounded_projection()), self._rounded(self.weight, latents), buffer, dtype)

    def trained(self) -> list[Tensor]:
        """And what trains along."""
        return [self.weight, self.projection] + ([] if self.followed is None else [self.followed.rows])

    def tile_of(self, values: Sequence[Tensor], columns: slice | Tensor) -> list[Tensor]:
        """Their rows, and the projection."""
        return [values[0][columns], values[1], *(along[columns] for along in values[2:])]

    def tile_scores(
        self, query: Tensor, columns: slice | Tensor, parts: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> Tensor:
        return product(product(query, _in_8_bits(parts[1])), self._rounded(parts[0], parts[2:]), dtype=dtype)


def _in_8_bits(rows: Tensor) -> Tensor:
    """Multiples of a step for each row, the largest number 127 of it."""
    largest = rows.detach().abs().amax(1, keepdim=True)
    steps = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return passed_on((rows.detach() / steps).round() * steps, rows)


def _n_bytes(n_items: int, n_columns: int, embedding_dim: int, bits: int) -> int:
    return n_items * n_columns * bits // 8 + n_columns * (embedding_dim + 8)
