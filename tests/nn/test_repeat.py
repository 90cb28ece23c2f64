"""Repeat scores position by position."""

from __future__ import annotations

import math

import torch

from recbole_odrec.nn import RepeatScores


def test_every_case_equals_the_formula_and_nothing_lies_behind_its_end() -> None:
    torch.manual_seed(0)
    repeat = RepeatScores(8, 6).double()
    for parameter in repeat.parameters():
        torch.nn.init.normal_(parameter)
    hidden = torch.randn(3, 5, 8, dtype=torch.float64)
    row, last = torch.tensor([0, 2, 2, 1]), torch.tensor([4, 0, 3, 2])
    added = repeat(hidden, row, last)
    for case in range(4):
        states, end = hidden[row[case]], int(last[case])
        for t in range(5):
            query = repeat.query.weight @ states[end] + repeat.query.bias
            match = query @ (repeat.key.weight @ states[t]) / math.sqrt(8)
            level = repeat.level.weight[0] @ states[end] + repeat.level.bias[0]
            expected = level + repeat.distance_bias[end - t] + match if t <= end else torch.tensor(0.0).double()
            torch.testing.assert_close(added[case, t], expected, rtol=1e-10, atol=1e-12)


def test_it_starts_without_effect_and_can_learn_everything() -> None:
    repeat = RepeatScores(8, 6)
    hidden, row, last = torch.randn(2, 4, 8), torch.tensor([0, 1]), torch.tensor([3, 1])
    assert torch.equal(repeat(hidden, row, last), torch.zeros(2, 4))
    for _ in range(2):  # the keys have a gradient once the queries have moved
        repeat.zero_grad()
        (repeat(hidden, row, last) - 1).square().sum().backward()
        with torch.no_grad():
            for parameter in repeat.parameters():
                parameter -= 0.1 * parameter.grad
    assert all(parameter.grad.abs().sum() > 0 for parameter in repeat.parameters())
