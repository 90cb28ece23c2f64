from __future__ import annotations

from itertools import combinations_with_replacement
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_odrec.nn import TensorTrainPlan, plan_tensor_train


@given(
    n_items=st.integers(2, 10**8),
    embedding_dim=st.integers(2, 64).map(lambda n: 8 * n),
    rate=st.floats(1, 300),
    n_cores=st.integers(2, 4),
    stp_factor=st.sampled_from([1, 2]),
)
@settings(max_examples=150, deadline=None)
def test_a_plan_reaches_the_rate_or_names_the_nearest(
    n_items: int, embedding_dim: int, rate: float, n_cores: int, stp_factor: int
) -> None:
    try:
        plan = plan_tensor_train(n_items, embedding_dim, rate, n_cores, stp_factor)
    except ValueError as error:
        nearest = float(str(error).split("nearest feasible rate is ")[1].split()[0])
        assert nearest < rate
        # The rate it names can indeed be had (4 printed digits).
        assert plan_tensor_train(n_items, embedding_dim, nearest * 0.999, n_cores, stp_factor)
        return
    assert plan.compression_rate >= rate
    assert len(plan.item_shape) == n_cores
    assert plan.n_cells >= n_items
    assert prod(plan.dim_shape) == embedding_dim


@pytest.mark.parametrize("n_cores", [2, 3])
@pytest.mark.parametrize("n_items", [17, 97, 211, 500])
def test_the_grid_wastes_the_fewest_rows(n_items: int, n_cores: int) -> None:
    """Against every grid in ascending order whose longest side is at most twice the shortest."""
    grids = combinations_with_replacement(range(1, n_items + 1 if n_cores == 2 else 40), n_cores)
    fewest = min(prod(grid) for grid in grids if prod(grid) >= n_items and grid[-1] <= 2 * grid[0])
    assert plan_tensor_train(n_items, 64, 1, n_cores).n_cells == fewest


def test_a_larger_rank_would_miss_the_rate() -> None:
    plan = plan_tensor_train(40_728, 128, 30)
    wider = TensorTrainPlan(40_728, 128, plan.item_shape, plan.dim_shape, (1, plan.tt_ranks[1] + 2, 1), 2)
    assert plan.compression_rate >= 30 > wider.compression_rate


def test_tmall_gets_the_grid_of_the_paper() -> None:
    plan = plan_tensor_train(40_728, 128, 30)
    assert plan.item_shape == (169, 241)
    assert plan.dim_shape == (16, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1683, 67, 8), "embedding_dim=67 cannot be split .*for example 68"),
        ((1683, 64, 1e6), "nearest feasible rate is"),
        ((1683, 64, 0), "compression_rate=0, expected a number above 0"),
        ((1683, 64, 8, 5), "n_cores=5, expected 2 to 4"),
        ((1, 64, 8), "n_items=1, expected a whole number of at least 2"),
    ],
)
def test_what_cannot_be_planned_says_what_can(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_tensor_train(*arguments)
