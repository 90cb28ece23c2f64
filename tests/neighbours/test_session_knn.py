"""Session kNN against the plain loop of its papers, on ml-100k's first users."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data import create_dataset

from recbole_odrec.config import make_config
from recbole_odrec.neighbours.sessions import once_each, training_sessions
from recbole_odrec.registry import model_class

KEYS = {"n_neighbours": 7, "n_candidates": 30}


def counted(model: str, small_data: Any, **keys: object) -> tuple[Any, Any]:
    values = {"state": "ERROR", "data_path": str(small_data), **keys}
    config = make_config(model, "ml-small", config_dict=values)
    split = create_dataset(config).build()[0]
    found = model_class(model)(config, split)
    found.fit_(split)
    return found, split


def loop(model: str, sessions: list[list[int]], session: list[int], n_items: int) -> np.ndarray:
    """Strengths of every item."""
    last = {item: position for position, item in enumerate(session, 1)}
    steps = {item: len(session) - position + 1 for item, position in last.items()}
    similar = []
    for number, other in enumerate(sessions):
        shared = sorted(steps.keys() & set(other), key=steps.__getitem__)
        if not shared:
            continue
        if model == "VSKNN":
            similarity = sum(last[item] / len(session) for item in shared)
        else:
            similarity = sum(math.exp(-(steps[item] - 1) / 1.02) for item in shared) / math.sqrt(len(other))
        similar.append((similarity, number, shared[0]))
    similar = similar[-30:]
    similar.sort(key=lambda entry: (-round(entry[0], 9), -entry[1]))
    of_item = defaultdict(int)
    for other in sessions:
        for item in other:
            of_item[item] += 1
    strengths = np.zeros(n_items)
    for similarity, number, shared in similar[:7]:
        other, step = sessions[number], steps[shared]
        for place, item in enumerate(other):
            if model == "VSKNN":
                strengths[item] += similarity / step
                continue
            away = abs(place - other.index(shared))
            rarity = 1 + 5 * math.log(len(sessions) / of_item[item])
            strengths[item] += similarity * math.exp(-(step - 1) / 1.02) * math.exp(-away / 2.05) * rarity
    return strengths


@pytest.mark.parametrize("name", ["VSKNN", "VSTAN"])
def test_strengths_are_those_of_a_loop(name, small_data, monkeypatch) -> None:
    monkeypatch.setattr("recbole_odrec.neighbours.session_knn._MATCHES_AT_ONCE", 500)  # blocks of a few sessions
    model, split = counted(name, small_data, **KEYS)
    found = once_each(training_sessions(split))
    sessions = [part.tolist() for part in np.split(found.tokens, found.starts[1:-1])]
    rows = split[torch.arange(0, len(split), 97)]["item_id_list"]
    rows[3, :4] = rows[3, 0]  # an item four times
    expected = [loop(name, sessions, row[row != 0].tolist(), split.item_num) for row in rows]
    assert len(rows) > 50
    np.testing.assert_allclose(model.strengths(rows.numpy()).toarray(), expected, rtol=1e-9, atol=1e-12)


def test_newer_sessions_count_among_equally_similar_ones(small_data) -> None:
    model, _ = counted("VSKNN", small_data, n_neighbours=1, n_candidates=2)
    model.remember(first_of_session=np.array([0, 2, 4, 6]), items=np.array([1, 2, 1, 3, 4, 5]))
    assert model.strengths(np.array([[1, 0]])).nonzero()[1].tolist() == [1, 3]


def test_an_item_that_no_session_has_leaves_popularity(small_data) -> None:
    model, _ = counted("VSTAN", small_data)
    model.remember(first_of_session=np.array([0, 2]), items=np.array([1, 2]))
    scores = model.full_sort_predict({"item_id_list": torch.tensor([[5, 0]])})[0]
    torch.testing.assert_close(scores, model.item_table.weight[:, 0])
