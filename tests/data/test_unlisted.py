"""Loaders and samplers of RecBole hold no object a row or a session, and give the numbers that they gave."""

from __future__ import annotations

import numpy as np
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_odrec.data.preparation import prepare


def test_row_numbers_are_a_range_and_batches_as_before(small_config) -> None:
    config = small_config(
        "SASRecTeacher",
        eval_args={"order": "TO", "split": {"LS": "valid_and_test"}, "mode": {"valid": "full", "test": "uni20"}},
    )
    init_seed(config["seed"], True)
    theirs = data_preparation(config, create_dataset(config))
    found = []
    for data in (theirs, prepare(config, create_dataset, True)):
        init_seed(config["seed"], True)
        found.append([list(part) for part in data])
        is_ours = data is not theirs
        assert {type(part.sampler.data_source) for part in data} == {range if is_ours else list}
        assert isinstance(data[1]._sampler.used_ids, np.ndarray) != is_ours
    assert len(found[0][0]) == len(found[1][0]) > 10
    for mine, other in zip(found[0][0], found[1][0], strict=True):
        assert torch.equal(mine["item_id"], other["item_id"])
    for mine, other in zip(found[0][2], found[1][2], strict=True):
        assert torch.equal(mine[0]["item_id"], other[0]["item_id"])
    assert found[1][1]
