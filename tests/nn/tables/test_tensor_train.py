"""The three paths of the item table against an explicit Kronecker construction, in float64."""

from __future__ import annotations

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_odrec.nn import SemiTensorTrainEmbedding

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def left_semi_tensor_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A |x B = A (B kron I_t), for A [m, t q] and B [q, n]: the definition, nothing clever."""
    factor = a.shape[1] // b.shape[0]
    assert factor * b.shape[0] == a.shape[1]
    return a @ torch.kron(b, torch.eye(factor, dtype=a.dtype))


def kronecker_table(table: SemiTensorTrainEmbedding) -> torch.Tensor:
    """The table entry by entry from the paper's definition; differentiable in the cores."""
    plan, t = table.plan, table.plan.stp_factor
    item_shape, dim_shape, ranks = plan.item_shape, plan.dim_shape, plan.tt_ranks
    rows = []
    for item in range(plan.n_items):
        cell = item if table.item_order is None else int(table.item_order[item])
        grid = []
        for side in reversed(item_shape):
            grid.append(cell % side)
            cell //= side
        grid.reverse()
        entries = []
        for dims in torch.cartesian_prod(*(torch.arange(side) for side in dim_shape[:-1])).view(-1, len(dim_shape) - 1):
            # First core: 1 x r_1 for this item index and this j_1; its storage splits r_1 into (tau, rho).
            first = table.tt_cores[0][0, grid[0]].view(dim_shape[0], t, ranks[1] // t)[dims[0]]
            product = first.transpose(0, 1).reshape(1, ranks[1])  # column index rho * t + tau
            for k in range(1, len(item_shape) - 1):
                product = left_semi_tensor_product(product, table.tt_cores[k][:, grid[k], dims[k]])
            last = table.tt_cores[-1][:, grid[-1], :, 0]  # [r / t, J_m / t]
            entries.append(left_semi_tensor_product(product, last).view(-1))  # all J_m entries
        rows.append(torch.cat(entries) * (item != table.padding_idx))
    return torch.stack(rows)


@st.composite
def tables(draw: st.DrawFn) -> SemiTensorTrainEmbedding:
    m = draw(st.integers(2, 4))
    t = draw(st.integers(1, 4))
    item_shape = [draw(st.integers(1, 4)) for _ in range(m)]
    dim_shape = [draw(st.integers(1, 3)) for _ in range(m)]
    dim_shape[-1] *= t
    ranks = [1, *(t * draw(st.integers(1, 3)) for _ in range(m - 1)), 1]
    cells = prod(item_shape)
    n_items = draw(st.integers(min(2, cells), cells))
    if n_items < 2:
        item_shape[0], n_items = 2, 2
        cells = prod(item_shape)
    order = draw(st.none() | st.permutations(range(n_items)))
    padding_idx = draw(st.sampled_from([None, 0, n_items - 1]))
    torch.manual_seed(draw(st.integers(0, 999)))
    table = SemiTensorTrainEmbedding(
        n_items, prod(dim_shape), item_shape, dim_shape, ranks, t, padding_idx, order, std=1.0
    )
    return table.double()


def gradients(table: SemiTensorTrainEmbedding, output: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad((output * weight).sum(), list(table.tt_cores), retain_graph=True))


@given(table=tables())
@settings(max_examples=60, deadline=None)
def test_every_path_equals_the_kronecker_construction(table: SemiTensorTrainEmbedding) -> None:
    oracle = kronecker_table(table)
    ids = torch.randint(table.n_items, (3, 2, 2))
    query = torch.randn(5, table.embedding_dim, dtype=torch.float64, requires_grad=True)
    pairs = [
        (table.to_matrix(), oracle),
        (table(ids), oracle[ids]),
        (table.scores(query), query @ oracle.T),
    ]
    for fast, plain in pairs:
        torch.testing.assert_close(fast, plain, **EXACT)
        weight = torch.randn_like(plain)
        for got, expected in zip(gradients(table, fast, weight), gradients(table, plain, weight), strict=True):
            torch.testing.assert_close(got, expected, **EXACT)
    columns = torch.arange(table.n_items) if table.item_order is None else table.item_order
    raw = table.raw_scores(query).index_fill(
        1, torch.tensor([] if table.zero_item is None else [table.zero_item]).long(), 0
    )
    torch.testing.assert_close(raw[:, columns], query @ oracle.T, **EXACT)
    fast_query = torch.autograd.grad(table.scores(query).square().sum(), query)[0]
    plain_query = torch.autograd.grad((query @ kronecker_table(table).T).square().sum(), query)[0]
    torch.testing.assert_close(fast_query, plain_query, **EXACT)


@given(table=tables())
@settings(max_examples=30, deadline=None)
def test_padding_row_is_exactly_zero_in_every_path(table: SemiTensorTrainEmbedding) -> None:
    if table.padding_idx is None:
        assert (table.to_matrix() != 0).any(dim=1).all()
        return
    pad = table.padding_idx
    assert torch.equal(table.to_matrix()[pad], torch.zeros(table.embedding_dim, dtype=torch.float64))
    assert torch.equal(table(torch.tensor([pad]))[0], torch.zeros(table.embedding_dim, dtype=torch.float64))
    scores = table.scores(torch.randn(4, table.embedding_dim, dtype=torch.float64))
    assert torch.equal(scores[:, pad], torch.zeros(4, dtype=torch.float64))


def test_released_tmall_setting_has_the_published_size() -> None:
    """Method section 2: 162,240 + 28,920 = 191,160 numbers for 5,213,312, 27.3x."""
    table = SemiTensorTrainEmbedding(40_729, 128, (169, 241), (16, 8), tt_ranks=60, stp_factor=2)
    assert [core.numel() for core in table.tt_cores] == [162_240, 28_920]
    assert table.n_stored == 191_160
    assert round(40_729 * 128 / 191_160, 1) == round(table.compression_rate, 1) == 27.3


def test_a_stp_factor_stores_every_later_core_t_squared_times_smaller() -> None:
    shapes = {"item_shape": (5, 6, 7), "dim_shape": (4, 4, 4), "tt_ranks": 12}
    plain = SemiTensorTrainEmbedding(200, 64, stp_factor=1, **shapes)
    semi = SemiTensorTrainEmbedding(200, 64, stp_factor=2, **shapes)
    sizes = [(a.numel(), b.numel()) for a, b in zip(plain.tt_cores, semi.tt_cores, strict=True)]
    assert sizes[0][0] == sizes[0][1]
    assert [a // b for a, b in sizes[1:]] == [4, 4]


@pytest.mark.parametrize("n_cores", [2, 3, 4])
@pytest.mark.parametrize("stp_factor", [1, 2, 4])
@pytest.mark.parametrize("std", [0.02, 1.0])
def test_reset_parameters_gives_the_standard_deviation_asked_for(n_cores: int, stp_factor: int, std: float) -> None:
    for rate in (4, 30):
        table = SemiTensorTrainEmbedding.from_compression_rate(
            5_000, 64, rate, n_cores, stp_factor, padding_idx=None, std=std
        )
        # The grid is a little larger than the table, so equality holds up to the padded rows.
        assert table.to_matrix().square().mean().sqrt().item() == pytest.approx(std, rel=0.02)


def test_item_order_moves_rows_between_cells_and_survives_a_state_dict() -> None:
    order = torch.randperm(25)
    plain = SemiTensorTrainEmbedding(30, 8, (5, 6), (2, 4), 4, padding_idx=None)
    ordered = SemiTensorTrainEmbedding(25, 8, (5, 6), (2, 4), 4, padding_idx=None, item_order=order)
    ordered.tt_cores.load_state_dict(plain.tt_cores.state_dict())
    torch.testing.assert_close(ordered.to_matrix(), plain.to_matrix()[order])
    copy = SemiTensorTrainEmbedding(25, 8, (5, 6), (2, 4), 4, padding_idx=None, item_order=order.flip(0))
    copy.load_state_dict(ordered.state_dict())
    torch.testing.assert_close(copy.to_matrix(), ordered.to_matrix())


def test_no_path_ever_holds_the_full_table() -> None:
    """1 million items x 64 are 256 MB dense; rows and scores must stay far below that."""
    table = SemiTensorTrainEmbedding.from_compression_rate(1_000_000, 64, 100)
    seen: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # torch's signature
            out = func(*args, **(kwargs or {}))
            seen.extend(t.numel() for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, torch.Tensor))
            return out

    with Watch(), torch.no_grad():
        table.scores(torch.randn(1, 64))
        table(torch.randint(1_000_000, (50,)))
    assert max(seen) < 1_000_000 * 64 / 10


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"item_shape": (5, 5)}, "holds 25 items, expected at least 30"),
        ({"item_shape": (5, 6), "dim_shape": (3, 4)}, "product is embedding_dim=8"),
        ({"tt_ranks": 5}, "multiple of stp_factor=2"),
        ({"tt_ranks": [1, 4, 4, 1]}, "must be"),
        ({"dim_shape": (8, 1)}, "stp_factor=2 must divide"),
        ({"item_order": [0] * 30}, "each of the cells 0 .. 29 once"),
        ({"item_order": [0, 1]}, "expected \\(30,\\)"),
        ({"padding_idx": 30}, "padding_idx=30"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(kwargs: dict, message: str) -> None:
    defaults = {"item_shape": (5, 6), "dim_shape": (2, 4), "tt_ranks": 4, "stp_factor": 2}
    with pytest.raises(ValueError, match=message):
        SemiTensorTrainEmbedding(30, 8, **{**defaults, **kwargs})


def test_ids_outside_the_table_are_an_error_not_a_wrong_row() -> None:
    table = SemiTensorTrainEmbedding(20, 8, (5, 6), (2, 4), 4)
    for bad in (-1, 20, 29):
        with pytest.raises(IndexError, match="20 rows"):
            table(torch.tensor([bad]))
