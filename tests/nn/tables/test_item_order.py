from __future__ import annotations

import pytest
import torch

from recbole_odrec.nn import SemiTensorTrainEmbedding
from recbole_odrec.nn.tables.item_order import order_by_assignment, order_by_similarity
from recbole_odrec.nn.tables.tensor_train_fit import grid_of_cores


def fit(table: SemiTensorTrainEmbedding, matrix: torch.Tensor, order: torch.Tensor) -> float:
    table.item_order.copy_(order)
    return table.fit_(matrix)


@pytest.mark.parametrize(("n_items", "row_length"), [(1, 4), (2, 4), (97, 8), (100, 33)])
def test_an_order_is_a_permutation_that_keeps_padding_first(n_items: int, row_length: int) -> None:
    cells = order_by_similarity(torch.randn(n_items, 5), row_length)
    assert sorted(cells.tolist()) == list(range(n_items))
    assert cells[0] == 0


def test_items_of_one_cluster_share_a_row() -> None:
    """Eight clusters of eight items, shuffled: rows 1.. of the grid hold one cluster each (padding shifts by one)."""
    clusters = torch.arange(8).repeat(8)[torch.randperm(64)]
    centres = 10 * torch.eye(8)
    vectors = torch.cat([torch.zeros(1, 8), centres[clusters] + 0.1 * torch.randn(64, 8)])
    cells = order_by_similarity(vectors, row_length=8)
    by_cell = torch.empty(64, dtype=torch.long)
    by_cell[cells[1:] - 1] = clusters
    assert all(len(row.unique()) == 1 for row in by_cell.view(8, 8))


def test_assigned_cells_are_a_permutation_that_keeps_padding_first_and_is_the_same_each_time() -> None:
    table = SemiTensorTrainEmbedding.from_compression_rate(97, 8, 3, item_order=torch.arange(97))
    vectors = torch.randn(97, 8)
    cells = order_by_assignment(vectors, table.plan)
    assert sorted(cells.tolist()) == list(range(97))
    assert cells[0] == 0
    assert torch.equal(cells, order_by_assignment(vectors, table.plan))


def test_items_find_the_cells_of_the_cores_they_came_from() -> None:
    """Rows of a tensor train, shuffled: similar rows side by side are far from its cells, exchanged ones are near."""
    torch.manual_seed(1)
    source = SemiTensorTrainEmbedding(200, 8, (10, 20), (4, 2), 2, 1, std=1.0, item_order=torch.arange(200))
    vectors = source.to_matrix().detach()[torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(199)])]
    orders = (torch.arange(200), order_by_similarity(vectors, 20), order_by_assignment(vectors, source.plan))
    shuffled, similar, assigned = (fit(source, vectors, order) for order in orders)
    assert shuffled < 0.25 < similar < 0.5 < 0.75 < assigned


@pytest.mark.parametrize(("item_shape", "dim_shape"), [((5, 6), (2, 4)), ((3, 2, 5), (2, 2, 2))])
@pytest.mark.parametrize("stp_factor", [1, 2])
def test_rows_of_all_cells_are_the_tables(item_shape: tuple, dim_shape: tuple, stp_factor: int) -> None:
    table = SemiTensorTrainEmbedding(30, 8, item_shape, dim_shape, 4, stp_factor, padding_idx=None, std=1.0).double()
    torch.testing.assert_close(grid_of_cores([*table.tt_cores], table.plan), table.to_matrix(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("item_shape", "dim_shape"), [((5, 6), (2, 4)), ((3, 2, 5), (2, 2, 2))])
def test_fitting_recovers_a_table_of_the_same_ranks(item_shape: tuple, dim_shape: tuple) -> None:
    def make() -> SemiTensorTrainEmbedding:
        order = torch.randperm(30)
        table = SemiTensorTrainEmbedding(30, 8, item_shape, dim_shape, 4, 2, None, order, std=1.0)
        return table.double()

    source, target = make(), make()
    kept = fit(target, source.to_matrix(), source.item_order)
    assert kept == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(target.to_matrix(), source.to_matrix(), rtol=1e-9, atol=1e-9)


def test_fitting_two_cores_is_the_best_low_rank_approximation() -> None:
    table = SemiTensorTrainEmbedding(30, 8, (5, 6), (2, 4), 4, 2, padding_idx=None).double()
    matrix = torch.randn(30, 8, dtype=torch.float64)
    kept = table.fit_(matrix)
    regrouped = matrix.view(5, 6, 2, 2, 2).permute(0, 2, 4, 1, 3).reshape(5 * 4, 6 * 2)
    singular = torch.linalg.svdvals(regrouped).square()
    assert kept == pytest.approx((singular[:2].sum() / singular.sum()).item(), abs=1e-12)


def test_spare_rank_is_filled_with_zeros() -> None:
    table = SemiTensorTrainEmbedding(4, 4, (2, 2), (2, 2), 40, 2, padding_idx=None).double()
    matrix = torch.randn(4, 4, dtype=torch.float64)
    assert table.fit_(matrix) == pytest.approx(1, abs=1e-12)


def test_what_cannot_be_fitted_is_refused() -> None:
    table = SemiTensorTrainEmbedding(30, 8, (5, 6), (2, 4), 4)
    with pytest.raises(ValueError, match="expected \\(30, 8\\)"):
        table.fit_(torch.zeros(30, 7))


def test_a_stored_order_counts_against_the_rate() -> None:
    table = SemiTensorTrainEmbedding.from_compression_rate(1683, 64, 8, item_order=torch.arange(1683))
    assert table.compression_rate >= 8
    assert table.n_stored == sum(core.numel() for core in table.tt_cores) + 1683
    with pytest.raises(ValueError, match="and 1683 numbers stored beside the cores: the nearest feasible rate is"):
        SemiTensorTrainEmbedding.from_compression_rate(1683, 64, 64, item_order=torch.arange(1683))
