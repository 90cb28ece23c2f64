from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recbole_odrec.nn.unit_rows import LEAST_LENGTH, kept_entries, kept_rows, unit_rows

EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_unit_rows_and_their_gradient_are_those_of_the_plain_formula(
    dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_odrec.nn.unit_rows._CPU_BLOCK", 64)  # blocks of 9 rows, the last one short
    table = torch.randn(50, 7, dtype=torch.float64).mul_(3)
    table[0], table[1] = 1e-9, 1e-5  # neither is brought to length one
    gradient = torch.randn(50, 7, dtype=torch.float64)
    fast, plain = table.clone().requires_grad_(), table.clone().requires_grad_()
    rows = unit_rows(fast, kept_entries(fast, dropout))
    left = rows != 0
    expected = F.normalize(plain * left, dim=1, eps=LEAST_LENGTH)
    torch.testing.assert_close(rows, expected, **EXACT)
    rows.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(fast.grad, plain.grad, **EXACT)
    assert left.all() if dropout == 0 else 0.6 < left.double().mean() < 0.8


def test_unit_rows_keep_an_entry_now_and_then_at_the_largest_dropout() -> None:
    ones = torch.ones(1000, 100)
    kept = (unit_rows(ones, kept_entries(ones, 0.9999)) != 0).float().mean()
    assert 0.003 < kept < 0.005  # one in 256


def test_rows_of_any_length_keep_their_mean() -> None:
    torch.manual_seed(0)
    table = torch.full((1000, 50), 3.0)
    rows = kept_rows(table, kept_entries(table, 0.25), 0.25)
    assert rows.unique().tolist() == [0, 4]  # 3 / 0.75
    assert abs(rows.mean() - 3) < 0.03
    assert kept_rows(table, kept_entries(table, 0.0), 0.0) is table
