"""What bounds could spare: never less than what a search needs, nothing of a table that has no structure to use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_odrec.benchmark.bounds import _HEADER, command, markdown, measured
from recbole_odrec.errors import UserError
from recbole_odrec.nn import DenseEmbedding, ProductCodesEmbedding, SemiTensorTrainEmbedding

BOUNDS = {"codes": ("sub-codes", "shared codes", "lengths"), "train": ("lengths", "ellipsoid", "half")}


def tables(n_items: int = 6000):
    torch.manual_seed(0)
    yield "codes", ProductCodesEmbedding(n_items, 16, 4, std=1)
    yield "train", SemiTensorTrainEmbedding(n_items, 16, tt_ranks=8, std=1)


@torch.no_grad()
def test_no_bound_leaves_less_than_the_groups_of_the_best_items() -> None:
    for kind, table in tables():
        row = measured(table, torch.randn(9, 16))
        assert row["items"] == 5999
        assert 0 < row["needed"] < 1
        for bound in set(BOUNDS[kind]) - {"sub-codes"}:  # which has no groups
            assert row["needed"] <= row[bound] <= 1, bound


@torch.no_grad()
def test_structure_is_used_where_there_is_some() -> None:
    """A few items of one code each far above the others: the bounds leave next to nothing but these."""
    table = ProductCodesEmbedding(6000, 16, 4, std=0.01)
    table.codes[:] = torch.randint(0, 255, table.codes.shape, dtype=torch.uint8)
    table.codes[100:120] = 255
    table.codebooks[:, 255] = 1.0
    row = measured(table, torch.ones(3, 16))
    assert row["sub-codes"] == pytest.approx(20 / 5999)
    assert row["shared codes"] == row["needed"] <= 256 / 5999 * 1.01
    train = SemiTensorTrainEmbedding(6000, 16, tt_ranks=8, std=1)
    train.tt_cores[0][:, 1:] *= 1e-3
    assert measured(train, torch.randn(5, 16))["lengths"] == pytest.approx(1 / train.plan.item_shape[0])


def test_the_committed_page_says_which_runs_its_rows_are() -> None:
    page = (Path(__file__).parents[2] / "results" / "bounds.md").read_text()
    assert page.startswith(_HEADER)
    for run in ("beauty/odrec.seed-1/*/student", "codes-30x-2.seed-1", "--dataset=ml-100k --table=tensor_train"):
        assert run in _HEADER


@torch.no_grad()
def test_shares_are_percent_and_other_tables_are_refused() -> None:
    rows = [{"weights": "random", **measured(table, torch.randn(2, 16))} for _, table in tables(600)]
    lines = markdown(rows).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| random | 4 codes | 599 | ")
    assert np.char.count(lines[2:], "%").tolist() == [4, 4]
    for words, message in (
        (["--items", "10"], "--items 10, expected numbers of at least 1000"),
        (["--items"], "nothing to measure"),
    ):
        with pytest.raises(UserError, match=message):
            command(words)
    assert not Path("results").exists()
    with pytest.raises(UserError, match="not DenseEmbedding"):
        measured(DenseEmbedding(50, 16), torch.randn(2, 16))
