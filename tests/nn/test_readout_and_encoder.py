from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from recbole_odrec.errors import UserError
from recbole_odrec.nn import (
    ENCODERS,
    READOUTS,
    ItemAttentionReadout,
    LastStateReadout,
    Readout,
    SelfAttentionEncoder,
    SoftAttentionReadout,
)
from recbole_odrec.parsing import parse

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


@pytest.mark.parametrize("name", READOUTS)
def test_every_prefix_equals_reading_out_each_prefix(name: str, hidden: torch.Tensor) -> None:
    readout = READOUTS[name].from_settings(READOUTS[name].Settings(), 8, 6, 0.5).double()
    items = torch.randn(3, 6, 8, dtype=torch.float64)
    together = readout.every_prefix(hidden, items)
    torch.testing.assert_close(Readout.every_prefix(readout, hidden, items), together, **EXACT)  # what others inherit
    for end in range(1, 7):
        mask = torch.arange(6).expand(3, 6) < end
        torch.testing.assert_close(together[:, end - 1], readout(hidden, mask, items), **EXACT)


def test_last_state_of_an_empty_session_is_zero(hidden: torch.Tensor) -> None:
    assert torch.equal(LastStateReadout()(hidden, torch.zeros(3, 6, dtype=torch.bool)), torch.zeros(3, 8).double())


@pytest.mark.parametrize(
    ("name", "settings"),
    [("sasrec", {}), ("sasrec", {"n_heads": 2, "n_layers": 2}), ("gru", {}), ("gru", {"n_layers": 2})],
)
def test_a_position_sees_its_past_and_nothing_else(name: str, settings: dict, hidden: torch.Tensor) -> None:
    encoder = ENCODERS[name].from_settings(parse(ENCODERS[name].Settings, settings), 8, 6, 0.3).double().eval()
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


@pytest.mark.parametrize(
    ("known", "name", "settings", "message"),
    [
        (ENCODERS, "sasrec", {"n_heads": 3}, "n_heads=3, expected a divisor of hidden_size=8."),
        (ENCODERS, "sasrec", {"n_layers": 0}, "n_layers=0, expected a whole number of at least 1."),
        (ENCODERS, "sasrec", {"inner_size": 1.5}, "inner_size=1.5, expected a whole number."),
        (ENCODERS, "sasrec", {"attn_dropout_prob": 1}, "attn_dropout_prob=1, expected a number in [0, 1)."),
        (ENCODERS, "gru", {"hidden_dropout_prob": -0.1}, "hidden_dropout_prob=-0.1, expected a number in [0, 1)."),
        (ENCODERS, "sasrec", {"n_layers": 10**9}, "n_layers=1000000000, expected at most 1000."),
        (ENCODERS, "gru", {"n_layers": 10**9}, "n_layers=1000000000, expected at most 1000."),
        (ENCODERS, "gru", {"n_layers": True}, "n_layers=True, expected a whole number."),
        (READOUTS, "item_attention", {"item_dropout_prob": 1.0}, "item_dropout_prob=1.0, expected a number in [0, 1)."),
    ],
)
def test_bad_settings_are_refused_with_what_is_expected(known: dict, name: str, settings: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        known[name].from_settings(parse(known[name].Settings, settings), 8, 6, 0.02)
    assert str(error.value) == message


@pytest.mark.parametrize("part", [*ENCODERS.values(), *READOUTS.values()])
def test_every_key_says_what_it_means(part: type) -> None:
    assert all(field.metadata["meaning"].endswith(".") for field in fields(part.Settings))
