"""Training where the scores do not fit: the same loss and gradients by tiles, chosen by memory and said once."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from recbole.data import create_dataset

from recbole_odrec.config import make_config
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.losses import ScoreMemory, score_memory
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.neighbours import NEIGHBOUR_MODELS
from recbole_odrec.nn import DenseEmbedding
from recbole_odrec.registry import model_class
from recbole_odrec.trainer.distillation import DistillationTrainer

MOVING_CODES = {"table": "codes", "move_codes_every": 2}


def made(small_config: Any, model: str, train: Any, **keys: object) -> Any:
    if model in NEIGHBOUR_MODELS:
        values = {"data_path": small_config()["data_path"].removesuffix("/ml-small"), "state": "ERROR"}
        found = model_class(model)(make_config(model, "ml-small", config_dict=values), train)
        found.fit_(train)
        return found
    found = model_class(model)(small_config(model, **keys), train)
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # repetition starts at zero
    return found.double().eval()


@pytest.mark.parametrize("others", [["SASRecTeacher"], ["GRU4RecTeacher", "ItemTransitions", "VSKNN"]])
@pytest.mark.parametrize("keys", [{"item_order": "teacher", "temperature": 2.0}, MOVING_CODES])
def test_every_part_and_gradient_of_a_step_equals_that_of_whole_scores(
    small_config: Any, tmp_path: Any, others: list[str], keys: dict[str, object]
) -> None:
    """Soft targets of an ensemble, shares of counted items mixed in, scores of repetition, both predictive losses."""
    keys = {"repeat_scores": True, "predictive_weight": 0.3, "init_from_teacher": True, **keys}
    config = small_config(**keys)
    train = create_dataset(config).build()[0]
    members = [made(small_config, "SASRecTeacher", train, repeat_scores=True)]
    members += [made(small_config, name, train) for name in others]
    student = made(small_config, "ODRec", train, **keys)
    trainer = DistillationTrainer(config, student, TeacherEnsemble(members, [2.0, *[1.0] * len(others)]), tmp_path)
    trainer.objectives.double()
    trainer.pair.dataset = train
    batch = next(iter(SessionWindowLoader(config, train)))
    trained = [one for one in (*student.parameters(), *trainer.objectives.parameters()) if one.requires_grad]
    trained += [] if trainer.latent is None else [trainer.latent]
    found = []
    for allowed in (None, 100_000):
        student.score_memory = ScoreMemory(allowed)
        parts = trainer.loss_parts(batch)
        found.append((parts, torch.autograd.grad(sum(parts), trained, allow_unused=True)))
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if "VSKNN" in others else {"rtol": 1e-8, "atol": 1e-10}  # shares: float32
    for plain, tiled in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(tiled, plain, **tolerance)
    for plain, tiled in zip(found[0][1], found[1][1], strict=True):
        plain, tiled = (torch.zeros(1) if one is None else one for one in (plain, tiled))
        torch.testing.assert_close(tiled, plain, **tolerance)


def test_tiles_are_chosen_by_memory_and_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    cpu, tables = torch.device("cpu"), [DenseEmbedding(n, 1) for n in (41_000, 1_000_000)]
    monkeypatch.setattr(score_memory, "free_bytes", lambda device: 1)  # a machine that is full
    assert ScoreMemory().tile(tables[0], 4096, 2, cpu) is None  # no catalogue of today is ever cut up
    monkeypatch.setattr(score_memory, "free_bytes", lambda device: 20_000_000_000)
    memory = ScoreMemory()
    with caplog.at_level(logging.INFO):
        assert memory.tile(tables[1], 512, 2, cpu) is None  # 4 of 10 GB
        assert memory.tile(tables[1], 2048, 2, cpu) == 512
        monkeypatch.setattr(score_memory, "free_bytes", lambda device: 1)
        assert memory.tile(tables[1], 512, 2, cpu) is None  # decided once
        assert memory.tile(tables[1], 2048, 2, cpu) == 512
        assert memory.tile(tables[0], 512, 2, cpu, slice(0, 20_500)) == 2048  # a split table's share, by tiles always
    assert len(caplog.messages) == 1
    assert "would take 16.4 GB of the 10.0 GB that score_memory leaves them" in caplog.messages[0]
    assert ScoreMemory(1_000_000).tile(tables[0], 512, 2, cpu) == 81  # six of a tile within what is allowed
    assert ScoreMemory(1).tile(tables[0], 512, 2, cpu) == 1


def test_free_memory_is_that_of_the_machine_or_of_the_container(monkeypatch: Any, tmp_path: Any) -> None:
    free = score_memory.free_bytes(torch.device("cpu"))
    assert free > 10_000_000
    monkeypatch.setattr(score_memory, "_CGROUP", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("max\n")
    assert score_memory.free_bytes(torch.device("cpu")) == pytest.approx(free, rel=0.5)
    (tmp_path / "memory.max").write_text("2000000\n")
    assert score_memory.free_bytes(torch.device("cpu")) < 2_000_000


def test_a_run_by_tiles_ends_as_a_run_without(train: Any) -> None:
    whole, tiled = (train("ODRec", **keys) for keys in ({"epochs": 2}, {"epochs": 2, "score_memory": 0.0005}))
    losses = [[epoch["soft_targets"] for epoch in run["phases"]["student"]["losses"]] for run in (whole, tiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[1] != losses[0]  # the other path, to rounding


def test_a_loss_without_soft_targets_draws_its_items(small_config: Any) -> None:
    config = small_config("SASRecTeacher")
    train = create_dataset(config).build()[0]
    batch = next(iter(SessionWindowLoader(config, train)))
    whole, all_drawn, some = (
        made(small_config, "SASRecTeacher", train, repeat_scores=True, sampled_items=n) for n in (0, 10_000, 100)
    )
    for model in (all_drawn, some):
        model.load_state_dict(whole.state_dict())
    torch.testing.assert_close(all_drawn.calculate_loss(batch), whole.calculate_loss(batch))
    assert some.calculate_loss(batch) != some.calculate_loss(batch)
    cases = some.training_cases(batch)
    scores = torch.zeros(len(cases.pos_items), some.n_items, dtype=torch.float64)
    taught = {"teacher": lambda columns: scores, "kd_weight": 0.5}
    assert some.catalogue_loss(cases, **taught).total == some.catalogue_loss(cases, **taught).total  # over all items
