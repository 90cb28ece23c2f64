"""Product codes against a table decoded by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_odrec.nn import ProductCodesEmbedding
from recbole_odrec.nn.tables.codes import CodesSettings
from recbole_odrec.parsing import parse

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def decoded(table: ProductCodesEmbedding) -> torch.Tensor:
    """Row by row, code by code, with codebooks rounded to 8 bits by the definition."""
    books = table.codebooks
    rows = []
    for item in range(table.n_items):
        parts = []
        for m in range(table.n_codes):
            step = books[m].detach().abs().max() / 127
            entry = books[m, int(table.codes[item, m])]
            parts.append(entry + (torch.round(entry / step) * step - entry).detach())
        rows.append(torch.cat(parts) * (item != table.padding_idx))
    return torch.stack(rows)


@settings(max_examples=25, deadline=None)
@given(n_items=st.integers(2, 40), n_codes=st.sampled_from([1, 2, 3, 6]), n_queries=st.sampled_from([1, 3, 20]))
def test_every_path_equals_the_table_decoded_by_hand(n_items: int, n_codes: int, n_queries: int) -> None:
    torch.manual_seed(n_items)
    table = ProductCodesEmbedding(n_items, 12, n_codes, std=0.7).double()
    expected = decoded(table)
    torch.testing.assert_close(table.to_matrix(), expected, **EXACT)
    ids = torch.randint(n_items, (2, 5))
    torch.testing.assert_close(table(ids), expected[ids], **EXACT)
    query = torch.randn(n_queries, 12, dtype=torch.float64)
    torch.testing.assert_close(table.scores(query), query @ expected.T, **EXACT)  # looked up, or by blocks from 16 on
    raw = table.raw_scores(query)
    torch.testing.assert_close(raw[:, 1:], (query @ expected.T)[:, 1:], **EXACT)
    weight = torch.randn(n_queries, n_items, dtype=torch.float64)
    (ours,) = torch.autograd.grad((table.scores(query) * weight).sum(), table.codebooks)
    (oracle,) = torch.autograd.grad(((query @ expected.T) * weight).sum(), table.codebooks)
    torch.testing.assert_close(ours, oracle, **EXACT)


def test_fitted_codes_keep_clustered_vectors_and_most_of_others() -> None:
    centres = torch.randn(50, 8)
    matrix = centres[torch.arange(400) % 50]
    matrix[0] = 0
    table = ProductCodesEmbedding(400, 8, n_codes=2)
    assert table.fit_(matrix) > 0.999  # what is left is 8-bit rounding
    torch.testing.assert_close(table.to_matrix(), matrix, rtol=0, atol=0.02)
    spread = torch.randn(2000, 8)
    spread[0] = 0
    few, many = (ProductCodesEmbedding(2000, 8, n_codes=m) for m in (2, 4))
    assert 0.5 < few.fit_(spread) < many.fit_(spread) < 1


def test_assigned_codes_are_the_nearest_entries() -> None:
    table, matrix = ProductCodesEmbedding(300, 12, 3).double(), torch.randn(300, 12, dtype=torch.float64)
    table.assign_(matrix)
    books = table.rounded_codebooks().detach()
    expected = torch.stack([torch.cdist(matrix[:, 4 * m : 4 * m + 4], books[m]).argmin(1) for m in range(3)], 1)
    assert torch.equal(table.codes.long(), expected)


def test_a_latent_table_gets_the_gradient_of_the_rows_and_changes_no_number() -> None:
    table, query = ProductCodesEmbedding(40, 12, 3, std=0.5).double(), torch.randn(5, 12, dtype=torch.float64)
    ids, weight = torch.tensor([[3, 7], [7, 0]]), torch.randn(5, 40, dtype=torch.float64)
    weight[:, 0] = 0  # the padding column is the loss's to ignore

    def run() -> tuple[list[torch.Tensor], torch.Tensor]:
        outputs = [table.raw_scores(query), table(ids)]
        value = (outputs[0] * weight).sum() + outputs[1].square().sum()
        return outputs, value

    plain, value = run()
    (of_books,) = torch.autograd.grad(value, table.codebooks)
    rows = table.to_matrix().detach().requires_grad_()
    (of_rows,) = torch.autograd.grad((query @ rows.T * weight).sum() + rows[ids].square().sum(), rows)
    latent = torch.randn(40, 12, dtype=torch.float64, requires_grad=True)
    table.follow(latent)
    followed, value = run()
    ours, of_latent = torch.autograd.grad(value, [table.codebooks, latent])
    for first, second in zip(plain, followed, strict=True):
        assert torch.equal(first, second)
    torch.testing.assert_close(ours, of_books, **EXACT)
    torch.testing.assert_close(of_latent, of_rows, **EXACT)
    assert set(table.state_dict()) == {"codes", "codebooks"}


def test_the_rate_counts_every_byte() -> None:
    table = ProductCodesEmbedding.from_compression_rate(40_728, 128, 30)
    assert table.n_codes == 16
    assert table.n_bytes == 40_728 * 16 + 256 * 128 + 4 * 16
    assert table.compression_rate == pytest.approx(4 * 40_728 * 128 / table.n_bytes)
    assert 30 <= table.compression_rate < 31
    assert ProductCodesEmbedding.from_compression_rate(40_728, 128, 100).n_codes == 4
    for n_followers, n_codes in ((0, 16), (1, 8), (2, 8), (3, 4)):  # of 17 bytes, a follower takes three
        asked = parse(CodesSettings, {"n_followers": n_followers})
        assert ProductCodesEmbedding.from_settings(asked, 40_728, 128, 0.1).n_codes == n_codes


def test_what_cannot_be_coded_is_refused() -> None:
    with pytest.raises(ValueError, match="n_codes=5 must divide embedding_dim=12"):
        ProductCodesEmbedding(10, 12, 5)
    with pytest.raises(ValueError, match=r"compression_rate=1000 cannot be reached .* at most \d"):
        ProductCodesEmbedding.from_compression_rate(2000, 64, 1000)
    with pytest.raises(ValueError, match=r"the codebooks alone weigh 16384 bytes, followers 12000; at most 16\.8\."):
        ProductCodesEmbedding.from_compression_rate(2000, 64, 1000, 12_000)
    with pytest.raises(ValueError, match=r"matrix \(10, 8\), expected \(10, 12\)"):
        ProductCodesEmbedding(10, 12, 3).fit_(torch.zeros(10, 8))
