"""Tables whose rows are split over processes: when they are, and what each process has at the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from recbole.data import create_dataset

from recbole_odrec.data.preparation import prepare
from recbole_odrec.errors import UserError
from recbole_odrec.model import split
from recbole_odrec.model.split import decide_split
from recbole_odrec.nn.tables import split as split_table
from recbole_odrec.nn.tables.dense import DenseEmbedding
from recbole_odrec.nn.tables.split import SplitEmbedding, split_tables
from recbole_odrec.nn.unit_rows import kept_entries
from recbole_odrec.phases import build_model
from recbole_odrec.trainer.resumable import ResumableTrainer


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on this machine, with 1 MB for both; the other one has as much."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(split, "n_processes", lambda: 2)
    monkeypatch.setattr(split, "free_bytes", lambda device: 1_000_000)
    monkeypatch.setattr(split, "gathered", lambda value: [value, value])


@pytest.mark.parametrize(("n_items", "is_split"), [(976, False), (977, True)])
def test_auto_splits_what_takes_more_than_half_of_a_processs_memory(two, small_config, n_items, is_split) -> None:
    config = small_config("SASRecTeacher")  # 16 columns of 16 bytes: 256 bytes an item, of 250,000
    reason = decide_split(config, n_items)
    assert config["split_table"] is is_split
    assert (reason or "").startswith("rows of the item table are split over 2 processes: ") is is_split


@pytest.mark.parametrize(("trains", "is_followed", "n_bytes"), [(True, True, 24), (False, False, 8), (False, True, 24)])
def test_what_codes_follow_counts_beside_the_teachers_table(two, small_config, trains, is_followed, n_bytes) -> None:
    config = small_config("SASRecTeacher", average_decay=0.9)  # 20 bytes a number while it trains
    most = 250_000 // (16 * n_bytes)
    assert decide_split(config, most, trains, is_followed) is None
    assert decide_split(small_config("SASRecTeacher", average_decay=0.9), most + 1, trains, is_followed)


def test_one_process_has_whole_tables(small_config) -> None:
    config = small_config("SASRecTeacher", split_table=True)
    assert decide_split(config, 10**9) is None
    assert config["split_table"] is False


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"metrics": ["NDCG", "GAUC"]},
            "split_table=True, and GAUC of metrics needs whole rows of scores: leave one",
        ),
    ],
)
def test_what_cannot_be_split_is_refused_by_name_or_stays_whole(two, small_config, keys, message) -> None:
    with pytest.raises(UserError, match="split_table=True") as error:
        decide_split(small_config("SASRecTeacher", split_table=True, **keys), 977)
    assert message in str(error.value)
    assert decide_split(small_config("SASRecTeacher", **keys), 976) is None
    config = small_config("SASRecTeacher", **keys)
    reason = decide_split(config, 977)
    assert reason is not None
    assert reason.startswith("False, although the item table takes 0.00025 GB of 0.0005 that are free: ")
    assert reason.removesuffix(".").endswith(" needs whole rows of scores")
    assert config["split_table"] is False


@pytest.mark.parametrize(
    "keys",
    [
        {"table_dropout_prob": 0.1, "clip_grad_norm": {"max_norm": 5}, "sampled_items": 64},
        {"eval_args": {"mode": "uni100", "order": "TO"}, "metrics": ["NDCG", "GAUC"]},
    ],
)
def test_what_a_teacher_may_ask_for_beside_it(two, small_config, keys) -> None:
    config = small_config("SASRecTeacher", split_table=True, **keys)
    assert decide_split(config, 977)
    assert config["split_table"] is True


@pytest.mark.parametrize(("n_items", "is_split"), [(1953, False), (1954, True)])
def test_a_given_teacher_counts_what_serves(two, small_config, n_items, is_split) -> None:
    config = small_config("SASRecTeacher", average_decay=0.9)  # 8 bytes a number: no gradient, no average
    decide_split(config, n_items, trains=False)
    assert config["split_table"] is is_split


@pytest.mark.parametrize("dim", [3, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_process_draws_its_rows_of_the_whole_table(monkeypatch, dim: int, dtype: torch.dtype) -> None:
    monkeypatch.setattr(split_table, "_DRAWN", 32)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        torch.manual_seed(3)
        whole, after = DenseEmbedding(101, dim), torch.rand(1)
        kept, after_dropout = kept_entries(whole.weight, 0.3), torch.rand(1)
        rows, kept_rows = [], []
        for number in range(3):
            monkeypatch.setattr(split_table, "rank", lambda number=number: number)
            monkeypatch.setattr(split_table, "bounds_of", lambda n_rows: [0, 33, 67, n_rows])
            torch.manual_seed(3)
            own = SplitEmbedding(101, dim)
            assert torch.equal(torch.rand(1), after)
            kept_rows.append(kept_entries(own.weight, 0.3, own._random_bytes))
            assert torch.equal(torch.rand(1), after_dropout)
            assert own.n_stored == whole.n_stored
            assert list(split_tables(torch.nn.ModuleDict({"a": own}))) == ["a.weight"]
            rows.append(own.weight)
    finally:
        torch.set_default_dtype(before)
    assert [len(own) for own in rows] == [33, 34, 34]
    assert torch.equal(torch.cat(rows), whole.weight)
    assert torch.equal(torch.cat(kept_rows), kept)


@pytest.mark.parametrize(("average_decay", "n_bytes"), [(0.0, 2048), (0.9, 2560)])
def test_bytes_an_item_are_those_that_training_holds(small_config, average_decay, n_bytes) -> None:
    config = small_config("SASRecTeacher", hidden_size=128, average_decay=average_decay)
    trainer = ResumableTrainer(config, build_model(config, prepare(config, create_dataset, tests=True)[0]))
    weight = trainer.model.item_table.weight
    weight.sum().backward()
    trainer.optimizer.step()
    held = [weight, weight.grad, *(v for v in trainer.optimizer.state[weight].values() if v.dim() == 2)]
    held += [] if trainer.average is None else [trainer.average.module.item_table.weight]
    assert sum(one.nbytes for one in held) == n_bytes * len(weight)
    table = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    assert str(n_bytes) in table.split("| dense table (teachers; `table=dense`) |")[1].splitlines()[0]
