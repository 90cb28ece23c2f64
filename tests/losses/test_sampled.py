"""A sampled softmax: the whole one where all is drawn, and the same normaliser and gradient in expectation."""

from __future__ import annotations

import pytest
import torch

from recbole_odrec.losses import AddedScores, catalogue_loss, sampled_loss
from recbole_odrec.nn import TABLES
from recbole_odrec.parsing import parse

N, D, B = 53, 12, 9
EXACT = {"rtol": 1e-10, "atol": 1e-10}
TABLE_CASES = [
    ("tensor_train", {"compression_rate": 1.5, "item_order": "teacher"}),
    ("codes", {"compression_rate": 0.5}),
    ("dense", {}),
    ("dense", {"normalize_items": True}),
    ("rounded", {"compression_rate": 3}),
    ("hashed", {"compression_rate": 2}),
]


@pytest.mark.parametrize(("kind", "settings"), TABLE_CASES)
@pytest.mark.parametrize("n_drawn", [N, 10 * N])
def test_with_every_item_drawn_it_is_the_whole_loss(kind: str, settings: dict, n_drawn: int) -> None:
    table = TABLES[kind].from_settings(parse(TABLES[kind].Settings, settings), N, D, 0.5).double()
    table.arrange_(torch.randn(N, 5, dtype=torch.float64))
    query, values = torch.randn(B, D).double().requires_grad_(), torch.randn(B, 6).double().requires_grad_()
    items = torch.randint(1, N, (B, 6))
    items[:, 3] = items[:, 0]  # twice
    items[0, 5] = 0
    added, pos_items = AddedScores(table.columns_of(items), values), table.columns_of(items[:, 0])
    plain = catalogue_loss(table.raw_scores(query), pos_items, N, table.zero_item, added=added).total
    sampled = sampled_loss(query, table, pos_items, n_drawn, added)
    torch.testing.assert_close(sampled, plain, **EXACT)
    leaves = [query, values, *table.parameters()]
    of_values = torch.ones_like(values)
    of_values[added.items == table.zero_item] = 0  # no column of which anything is learned
    for ours, oracle in zip(torch.autograd.grad(sampled, leaves), torch.autograd.grad(plain, leaves), strict=True):
        kept = of_values if oracle.shape == values.shape else 1
        torch.testing.assert_close(ours * kept, oracle * kept, **EXACT)


def test_the_normaliser_is_right_in_expectation_and_so_is_the_gradient_of_large_samples() -> None:
    torch.manual_seed(0)
    table = TABLES["dense"].from_settings(parse(TABLES["dense"].Settings, {}), 400, D, 0.3).double()
    query, pos_items = torch.randn(B, D).double().requires_grad_(), torch.randint(1, 400, (B,))
    scores = table.raw_scores(query)
    whole = torch.autograd.grad(catalogue_loss(scores * 1, pos_items).total, query, retain_graph=True)[0]
    of_pos = scores.gather(1, pos_items.unsqueeze(1)).squeeze(1).detach()
    row = slice(0, 1)
    normaliser = scores[row].exp().sum().item()
    drawn = [
        (sampled_loss(query[row], table, pos_items[row], 20).detach() + of_pos[0]).exp().item() for _ in range(3000)
    ]
    found = torch.tensor(drawn)
    assert abs(found.mean() - normaliser) < 4 * found.std() / 3000**0.5
    assert found.std() < 0.5 * normaliser

    def error(n_drawn: int) -> float:
        sampled = [torch.autograd.grad(sampled_loss(query, table, pos_items, n_drawn), query)[0] for _ in range(400)]
        return ((torch.stack(sampled).mean(0) - whole).norm() / whole.norm()).item()

    assert error(200) < 0.02
