"""Scores of an item's followers, against loops."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from recbole_odrec.neighbours import followers as counting
from recbole_odrec.neighbours.followers import strongest_followers
from recbole_odrec.neighbours.sessions import TrainingSessions
from recbole_odrec.nn import FollowerScores
from recbole_odrec.nn.followers import REACH, follower_bytes

N, F = 12, 3


class Split:
    """In the place of a data set."""


@pytest.fixture
def followers() -> FollowerScores:
    torch.manual_seed(0)
    found = FollowerScores(N, F, 3.0).double()
    shares = torch.rand(N, F) * torch.tensor([0.5, 0.2, 0.0])  # the third is none
    found.remember(torch.randint(1, N, (N, F)), shares)
    return found


def test_every_addition_equals_the_formula(followers: FollowerScores) -> None:
    item_seq = torch.tensor([[3, 5, 3, 9, 1, 7, 2, 8], [3, 5, 0, 0, 0, 0, 0, 0], [2, 2, 11, 0, 0, 0, 0, 0]])
    last = torch.tensor([7, 1, 2])
    items, values = followers(item_seq, last)
    assert items.shape == values.shape == (3, REACH * F)
    for case, end in enumerate(last.tolist()):
        expected: dict[int, float] = defaultdict(float)
        for t in range(max(0, end - 4), end + 1):
            item = int(item_seq[case, t])
            for f in range(F):
                strength = int(followers.strengths[item, f]) / 255
                if strength:
                    expected[int(followers.items[item, f])] += 3.0 * 0.7 ** (end - t) * strength
        found: dict[int, float] = defaultdict(float)
        for item, value in zip(items[case].tolist(), values[case].tolist(), strict=True):
            found[item] += value
        assert abs(found.pop(0, 0.0)) == 0  # padding gets nothing
        assert found.keys() == expected.keys()
        for item, value in expected.items():
            assert found[item] == pytest.approx(value, rel=1e-12)


def test_strengths_are_logarithms_of_shares_in_eight_bits() -> None:
    followers = FollowerScores(5, 2)
    shares = torch.tensor([[0, 0], [1, 0.25], [0.01, 1e-9], [0.5, 0], [0, 0]])
    followers.remember(torch.tensor([[0, 0], [2, 3], [1, 4], [1, 0], [0, 0]]), shares)
    expected = [[0, 0], [255, round(255 * math.log(26) / math.log(101))], [round(255 * math.log(2) / math.log(101)), 0]]
    assert followers.strengths[:3].tolist() == expected
    assert followers.items.tolist() == [[0, 0], [2, 3], [1, 0], [1, 0], [0, 0]]  # what rounds to nothing is none
    assert followers.n_bytes == 5 * 2 * 3
    assert FollowerScores(2**16 + 1, 2).n_bytes == (2**16 + 1) * 2 * 4
    assert [follower_bytes(n) for n in (2**16, 2**16 + 1, 2**24, 2**24 + 1)] == [3, 4, 4, 5]


def test_followers_are_those_that_a_loop_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    sessions = [rng.integers(1, N, size=rng.integers(2, 9)) for _ in range(60)]
    tokens, lengths = np.concatenate(sessions), np.array(list(map(len, sessions)))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    is_target = np.ones(len(tokens), bool)
    is_target[starts[:-1]] = False
    found = TrainingSessions(tokens, starts, is_target)
    monkeypatch.setattr(counting, "training_sessions", lambda dataset: found)
    items, shares = strongest_followers(Split(), N, F)

    counts = np.zeros((N, N))
    for session in sessions:
        for at in range(1, len(session)):
            for back in range(1, min(at, 10) + 1):
                counts[session[at - back], session[at]] += 1 / back
                counts[session[at], session[at - back]] += 0.5 / back
    np.fill_diagonal(counts, 0)  # an item is not its own follower
    out_weight, in_weight = counts.sum(1), counts.sum(0)
    weights = np.divide(counts, np.sqrt(out_weight)[:, None] * (in_weight**0.3)[None], where=counts > 0, out=counts * 0)
    for item in range(1, N):
        share = weights[item] / weights[item].sum()
        best = sorted(range(N), key=lambda other: (-share[other], other))[:F]
        assert items[item].tolist() == best
        np.testing.assert_allclose(shares[item], share[best], rtol=1e-6)
    assert not items[0].any()
