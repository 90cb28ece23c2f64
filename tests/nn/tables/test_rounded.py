"""Few columns in few bits, against integers worked out one by one."""

from __future__ import annotations

import pytest
import torch

from recbole_odrec.errors import InfeasibleRateError
from recbole_odrec.nn.tables.rounded import STEPS, RoundedEmbedding, RoundedSettings

EXACT = {"rtol": 1e-10, "atol": 1e-12}
D = 12


def integers_one_by_one(table: RoundedEmbedding) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers and steps by the definition, number by number."""
    most, weight = {8: 127, 4: 7}[table.bits], table.weight.detach()
    steps = [STEPS[table.bits] * (sum(x * x for x in column) / len(column)) ** 0.5 for column in weight.T.tolist()]
    rows = [[max(-most, min(most, round(x / s))) for x, s in zip(row, steps, strict=True)] for row in weight.tolist()]
    return weight.new_tensor(rows), weight.new_tensor(steps)


def projection_one_by_one(table: RoundedEmbedding) -> torch.Tensor:
    """By the definition: 255 even levels between a row's largest number and its negative."""
    rows = table.projection.detach()
    steps = [max(abs(x) for x in row) / 127 for row in rows.tolist()]
    return rows.new_tensor([[round(x / s) * s for x in row] for row, s in zip(rows.tolist(), steps, strict=True)])


@pytest.mark.parametrize("bits", [8, 4])
def test_every_path_equals_the_integers_times_their_steps(bits: int) -> None:
    table = RoundedEmbedding(40, D, 6, bits, std=0.5).double()
    with torch.no_grad():
        table.weight[3] *= 9  # beyond the last level
    integers, steps = integers_one_by_one(table)
    assert integers[3].abs().max() == {8: 127, 4: 7}[bits]
    assert torch.equal(table.integers(table.weight), integers)
    assert torch.equal(table.integers(table.weight[5:9]), integers[5:9])  # in the steps of all
    # The gradient of what was rounded is that of its value.
    values = (integers * steps).requires_grad_()
    projection = projection_one_by_one(table).requires_grad_()
    query = torch.randn(5, D, dtype=torch.float64, requires_grad=True)
    expected = values @ projection * (torch.arange(40) != 0).unsqueeze(1)
    weight, columns, ids = torch.randn(5, 40, dtype=torch.float64), torch.tensor([7, 3, 30]), torch.tensor([[3, 0, 39]])
    torch.testing.assert_close(table.to_matrix(), expected, **EXACT)
    torch.testing.assert_close(table(ids), expected[ids], **EXACT)
    torch.testing.assert_close(table.raw_scores(query)[:, 1:], (query @ expected.T)[:, 1:], **EXACT)
    tile = table.tile_scores(query, columns, table.tile_of(table.trained(), columns))
    torch.testing.assert_close(tile, (query @ expected.T)[:, columns], **EXACT)
    ours = torch.autograd.grad((table.scores(query) * weight).sum(), [table.weight, table.projection, query])
    oracle = torch.autograd.grad((query @ expected.T * weight).sum(), [values, projection, query])
    for one, other in zip(ours, oracle, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("bits", [8, 4])
def test_no_other_step_loses_less_of_a_normal_column(bits: int) -> None:
    values, most = torch.randn(200_000, dtype=torch.float64), 2 ** (bits - 1) - 1

    def lost(step: float) -> float:
        return ((values / step).round().clamp(-most, most) * step - values).square().mean().item()

    assert lost(STEPS[bits]) < min(lost(0.9 * STEPS[bits]), lost(1.1 * STEPS[bits]))


@pytest.mark.parametrize(("bits", "n_columns"), [(8, 16), (4, 32)])
def test_the_most_columns_at_the_rate(bits: int, n_columns: int) -> None:
    table = RoundedEmbedding.from_settings(RoundedSettings(30, bits), 12_102, 128, 0.1)
    assert table.weight.shape == (12_102, n_columns)
    assert table.n_bytes == 12_102 * n_columns * bits // 8 + 128 * n_columns + 2 * 4 * n_columns
    more = n_columns + 8 // bits
    assert table.compression_rate >= 30 > 4 * 12_102 * 128 / (more * (12_102 * bits / 8 + 128 + 8))
    assert table.to_matrix().std().item() == pytest.approx(0.1, rel=0.05)


def test_followers_share_the_bytes_of_the_rate() -> None:
    table = RoundedEmbedding.from_settings(RoundedSettings(30, 4, n_followers=2), 12_102, 128, 0.1)
    assert table.weight.shape == (12_102, 20)  # 32 without
    rates = [4 * 12_102 * 128 / (n * (12_102 / 2 + 128 + 8) + 12_102 * 2 * 3) for n in (20, 22)]
    assert rates[0] >= 30 > rates[1]
    with pytest.raises(InfeasibleRateError, match=r"and 72612 bytes of followers; at most 72\.9"):
        RoundedEmbedding.from_settings(RoundedSettings(90, 4, n_followers=2), 12_102, 128, 0.1)


def test_what_cannot_be_rounded_is_refused() -> None:
    for bits, highest in ((8, 30 * 4 * 12 / (30 + 20)), (4, 30 * 4 * 12 / (30 + 40))):
        with pytest.raises(InfeasibleRateError, match=f"columns of {bits} bits .* at most {highest:.1f}") as error:
            RoundedEmbedding.from_settings(RoundedSettings(30, bits), 30, D, 0.1)
        assert error.value.highest == pytest.approx(highest)
        made = RoundedEmbedding.from_settings(RoundedSettings(error.value.highest, bits), 30, D, 0.1)
        assert made.weight.shape == (30, 8 // bits)
    with pytest.raises(ValueError, match="n_columns=3, expected an even number of 4 bits"):
        RoundedEmbedding(30, D, 3, 4)


def test_it_starts_as_the_best_few_columns() -> None:
    matrix = torch.randn(3000, D) @ torch.diag(torch.linspace(1, 0.1, D)) @ torch.linalg.qr(torch.randn(D, D))[0]
    matrix[0] = 0
    singular = torch.linalg.svdvals(matrix).square()
    kept = {bits: RoundedEmbedding(3000, D, 4, bits).fit_(matrix) for bits in (8, 4)}
    best = (singular[:4].sum() / singular.sum()).item()
    assert best - 1e-3 < kept[8] <= best + 1e-6
    assert best - 0.02 < kept[4] < kept[8]  # a normal variable loses 1.2 % to 15 levels
    assert kept[8] < RoundedEmbedding(3000, D, 8, 4).fit_(matrix)  # of the same bytes


def test_the_side_a_direction_points_to_is_not_left_to_the_last_bits() -> None:
    """Both are the longest; of several processes, whose sums round otherwise, one would keep other numbers."""
    table = RoundedEmbedding(60, D, 8)
    table.fit_(torch.randn(60, D, generator=torch.Generator().manual_seed(3)))
    largest = table.projection.abs().argmax(1, keepdim=True)
    assert (table.projection.gather(1, largest) > 0).all()
