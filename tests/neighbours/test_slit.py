"""The linear model against the dense formula of ridge regression over the training cases of ml-100k's first users."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from recbole.data import create_dataset

from recbole_odrec.neighbours.ridge import ridge
from recbole_odrec.neighbours.sessions import training_sessions
from recbole_odrec.neighbours.slit import histories

RECENCY, DISTANCE, PENALTY = 0.6, 5, 3.0


@pytest.fixture
def split(small_config) -> Any:
    return create_dataset(small_config("SASRecTeacher")).build()[0]


@pytest.fixture
def cases(split) -> tuple[np.ndarray, np.ndarray]:
    """Dense [cases, N], by a loop over RecBole's rows: histories and next items."""
    rows = split[torch.arange(len(split))]
    before, after = np.zeros((len(split), split.item_num)), np.zeros((len(split), split.item_num))
    for case, (items, target) in enumerate(zip(rows["item_id_list"].tolist(), rows["item_id"].tolist(), strict=True)):
        history = [item for item in items if item]
        for back, item in enumerate(reversed(history[-DISTANCE:])):
            before[case, item] += RECENCY**back
        after[case, target] = 1
    return before, after


def test_the_whole_system_is_solved_where_the_catalogue_is_small(split, cases) -> None:
    before, after = cases
    system = before.T @ before + PENALTY * np.eye(split.item_num)
    expected = np.linalg.solve(system, before.T @ after)
    sparse = histories(training_sessions(split), split.item_num, DISTANCE, RECENCY)
    found = ridge((sparse[0].T @ sparse[0]).tocsr(), (sparse[0].T @ sparse[1]).tocsr(), PENALTY, 0)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-7, atol=1e-10)


def test_a_target_is_predicted_from_its_strongest_inputs(split, cases) -> None:
    before, after = cases
    gram, moments = before.T @ before, before.T @ after
    sparse = histories(training_sessions(split), split.item_num, DISTANCE, RECENCY)
    found = ridge((sparse[0].T @ sparse[0]).tocsr(), (sparse[0].T @ sparse[1]).tocsr(), PENALTY, 12).toarray()
    for target in (1, 2, 50, 300, split.item_num - 1):
        inputs = sorted(np.flatnonzero(moments[:, target]), key=lambda item: -np.float32(moments[item, target]))[:12]
        expected = np.zeros(split.item_num)
        system = gram[np.ix_(inputs, inputs)] + PENALTY * np.eye(len(inputs))
        expected[inputs] = np.linalg.solve(system, moments[inputs, target])
        np.testing.assert_allclose(found[:, target], expected, rtol=1e-7, atol=1e-10)
