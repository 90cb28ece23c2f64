from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recbole_odrec.nn import (
    DenseEmbedding,
    GRUEncoder,
    ItemAttentionReadout,
    LastStateReadout,
    SelfAttentionEncoder,
    SoftAttentionReadout,
)
from recbole_odrec.nn.unit_rows import LEAST_LENGTH, unit_rows

EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(3, 6, 8, dtype=torch.float64)


def plain_soft_attention(readout: SoftAttentionReadout, states: torch.Tensor) -> torch.Tensor:
    """Method section 1.3 for one session, position by position."""
    if len(states) == 0:
        return torch.zeros(readout.attention.in_features, dtype=states.dtype)
    w1, w2 = readout.position_weight.weight, readout.session_weight.weight
    c, f = readout.session_weight.bias, readout.attention.weight[0]
    g = states.mean(0)
    return sum(f @ torch.sigmoid(w1 @ torch.tanh(h) + w2 @ g + c) * h for h in states)


def test_soft_attention_equals_the_formula_for_any_mask(hidden: torch.Tensor) -> None:
    readout = SoftAttentionReadout(8, initializer_range=0.5).double()
    torch.nn.init.normal_(readout.session_weight.bias)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    expected = torch.stack([plain_soft_attention(readout, h[m]) for h, m in zip(hidden, mask, strict=True)])
    torch.testing.assert_close(readout(hidden, mask), expected, **EXACT)
    assert torch.equal(readout(hidden, mask)[2], torch.zeros(8, dtype=torch.float64))


def test_item_attention_equals_the_formula(hidden: torch.Tensor) -> None:
    readout = ItemAttentionReadout(8, 7, scale=5.0).double()
    for parameter in (*readout.state.parameters(), readout.query.bias, readout.distance_bias):
        torch.nn.init.normal_(parameter)
    items = torch.randn(3, 6, 8, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[6], [3], [1]])
    result = readout(hidden, mask, items)
    for session, end in enumerate((5, 2, 0)):
        query = readout.query.weight @ hidden[session, end] + readout.query.bias
        logit = [
            query @ (readout.key.weight @ hidden[session, t]) / 8**0.5 + readout.distance_bias[end - t]
            for t in range(end + 1)
        ]
        weight = torch.stack(logit).softmax(0)
        mixed = weight @ items[session, : end + 1] + readout.state.weight @ hidden[session, end] + readout.state.bias
        torch.testing.assert_close(result[session], readout.log_scale.exp() * mixed / mixed.norm(), **EXACT)


@pytest.mark.parametrize("readout", [SoftAttentionReadout(8, 0.5), ItemAttentionReadout(8, 6), LastStateReadout()])
def test_every_prefix_equals_reading_out_each_prefix(readout: torch.nn.Module, hidden: torch.Tensor) -> None:
    readout, items = readout.double(), torch.randn(3, 6, 8, dtype=torch.float64)
    together = readout.every_prefix(hidden, items)
    for end in range(1, 7):
        mask = torch.arange(6).expand(3, 6) < end
        torch.testing.assert_close(together[:, end - 1], readout(hidden, mask, items), **EXACT)


def test_last_state_of_an_empty_session_is_zero(hidden: torch.Tensor) -> None:
    assert torch.equal(LastStateReadout()(hidden, torch.zeros(3, 6, dtype=torch.bool)), torch.zeros(3, 8).double())


@pytest.mark.parametrize("encoder", [SelfAttentionEncoder(8, 6, n_heads=2, n_layers=2), GRUEncoder(8)])
def test_a_position_sees_its_past_and_nothing_else(encoder: torch.nn.Module, hidden: torch.Tensor) -> None:
    encoder = encoder.double().eval()
    whole = encoder(hidden)
    for end in range(1, 7):
        torch.testing.assert_close(encoder(hidden[:, :end]), whole[:, :end], rtol=1e-9, atol=1e-12)
    changed = hidden.clone()
    changed[:, 3] = torch.randn(3, 8)
    difference = (encoder(changed) - whole).abs().amax((0, 2))
    assert (difference[:3] == 0).all()
    assert (difference[3:] > 1e-6).all()


def test_feed_forward_may_be_wider_than_the_embedding() -> None:
    """The released code's feed-forward part only runs with inner_size == hidden_size."""
    assert SelfAttentionEncoder(8, 6, inner_size=32)(torch.randn(2, 6, 8)).shape == (2, 6, 8)


def test_dense_table_scores_are_the_plain_product() -> None:
    table = DenseEmbedding(10, 4, std=0.5)
    query = torch.randn(3, 4)
    torch.testing.assert_close(table.scores(query), query @ table.to_matrix().T)
    assert torch.equal(table(torch.tensor([0])), torch.zeros(1, 4))


def test_normalised_table_scores_by_direction_alone_in_every_path() -> None:
    table, query, ids = DenseEmbedding(10, 4, std=0.5, is_normalized=True), torch.randn(3, 4), torch.tensor([3, 0, 9])
    rows = torch.stack([row / row.norm() if row.any() else row for row in table.weight])
    torch.testing.assert_close(table(ids), rows[ids])
    torch.testing.assert_close(table.to_matrix(), rows)
    for scores in (table.scores(query), table.raw_scores(query), table.frozen().scores(query)):
        torch.testing.assert_close(scores, query @ rows.T)
    before = table.scores(query)
    table.weight.data[5] *= 7
    torch.testing.assert_close(table.scores(query), before)


def test_table_dropout_is_of_entries_that_score_in_training_and_rows_keep_their_length() -> None:
    table, identity = DenseEmbedding(500, 16, std=0.5, is_normalized=True, dropout=0.25), torch.eye(16)
    torch.testing.assert_close(table(torch.arange(500)), table.to_matrix())  # what is read is whole
    rows = table.raw_scores(identity).T[1:]
    assert 0.23 < (rows == 0).float().mean() < 0.27
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(499))
    torch.testing.assert_close(table.eval().raw_scores(identity).T, table.to_matrix())


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_unit_rows_and_their_gradient_are_those_of_the_plain_formula(
    dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_odrec.nn.unit_rows._CPU_BLOCK", 64)  # blocks of 9 rows, the last one short
    table = torch.randn(50, 7, dtype=torch.float64).mul_(3)
    table[0], table[1] = 1e-9, 1e-5  # neither is brought to length one
    gradient = torch.randn(50, 7, dtype=torch.float64)
    fast, plain = table.clone().requires_grad_(), table.clone().requires_grad_()
    rows = unit_rows(fast, dropout)
    left = rows != 0
    expected = F.normalize(plain * left, dim=1, eps=LEAST_LENGTH)
    torch.testing.assert_close(rows, expected, **EXACT)
    rows.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(fast.grad, plain.grad, **EXACT)
    assert left.all() if dropout == 0 else 0.6 < left.double().mean() < 0.8


def test_unit_rows_keep_an_entry_now_and_then_at_the_largest_dropout() -> None:
    kept = (unit_rows(torch.ones(1000, 100), 0.9999) != 0).float().mean()
    assert 0.003 < kept < 0.005  # one in 256
