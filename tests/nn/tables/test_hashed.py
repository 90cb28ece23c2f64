"""Rows that items share, against rows looked up one by one."""

from __future__ import annotations

import pytest
import torch

from recbole_odrec.errors import InfeasibleRateError
from recbole_odrec.nn.tables.hashed import HASHINGS, HashedEmbedding, HashedSettings

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def one_by_one(table: HashedEmbedding) -> torch.Tensor:
    """The definition, item by item."""
    rows, n_remainders = [torch.zeros(table.embedding_dim).to(table.remainders)], len(table.remainders)
    for item in range(1, table.n_items):
        row = table.remainders[item % n_remainders]
        rows.append(row if table.quotients is None else row * table.quotients[item // n_remainders])
    return torch.stack(rows)


@pytest.mark.parametrize("has_quotients", [True, False])
@pytest.mark.parametrize(("n_items", "n_remainders"), [(53, 10), (50, 10), (9, 9), (30, 1)])
def test_every_path_equals_rows_looked_up_one_by_one(n_items: int, n_remainders: int, has_quotients: bool) -> None:
    table = HashedEmbedding(n_items, 6, n_remainders, has_quotients, std=0.5).double()
    expected, query = one_by_one(table), torch.randn(4, 6, dtype=torch.float64)
    ids, weight = torch.randint(n_items, (3, 5)), torch.randn(4, n_items, dtype=torch.float64)
    torch.testing.assert_close(table(ids), expected[ids], **EXACT)
    torch.testing.assert_close(table.scores(query), query @ expected.T, **EXACT)
    torch.testing.assert_close(table.raw_scores(query)[:, 1:n_items], (query @ expected.T)[:, 1:], **EXACT)
    columns = torch.arange(n_items - 1, 0, -2)
    torch.testing.assert_close(
        table.tile_scores(query, columns, table.trained()), (query @ expected.T)[:, columns], **EXACT
    )
    ours = torch.autograd.grad((table.scores(query) * weight).sum(), table.trained())
    oracle = torch.autograd.grad((query @ expected.T * weight).sum(), table.trained())
    for one, other in zip(ours, oracle, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    assert len(table.to_matrix().unique(dim=0)) == (n_items if has_quotients else min(n_remainders + 1, n_items))


@pytest.mark.parametrize(("hashing", "sizes"), [("modulo", [403]), ("quotient_remainder", [370, 33])])
def test_the_most_rows_at_the_rate(hashing: str, sizes: list[int]) -> None:
    table = HashedEmbedding.from_settings(HashedSettings(30, hashing), 12_102, 128, 0.1)
    assert [len(rows) for rows in table.parameters()] == sizes
    assert table.n_bytes == 4 * 128 * 403
    assert 12_102 / 404 < 30 < table.compression_rate
    assert table.to_matrix().std().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(("hashing", "highest"), [("modulo", 1000), ("quotient_remainder", 1000 / 64)])
def test_a_rate_without_a_table_names_the_highest(hashing: str, highest: float) -> None:
    with pytest.raises(InfeasibleRateError, match=f"hashing={hashing} for 1000 items; at most {highest:.1f}") as error:
        HashedEmbedding.from_settings(HashedSettings(highest + 0.01, hashing), 1000, 8, 0.1)
    assert error.value.highest == highest
    least = HashedEmbedding.from_settings(HashedSettings(highest, hashing), 1000, 8, 0.1)
    assert least.compression_rate == highest


def test_a_shared_row_starts_as_the_mean_of_its_items() -> None:
    matrix = torch.randn(7, 4)
    table = HashedEmbedding(7, 4, 3, has_quotients=False)
    kept = table.fit_(matrix)
    expected = torch.stack([matrix[[3, 6]].mean(0), matrix[[1, 4]].mean(0), matrix[[2, 5]].mean(0)])
    torch.testing.assert_close(table.remainders.detach(), expected)
    assert kept == pytest.approx(1 - ((matrix - table.to_matrix()).square().sum() / matrix.square().sum()).item())


def test_two_tables_start_as_the_best_product_of_each_column() -> None:
    matrix, table = torch.randn(400, 6, dtype=torch.float64), HashedEmbedding(400, 6, 40).double()
    matrix[0] = 0
    kept = table.fit_(matrix)
    singular = torch.linalg.svdvals(matrix.view(10, 40, 6).permute(2, 0, 1)).square()
    of_padding = (table.remainders[0] * table.quotients[0]).square().sum()  # fitted, and read by nobody
    assert kept == pytest.approx(((singular[:, 0].sum() + of_padding) / singular.sum()).item())
    sizes = [rows.square().mean(0) for rows in table.parameters()]
    torch.testing.assert_close(*sizes)


@pytest.mark.parametrize("hashing", HASHINGS)
def test_scores_need_no_row_of_each_item(hashing: str) -> None:
    table, seen = HashedEmbedding.from_settings(HashedSettings(100, hashing), 100_000, 32, 0.1), []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # torch's signature
            out = func(*args, **(kwargs or {}))
            seen.extend(
                one.numel() for one in (out if isinstance(out, tuple) else (out,)) if isinstance(one, torch.Tensor)
            )
            return out

    with Watch(), torch.no_grad():
        table.scores(torch.randn(2, 32))
    assert max(seen) < 2 * 102_000
