"""What cannot run is one line before anything is written, and trying changes nothing."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.utils import get_model

from recbole_odrec import run
from recbole_odrec.errors import UserError
from recbole_odrec.preflight import preflight
from recbole_odrec.quick_start import _prepare_data
from recbole_odrec.trainer.resumable import ResumableTrainer


@pytest.fixture
def settings(small_config) -> dict[str, object]:
    config = small_config(epochs=1)
    folder = str(Path(config["data_path"]).parent)
    return {**config.external_config_dict, "data_path": folder, **TINY}


TINY = {"epochs": 1, "topk": [10], "train_batch_size": 2048, "MAX_ITEM_LIST_LENGTH": 5, "hidden_size": 8}
OF_RECBOLE = {"train_neg_sample_args": None, "loss_type": "CE", "valid_metric": "NDCG@10", "embedding_size": 8}


def of(model: str, settings: dict) -> dict:
    is_ours = model != "GRU4Rec"
    kept = {k: v for k, v in settings.items() if k != "compression_rate" and (is_ours or k != "recipe")}
    return {**kept, **({} if is_ours else OF_RECBOLE)}


def draws(train_data) -> tuple:
    return (
        torch.rand(3).tolist(),
        np.random.rand(3).tolist(),
        random.random(),
        train_data.generator.get_state().tolist(),
    )


def test_trying_uses_no_random_number_and_changes_no_weight(small_config) -> None:
    config = small_config("SASRecTeacher")
    train_data, valid_data, test_data = _prepare_data(config)
    drawn = []
    for tries in (False, True):
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        train_data.generator.manual_seed(1)
        model = get_model("SASRecTeacher")(config, train_data._dataset)
        if tries:
            preflight(config, model, train_data, valid_data, test_data)
            assert model.training
            assert all(parameter.grad is None for parameter in model.parameters())
        drawn.append([*draws(train_data), *(value.tolist() for value in model.state_dict().values())])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
@pytest.mark.parametrize("part", ["calculate_loss", "full_sort_predict"])
def test_what_fails_in_the_first_batch_is_one_line_before_a_folder_is_made(
    settings, monkeypatch: pytest.MonkeyPatch, model: str, part: str
) -> None:
    def fail(self, interaction):
        raise IndexError("index 61 is out of bounds\nfor dimension 0")

    monkeypatch.setattr(get_model(model), part, fail)
    where = "training" if part == "calculate_loss" else "validation"
    message = (
        rf"{model} cannot run the first batch of {where} \(IndexError: index 61 is out of bounds for dimension 0\)"
    )
    with pytest.raises(UserError, match=message):
        run(model, "ml-small", config_dict=of(model, settings))
    assert not list(Path().glob("saved/*"))
    assert not Path("log_tensorboard").exists()


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
def test_a_loss_that_leaves_the_numbers_is_one_line_and_saves_nothing_of_its_epoch(
    settings, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    kind = get_model(model)
    calculate_loss, seen = kind.calculate_loss, []

    def explode(self, interaction):
        seen.append(0)
        return calculate_loss(self, interaction) * (torch.inf if len(seen) > 2 else 1)

    monkeypatch.setattr(kind, "calculate_loss", explode)
    part = "next_item" if model == "GRU4RecTeacher" else "loss"
    with pytest.raises(
        UserError, match=rf"epoch 0: the loss has failed \({part} is inf\).*: lower learning_rate=0.001"
    ):
        run(model, "ml-small", config_dict=of(model, settings))
    assert not list(Path().glob("saved/**/*.pth"))


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
def test_weights_that_the_last_step_has_broken_are_not_saved(
    settings, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """The loss of the epoch is a number still, and would be selected by metrics of NaN scores."""
    step = torch.optim.Adam.step

    def break_weights(self, *arguments, **named):
        step(self, *arguments, **named)
        self.param_groups[0]["params"][0].data[1, 1] = torch.nan

    monkeypatch.setattr(torch.optim.Adam, "step", break_weights)
    values = {**of(model, settings), "train_batch_size": 10**6}
    with pytest.raises(UserError, match=r"epoch 0: weight item_\S+ holds NaN or infinity"):
        run(model, "ml-small", config_dict=values)
    assert not list(Path().glob("saved/**/*.pth"))


def test_a_part_of_the_loss_is_named(small_config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = small_config("SASRecTeacher")
    train_data = _prepare_data(config)[0]
    trainer = ResumableTrainer(config, get_model("SASRecTeacher")(config, train_data._dataset), tmp_path, "model")
    monkeypatch.setattr(ResumableTrainer, "loss_names", ("next_item", "soft_targets"))
    parts = torch.tensor(1.0, requires_grad=True), torch.tensor(torch.nan)
    with pytest.raises(UserError, match=r"model epoch 0: the loss has failed \(soft_targets is nan\); nothing"):
        trainer._train_epoch(train_data, 0, lambda interaction: parts)


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
def test_a_full_disk_in_training_is_one_line_and_leaves_no_part_of_a_file(
    settings, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match=r"best.pth cannot be written \(No space left on device\)"):
        run(model, "ml-small", config_dict=of(model, settings))
    assert not list(Path().glob("saved/**/*.pth*"))


@pytest.mark.parametrize(("key", "folder"), [("checkpoint_dir", "/proc/nowhere"), ("data_path", "log")])
def test_a_folder_that_cannot_be_written_is_found_before_data_is_read(settings, key: str, folder: str) -> None:
    Path("log").touch()  # RecBole's folder of logs cannot be made
    values = {**settings, "data_path": "no/such/folder", key: folder}
    expected = "/proc/nowhere" if key == "checkpoint_dir" else "log"
    with pytest.raises(UserError, match=rf"{expected} cannot be written \("):
        run("GRU4RecTeacher", "ml-small", config_dict=of("GRU4RecTeacher", values))
