"""Shapes and ranks of a semi-tensor-product tensor train: checked when given, chosen for a rate when not.

Names as in `tensor_train`: N items, D embedding, m cores, grid (I_1 .. I_m), dims (J_1 .. J_m), ranks r_k, factor t.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from numbers import Integral

from recbole_odrec.errors import InfeasibleRateError

MIN_CORES, MAX_CORES = 2, 4


def _root(value: int, degree: int) -> int:
    """The largest integer whose `degree`-th power is at most `value`."""
    root = round(value ** (1 / degree))
    while root**degree > value:
        root -= 1
    while (root + 1) ** degree <= value:
        root += 1
    return root


@dataclass(frozen=True)
class TensorTrainPlan:
    """The whole geometry of one table.

    Attributes:
        n_items, embedding_dim: N and D.
        item_shape: grid (I_1, .., I_m).
        dim_shape: split (J_1, .., J_m) of D.
        tt_ranks: (1, r_1, .., r_{m-1}, 1), in the paper's counting.
        stp_factor: t.
    """

    n_items: int
    embedding_dim: int
    item_shape: tuple[int, ...]
    dim_shape: tuple[int, ...]
    tt_ranks: tuple[int, ...]
    stp_factor: int

    def __post_init__(self) -> None:
        m, t = len(self.item_shape), self.stp_factor
        if not MIN_CORES <= m <= MAX_CORES:
            raise ValueError(f"item_shape={list(self.item_shape)} has {m} sides, expected 2 to 4 (one for each core).")
        if min(self.item_shape) < 1 or self.n_cells < self.n_items:
            raise ValueError(
                f"item_shape={list(self.item_shape)} holds {self.n_cells} items, expected at least {self.n_items}."
            )
        if len(self.dim_shape) != m or min(self.dim_shape) < 1 or prod(self.dim_shape) != self.embedding_dim:
            raise ValueError(
                f"dim_shape={list(self.dim_shape)} must be {m} factors whose product is "
                f"embedding_dim={self.embedding_dim}."
            )
        if t < 1 or self.dim_shape[-1] % t:
            raise ValueError(f"stp_factor={t} must divide the last side of dim_shape={list(self.dim_shape)}.")
        ranks = self.tt_ranks
        if len(ranks) != m + 1 or ranks[0] != 1 or ranks[-1] != 1 or any(r < 1 or r % t for r in ranks[1:-1]):
            raise ValueError(
                f"tt_ranks={list(ranks)} must be [1, r_1, .., r_{m - 1}, 1] with every inner rank a multiple of "
                f"stp_factor={t}."
            )

    @classmethod
    def from_shapes(
        cls,
        n_items: int,
        embedding_dim: int,
        item_shape: Sequence[int] | None,
        dim_shape: Sequence[int] | None,
        tt_ranks: int | Sequence[int],
        stp_factor: int,
    ) -> TensorTrainPlan:
        """Fills in what is None (two cores unless a given shape or rank list says otherwise) and checks the rest."""
        _check_table_size(n_items, embedding_dim, stp_factor)
        given = [len(shape) for shape in (item_shape, dim_shape) if shape is not None]
        if not isinstance(tt_ranks, int):
            given.append(len(tt_ranks) - 1)
        m = given[0] if given else MIN_CORES
        if dim_shape is None:
            dim_shape = next(_dim_shapes(embedding_dim, m, stp_factor))
        if item_shape is None:
            item_shape = _item_shape(n_items, m)
        ranks = (1, *[tt_ranks] * (m - 1), 1) if isinstance(tt_ranks, int) else tuple(tt_ranks)
        return cls(int(n_items), int(embedding_dim), tuple(item_shape), tuple(dim_shape), ranks, stp_factor)

    @property
    def n_cells(self) -> int:
        """Rows of the grid, unused ones included."""
        return prod(self.item_shape)

    @property
    def core_shapes(self) -> list[tuple[int, int, int, int]]:
        """[R_{k-1}, I_k, A_k, R_k] of every core: the plain tensor train over (J_1 t, J_2, .., J_m / t)."""
        t = self.stp_factor
        inner = [1, *(rank // t for rank in self.tt_ranks[1:-1]), 1]
        dims = [self.dim_shape[0] * t, *self.dim_shape[1:-1], self.dim_shape[-1] // t]
        return list(zip(inner[:-1], self.item_shape, dims, inner[1:], strict=True))

    @property
    def n_parameters(self) -> int:
        """Numbers in all cores."""
        return sum(prod(shape) for shape in self.core_shapes)

    @property
    def compression_rate(self) -> float:
        """N * D dense numbers for each stored one."""
        return self.n_items * self.embedding_dim / self.n_parameters

    def __str__(self) -> str:
        return (
            f"item_shape={list(self.item_shape)}, dim_shape={list(self.dim_shape)}, tt_ranks={list(self.tt_ranks)}, "
            f"stp_factor={self.stp_factor}"
        )


def plan_tensor_train(
    n_items: int,
    embedding_dim: int,
    compression_rate: float,
    n_cores: int = 2,
    stp_factor: int = 2,
    stored_beside: int = 0,
) -> TensorTrainPlan:
    """Chooses shapes and ranks that reach at least `compression_rate`.

    The rule, in this order:
        1. grid: of all grids in ascending order whose longest side is at most twice the shortest, the one with the
           fewest padded rows; among equals the most even one;
        2. dims: the most even split of D into m factors of at least 2 whose last factor t divides, in descending
           order where that leaves t a divisor of the last;
        3. rank: the largest r (multiple of t, the same between all cores, cut where a smaller rank already spans
           everything) that keeps the rate.
    If even r = t misses the rate with the split of step 2, the next less even split is tried.

    Args:
        n_items: N, from 2 to 10^8.
        embedding_dim: D.
        compression_rate: dense numbers for each stored number, at least this many.
        n_cores: m, 2 to 4.
        stp_factor: t.
        stored_beside: numbers stored beside the cores (an item order), which the rate counts too.

    Raises:
        ValueError: D cannot be split.
        InfeasibleRateError: no rank reaches the rate; the message names the nearest feasible rate.
    """
    _check_table_size(n_items, embedding_dim, stp_factor)
    n_items, embedding_dim = int(n_items), int(embedding_dim)  # from NumPy's integers, which RecBole counts with
    if not MIN_CORES <= n_cores <= MAX_CORES:
        raise ValueError(f"n_cores={n_cores}, expected {MIN_CORES} to {MAX_CORES}.")
    if not compression_rate > 0:
        raise ValueError(f"compression_rate={compression_rate}, expected a number above 0.")
    item_shape = _item_shape(n_items, n_cores)

    def plan(dim_shape: tuple[int, ...], rank: int) -> TensorTrainPlan:
        ranks = _capped_ranks(item_shape, dim_shape, rank, stp_factor)
        return TensorTrainPlan(n_items, embedding_dim, item_shape, dim_shape, ranks, stp_factor)

    def rate(candidate: TensorTrainPlan) -> float:
        return n_items * embedding_dim / (candidate.n_parameters + stored_beside)

    smallest: list[TensorTrainPlan] = []
    for dim_shape in _dim_shapes(embedding_dim, n_cores, stp_factor):
        smallest.append(plan(dim_shape, stp_factor))
        if rate(smallest[-1]) < compression_rate:
            continue
        low, high = 1, n_items * embedding_dim  # inner ranks; the stored size never falls as the rank grows
        while low < high:
            middle = (low + high + 1) // 2
            if rate(plan(dim_shape, middle * stp_factor)) >= compression_rate:
                low = middle
            else:
                high = middle - 1
        return plan(dim_shape, low * stp_factor)
    nearest = max(smallest, key=rate)
    beside = f" and {stored_beside} numbers stored beside the cores" if stored_beside else ""
    raise InfeasibleRateError(
        f"compression_rate={compression_rate:g} cannot be reached for {n_items} items x {embedding_dim} with "
        f"n_cores={n_cores}, stp_factor={stp_factor}{beside}: the nearest feasible rate is "
        f"{rate(nearest):.4g} ({nearest}).",
        highest=rate(nearest),
    )


def _check_table_size(n_items: int, embedding_dim: int, stp_factor: int) -> None:
    sizes = (("n_items", n_items, 2), ("embedding_dim", embedding_dim, 1), ("stp_factor", stp_factor, 1))
    for name, value, least in sizes:
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name}={value!r}, expected a whole number of at least {least}.")


def _item_shape(n_items: int, n_cores: int) -> tuple[int, ...]:
    """Step 1 of the rule. There are about sqrt(N) candidates, whatever the number of cores."""
    sides: list[tuple[int, ...]] = [()]
    for position in range(n_cores - 1):
        sides = [(*side, extent) for side in sides for extent in _extents(n_items, n_cores, side, position)]
    grids = [(*side, max(side[-1], ceil(n_items / prod(side)))) for side in sides]
    even = [grid for grid in grids if grid[-1] <= 2 * grid[0]]
    return min(even or grids, key=lambda grid: (prod(grid), grid[-1] - grid[0], grid))


def _extents(n_items: int, n_cores: int, side: tuple[int, ...], position: int) -> range:
    """Lengths worth trying for the next side, no shorter than the one before and at most twice the first."""
    remaining = ceil(n_items / prod(side))
    degree = n_cores - position
    most = _root(remaining, degree) + 1
    least = side[-1] if side else max(1, (_root(n_items, degree) + 1) // 2)
    return range(least, max(least, most) + 1)


def _dim_shapes(embedding_dim: int, n_cores: int, stp_factor: int) -> Iterator[tuple[int, ...]]:
    """Step 2 of the rule: every admissible split of D, the most even first."""
    divisors = [d for d in range(2, embedding_dim + 1) if embedding_dim % d == 0]
    splits = [
        (*head, embedding_dim // prod(head))
        for head in product(divisors, repeat=n_cores - 1)
        if embedding_dim % prod(head) == 0
    ]
    splits = [split for split in splits if split[-1] >= 2 and split[-1] % stp_factor == 0]
    if not splits:
        raise ValueError(
            f"embedding_dim={embedding_dim} cannot be split into {n_cores} factors of at least 2 with the last one "
            f"divisible by stp_factor={stp_factor}; choose another dimension (for example "
            f"{_nearest_dim(embedding_dim, n_cores, stp_factor)}), n_cores or stp_factor."
        )
    yield from sorted(splits, key=lambda split: (max(split) / min(split), [-side for side in split]))


def _nearest_dim(embedding_dim: int, n_cores: int, stp_factor: int) -> int:
    """The nearest multiple of 2^(m-1) * max(t, 2): such a dimension always splits."""
    unit = 2 ** (n_cores - 1) * max(stp_factor, 2)
    return max(unit, round(embedding_dim / unit) * unit)


def _capped_ranks(item_shape: Sequence[int], dim_shape: Sequence[int], rank: int, stp_factor: int) -> tuple[int, ...]:
    """Uniform rank, cut at each bond to the rank that spans everything on its smaller side."""
    t, m = stp_factor, len(item_shape)
    dims = [dim_shape[0] * t, *dim_shape[1:-1], dim_shape[-1] // t]
    sides = [i * d for i, d in zip(item_shape, dims, strict=True)]
    inner = [min(rank // t, prod(sides[:k]), prod(sides[k:])) for k in range(1, m)]
    return (1, *(r * t for r in inner), 1)
