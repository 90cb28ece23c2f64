"""A run killed at any point and resumed ends as one never killed: SIGKILL, both phases, deterministic mode."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer

from recbole_odrec.cli import main
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.trainer import checkpoint

EPOCHS = 5


def words(small_data: Path, *more: str) -> list[str]:
    return [
        *(
            "train",
            "--recipe=none",
            "--model=ODRec",
            "--dataset=ml-small",
            f"--data_path={small_data}",
            f"--epochs={EPOCHS}",
        ),
        *("--stopping_step=10", "--hidden_size=16", "--compression_rate=2", "--MAX_ITEM_LIST_LENGTH=20"),
        *("--train_batch_size=512", "--show_progress=False", "--metric_decimal_place=10", "--init_from_teacher=True"),
        *("--item_order=teacher", *more),
    ]


def finish(folder: Path, small_data: Path, *more: str) -> dict:
    """The result of a run, or of the rest of it, in this process."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(words(small_data, *more)) == 0
    (path,) = folder.glob("saved/ODRec-*/result.json")
    return json.loads(path.read_text())


def numbers(result: dict) -> dict:
    """Everything of a result that must not depend on where it was interrupted."""
    kept = ("valid", "test", "losses", "best_epoch", "parameters")
    return {phase: {key: report.get(key) for key in kept} for phase, report in result["phases"].items()}


@pytest.fixture(scope="module")
def reference(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Folder and result of a run never interrupted."""
    folder = tmp_path_factory.mktemp("reference")
    return folder, finish(folder, small_data)


@pytest.mark.parametrize("phase", ["teacher", "student"])
def test_sigkill_and_resume_equals_a_run_never_killed(
    reference: tuple[Path, dict], small_data: Path, tmp_path: Path, phase: str, monkeypatch, caplog
) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    command = [sys.executable, "-m", "recbole_odrec", *words(small_data)]
    with (folder / "output.txt").open("w") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 600
    while not (found := list(folder.glob(f"saved/ODRec-*/{phase}/last.pth"))):
        assert process.poll() is None, (folder / "output.txt").read_text()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)  # somewhere inside an epoch
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.load(found[0])["epoch"] < EPOCHS - 1, "killed too late to show anything"
    assert not list(folder.glob("saved/*/result.json"))

    with caplog.at_level(logging.INFO):
        resumed = finish(folder, small_data, "--resume")
    assert numbers(resumed) == numbers(reference[1])
    said = (folder / "output.txt").read_text() + caplog.text
    assert "resumed after epoch" in said
    assert said.count("its item table starts with") == 1  # not sought again for a student that goes on
    # The interrupted run went on in its own folder, and is finished now.
    assert len(list(folder.glob("saved/ODRec-*"))) == 1
    monkeypatch.chdir(folder)
    assert main(words(small_data, "--resume")) == 2


def test_a_kill_between_the_phases_and_after_the_last_epoch(
    reference: tuple[Path, dict], small_data: Path, tmp_path: Path
) -> None:
    """The two other points: teacher complete and no student yet; student complete and no result yet."""
    finished, result = reference
    folder = shutil.copytree(finished, tmp_path / "between")
    run_dir = folder / Path(result["path"]).parent
    (run_dir / "result.json").unlink()
    assert numbers(finish(folder, small_data, "--resume")) == numbers(result)

    (run_dir / "result.json").unlink()
    for file in (run_dir / "student").iterdir():
        file.unlink()
    assert numbers(finish(folder, small_data, "--resume")) == numbers(result)


def test_a_script_that_resumes_from_the_best_file_goes_on_after_the_last_epoch(small_config) -> None:
    """RecBole's `resume_checkpoint(trainer.saved_model_file)`, of a run whose last epoch was not its best."""
    config = small_config("SASRecTeacher", epochs=1)
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    model = get_model("SASRecTeacher")(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRecTeacher")(config, model)
    trainer.fit(SessionWindowLoader(config, train_data._dataset), valid_data)
    again = get_trainer(config["MODEL_TYPE"], "SASRecTeacher")(config, model)
    again.resume_checkpoint(trainer.saved_model_file)
    assert (again.start_epoch, again.best_valid_score) == (1, trainer.best_valid_score)
    trainer.last_file.unlink()
    with pytest.raises(UserError, match=r"best.pth is no checkpoint of a model: its `training` is missing"):
        again.resume_checkpoint(trainer.saved_model_file)


@pytest.mark.parametrize(("words", "n_epochs"), [({"epochs": 3}, 3), ({"epochs": 30, "stopping_step": 0}, None)])
def test_the_last_epoch_is_kept_whatever_save_step_is(small_config, words: dict, n_epochs: int | None) -> None:
    """More than there are epochs, or than early stopping leaves: what is kept is complete, and so is its history."""
    config = small_config("SASRecTeacher", save_step=40, learning_rate=0.01, **words)
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    loader = SessionWindowLoader(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRecTeacher")(
        config, get_model("SASRecTeacher")(config, loader._dataset)
    )
    trainer.fit(loader, valid_data)
    n_epochs = n_epochs or len(trainer.loss_history)
    assert n_epochs < 30, "it has not stopped early"
    assert checkpoint.load(trainer.last_file)["epoch"] == n_epochs - 1
    assert checkpoint.load(trainer.last_file)["loss_history"] == trainer.loss_history
    trainer.resume()
    assert trainer.is_complete
