"""Windows hold each training case once, with at least half the maximum of its history, and give the same loss."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from recbole_odrec.config import make_config
from recbole_odrec.data.case_runs import CaseRuns
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.session_jumps import SessionJumps
from recbole_odrec.data.window_loader import NEXT_ITEMS, SessionWindowLoader
from recbole_odrec.model import GRU4RecTeacher, ODRec, SASRecTeacher
from recbole_odrec.neighbours.followers import keep_followers


def cases(loader: SessionWindowLoader) -> list[tuple[tuple[int, ...], int]]:
    """Every (history, next item) in one pass."""
    found = []
    for batch in loader:
        for items, next_items in zip(batch["item_id_list"].tolist(), batch[NEXT_ITEMS].tolist(), strict=True):
            found += [(tuple(items[: i + 1]), n) for i, n in enumerate(next_items) if n]
    return found


def rows(dataset: SessionDataset) -> list[tuple[tuple[int, ...], int]]:
    batch = dataset[torch.arange(len(dataset))]
    lists, lengths, items = (batch[f].tolist() for f in ("item_id_list", "item_length", "item_id"))
    return [(tuple(history[:n]), item) for history, n, item in zip(lists, lengths, items, strict=True)]


@pytest.mark.parametrize("longest", [1, 2, 5, 20, 1000])
def test_each_case_once_with_enough_of_its_history(small_config, longest: int) -> None:
    config = small_config(MAX_ITEM_LIST_LENGTH=longest)
    train = SessionDataset(config).build()[0]
    found, expected = sorted(cases(SessionWindowLoader(config, train))), rows(train)
    assert len(found) == len(expected)
    # A window's history is the recent part of the row's; match them by next item and that recent part.
    by_item: dict[int, list[tuple[int, ...]]] = {}
    for history, item in expected:
        by_item.setdefault(item, []).append(history)
    for history, item in sorted(found, key=lambda case: -len(case[0])):
        match = next(h for h in by_item[item] if h[-len(history) :] == history)
        by_item[item].remove(match)
        assert len(history) >= min(len(match), max(longest - longest // 2, 1))
        assert len(history) <= longest
    assert not any(by_item.values())


def test_short_sessions_are_their_own_windows_with_exactly_recboles_cases(small_config) -> None:
    config = small_config(MAX_ITEM_LIST_LENGTH=1000)
    train = SessionDataset(config).build()[0]
    loader = SessionWindowLoader(config, train)
    assert sorted(cases(loader)) == sorted(rows(train))
    assert sum(len(batch) for batch in loader) == 120


def test_benchmark_prefixes_keep_exactly_their_most_recent_items(benchmark_settings: dict) -> None:
    config = make_config("ODRec", "ml-sessions", config_dict={**benchmark_settings, "MAX_ITEM_LIST_LENGTH": 9})
    train = SessionDataset(config).build()[0]
    assert sorted(cases(SessionWindowLoader(config, train))) == sorted(rows(train))


def test_skipped_items_leave_true_cases_in_their_order(small_config) -> None:
    config = small_config(item_skip_prob=0.5, MAX_ITEM_LIST_LENGTH=1000)
    train = SessionDataset(config).build()[0]
    beginnings = {history for history, _ in rows(train)}
    longest = [s for s in ((*history, item) for history, item in rows(train)) if s not in beginnings]
    loader = SessionWindowLoader(config, train)
    n_kept = 0
    for batch in loader:
        last = batch["item_length"] - 1
        every = torch.arange(len(last))
        assert torch.equal(batch[NEXT_ITEMS][every, last], batch["item_id"])  # the last item is never skipped
        assert torch.equal((batch["item_id_list"] > 0).sum(1), batch["item_length"])
        for items, next_items in zip(batch["item_id_list"].tolist(), batch[NEXT_ITEMS].tolist(), strict=True):
            pairs = [(i, n) for i, n in zip(items, next_items, strict=True) if i]
            n_kept += len(pairs)
            session = next(s for s in longest if s[-1] == pairs[-1][1] and set(items) - {0} <= set(s))
            followed_by = list(pairwise(session))
            positions = [followed_by.index(pair) for pair in pairs]
            assert positions == sorted(positions)
    assert 0.45 < n_kept / loader.n_cases < 0.55


def test_jumps_go_where_another_session_holds_the_item(small_config) -> None:
    """Every pair of a walk is a pair of the data; none of what training may not see; sessions that never were."""
    config = small_config(session_jump_prob=0.5, MAX_ITEM_LIST_LENGTH=1000)
    train = SessionDataset(config).build()[0]
    true_rows = set(rows(train))
    true_pairs = {(history[-1], item) for history, item in true_rows}
    loader = SessionWindowLoader(config, train)
    found = cases(loader)
    assert {(history[-1], item) for history, item in found} <= true_pairs
    assert 0.9 < len(found) / len(true_rows) <= 1  # a walk may end early
    assert sum(case not in true_rows for case in found) > 0.5 * len(found)
    for batch in loader:
        last = batch["item_length"] - 1
        assert torch.equal(batch[NEXT_ITEMS][torch.arange(len(last)), last], batch["item_id"])
        assert torch.equal((batch["item_id_list"] > 0).sum(1), batch["item_length"])
        walks = zip(batch["item_id_list"].tolist(), last.tolist(), batch["item_id"].tolist(), strict=True)
        assert all({*pairwise((*items[: n + 1], item))} <= true_pairs for items, n, item in walks)


def test_a_jump_takes_each_place_of_an_item_alike() -> None:
    """Three sessions hold item 1, followed by 2, 3 and 4; nothing follows those."""
    tokens = np.array([1, 2, 1, 3, 1, 4], np.int32)
    starts = np.array([0, 2, 4])
    jumps = SessionJumps(tokens, CaseRuns(starts, starts + 1, starts + 1), prob=0.6)
    positions = jumps.walk(np.zeros(30_000, np.int64), 2, torch.Generator().manual_seed(0))
    assert (positions[:, 2] == -1).all()
    shares = np.bincount(tokens[positions[:, 1]], minlength=5)[2:] / 30_000
    np.testing.assert_allclose(shares, [0.4 + 0.2, 0.2, 0.2], atol=0.01)


def test_order_follows_the_generator(small_config) -> None:
    config = small_config()
    loader = SessionWindowLoader(config, SessionDataset(config).build()[0])

    def order(seed: int) -> list[tuple]:
        loader.generator.manual_seed(seed)
        return cases(loader)

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == sorted(order(2))


def test_batches_hold_the_cases_asked_for(small_config) -> None:
    config = small_config(train_batch_size=300)
    loader = SessionWindowLoader(config, SessionDataset(config).build()[0])
    sizes = [int((batch[NEXT_ITEMS] > 0).sum()) for batch in loader]
    assert len(sizes) == len(loader)
    assert sum(sizes) == loader.n_cases
    assert max(sizes) < 300 + 20  # the last window of a batch may reach over by less than its length


@pytest.mark.parametrize("settings", [{}, {"readout": "item_attention", "repeat_scores": True, "n_followers": 3}])
@pytest.mark.parametrize("model_class", [SASRecTeacher, GRU4RecTeacher, ODRec])
def test_loss_and_gradient_equal_those_of_prefix_rows(small_config, model_class: type, settings: dict) -> None:
    """One pass over a session equals a pass for each of its prefixes: float64, no dropout."""
    config = small_config(model_class.__name__, MAX_ITEM_LIST_LENGTH=1000, train_batch_size=100_000, **settings)
    train = SessionDataset(config).build()[0]
    model = model_class(config, train).double().eval()
    if model.repeat is not None:
        torch.nn.init.normal_(model.repeat.query.weight)
    keep_followers(model, train)  # which training leaves out
    windows = next(iter(SessionWindowLoader(config, train)))
    windows = windows[windows["item_length"] <= 25]
    assert len(windows) >= 10
    for field in ("item_id_list", NEXT_ITEMS):
        windows.interaction[field] = windows[field][:, :25]
    prefix_rows = [
        (items[: i + 1], n)
        for items, next_items in zip(windows["item_id_list"], windows[NEXT_ITEMS], strict=True)
        for i, n in enumerate(next_items)
        if n
    ]
    item_seq = torch.nn.utils.rnn.pad_sequence([items for items, _ in prefix_rows], batch_first=True)
    pos_items = torch.stack([n for _, n in prefix_rows])
    plain = F.cross_entropy(model.scores_of(item_seq, model.item_table(item_seq)), pos_items)
    fast = model.calculate_loss(windows)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=0)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for got, expected in zip(
        torch.autograd.grad(fast, parameters, allow_unused=True),
        torch.autograd.grad(plain, parameters, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-12)
