"""The learning rate, step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.model import SASRecTeacher
from recbole_odrec.trainer.resumable import ResumableTrainer


def rates(small_config, folder: Path, **settings: object) -> tuple[list[float], int]:
    """Learning rate of every step of a run, and the steps of an epoch."""
    plain = small_config("SASRecTeacher")
    train = SessionDataset(plain).build()[0]
    config = small_config("SASRecTeacher", learning_rate=0.01, **settings)
    trainer, found = ResumableTrainer(config, SASRecTeacher(config, train), folder), []
    trainer.optimizer.register_step_post_hook(lambda optimizer, *_: found.append(optimizer.param_groups[0]["lr"]))
    loader = SessionWindowLoader(config, train)
    trainer.fit(loader)
    return found, len(loader)


def test_linear_decay_reaches_zero_over_the_steps_of_all_epochs(small_config, tmp_path: Path) -> None:
    found, steps = rates(small_config, tmp_path, epochs=2, learning_rate_decay="linear")
    assert len(found) == 2 * steps > 40
    assert found == pytest.approx([0.01 * (1 - step / (2 * steps)) for step in range(2 * steps)])


def test_a_refit_is_the_beginning_of_the_same_schedule(small_config, tmp_path: Path) -> None:
    whole, steps = rates(small_config, tmp_path / "whole", epochs=3, learning_rate_decay="linear")
    refit, _ = rates(small_config, tmp_path / "refit", epochs=3, refit_epochs=1, learning_rate_decay="linear")
    assert refit == whole[:steps]


def test_without_decay_every_step_is_the_same(small_config, tmp_path: Path) -> None:
    found, _ = rates(small_config, tmp_path, epochs=1)
    assert set(found) == {0.01}
