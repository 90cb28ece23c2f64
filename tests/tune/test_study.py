"""Studies find the best of what they try, on validation alone, and go on where they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from recbole_odrec import run
from recbole_odrec.cli import main
from recbole_odrec.config import make_config
from recbole_odrec.config.properties import properties_folder
from recbole_odrec.config.reading import read_yaml
from recbole_odrec.errors import UserError
from recbole_odrec.tune import study as study_module
from recbole_odrec.tune.command import command
from recbole_odrec.tune.space import corners
from recbole_odrec.tune.study import Asked, tune

WORDS = ["tune", "--model=ItemTransitions", "--dataset=ml-100k", "--study", "found", "--space", "space.yaml"]


def write_space(**space: Any) -> None:
    Path("space.yaml").write_text(yaml.safe_dump(space))


def trials(folder: str = "found") -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(f"{folder}/study.log"))
    return optuna.load_study(study_name="tune", storage=storage).trials


def test_the_best_of_real_runs_is_found_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    write_space(max_distance=[1, 3], smoothing={"low": 0.01, "high": 0.5, "log": True})
    assert main([*WORDS, "--trials", "3", "--own_items=counted"]) == 0
    found = trials()
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 3
    best = max(found, key=lambda trial: trial.value or 0)
    given = read_yaml("found/best.yaml")
    assert given == {"own_items": "counted", **best.params}
    assert f"trial {best.number}, {best.value:.4f} on validation" in capsys.readouterr().out
    # What it scored is what a run of that file scores, which alone meets the test set.
    again = run("ItemTransitions", "ml-100k", ["found/best.yaml"], {"state": "ERROR", "show_progress": False})
    assert again["phases"]["model"]["valid"]["all"]["ndcg@10"] == best.value
    assert again["phases"]["model"]["test"] is not None
    for trial in found:
        result = json.loads(Path(trial.user_attrs["result"]).read_text())
        assert result["phases"]["model"]["test"] is None
        has_weights = bool(list(Path(trial.user_attrs["result"]).parent.rglob("*.pth")))
        assert has_weights or trial.number != best.number
    page = Path("found/study.html").read_text()
    assert "max_distance" in page
    assert "<script src" not in page  # all that it needs is inside
    # The same command goes on: nothing more for as many trials, one more for one more.
    for n_trials in (3, 4):
        assert main([*WORDS, "--trials", str(n_trials), "--own_items=counted"]) == 0
        assert len(trials()) == n_trials
    assert [trial.params for trial in trials()[:3]] == [trial.params for trial in found]


def test_a_draw_depends_on_its_number_and_what_went_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted and gone on with, a study is what it would have been."""
    monkeypatch.setattr(study_module, "run", scored(lambda values: -abs(values["learning_rate"] - 0.004)))
    space = {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
    asked = [Asked("SASRecTeacher", "ml-100k", (), (), space, Path(name)) for name in ("whole", "parts")]
    tune(asked[0], 12, lambda _: None)
    for n_trials in (5, 12):
        tune(asked[1], n_trials, lambda _: None)
    drawn = [[trial.params for trial in trials(name)] for name in ("whole", "parts")]
    assert drawn[0] == drawn[1]
    assert len({each["learning_rate"] for each in drawn[0]}) == 12
    assert abs(read_yaml("whole/best.yaml")["learning_rate"] - 0.004) < 0.002


def scored(score: Callable[[dict[str, Any]], float], epochs: int = 1) -> Callable[..., dict[str, Any]]:
    """In the place of `run`: a score of what was drawn."""

    def run(
        model: str, dataset: str, config_files: Any, config_dict: dict, arguments: Any, tests: bool, on_validation: Any
    ) -> dict[str, Any]:
        assert tests is False
        for epoch in range(epochs):
            on_validation(Path("nowhere"), epoch, score(config_dict))
        return {"path": "result.json", "phases": {"model": {"valid": {"all": {"ndcg@10": score(config_dict)}}}}}

    return run


def test_what_falls_behind_is_pruned(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(study_module, "run", scored(lambda values: values["hidden_size"], epochs=5))
    asked = Asked("SASRecTeacher", "ml-100k", (), (), {"hidden_size": [16, 32, 64, 128]}, Path("found"))
    tune(asked, 16, lambda _: None)
    pruned = [trial for trial in trials() if trial.state.name == "PRUNED"]
    assert pruned
    assert all(max(trial.intermediate_values) == 1 for trial in pruned)  # one epoch is too early to say
    assert all(trial.params["hidden_size"] < 128 for trial in pruned)
    assert "pruned after epoch 1" in capsys.readouterr().err
    assert len(trials()) == 16


def test_trials_that_fail_are_told_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def score(values: dict[str, Any]) -> float:
        calls.append(values)
        if len(calls) == 2:
            raise RuntimeError("the loss\nis NaN")
        return 0.5

    monkeypatch.setattr(study_module, "run", scored(score, epochs=0))
    asked = Asked("SASRecTeacher", "ml-100k", (), (), {"learning_rate": [1.0, 0.1]}, Path("found"))
    tune(asked, 3, lambda _: None)
    assert [trial.state.name for trial in trials()] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert "trial 1: failed, the loss is NaN\n" in capsys.readouterr().err


def test_what_fails_from_the_first_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(values: dict[str, Any]) -> float:
        raise UserError("no such thing")

    monkeypatch.setattr(study_module, "run", scored(score))
    asked = Asked("SASRecTeacher", "ml-100k", (), (), {"learning_rate": [1.0, 0.1]}, Path("found"))
    with pytest.raises(UserError, match=r"^no such thing$"):
        tune(asked, 3, lambda _: None)
    with pytest.raises(UserError, match=r"^6 trials have failed, the last of them so: no such thing$"):
        tune(asked, 3, lambda _: None)


def test_an_interruption_loses_one_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def score(values: dict[str, Any]) -> float:
        calls.append(values)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0.5

    monkeypatch.setattr(study_module, "run", scored(score, epochs=0))
    write_space(max_distance=[1, 2, 3])
    assert main([*WORDS, "--trials=5"]) == 130
    assert main([*WORDS, "--trials=5"]) == 0
    assert [trial.state.name for trial in trials()].count("COMPLETE") == 5


@pytest.mark.parametrize(
    ("words", "space", "message"),
    [
        (["--trials=0"], {}, "--trials=0, expected a whole number from 1"),
        (["--resume"], {}, "a study goes on where the same command is given again"),
        (["--max_distance=3"], {"max_distance": [1]}, "max_distance is given and stands in the space"),
        ([], {"max_distanse": [1]}, "max_distanse"),
        ([], {"smoothing": {"low": -1.0, "high": 0.5}}, "smoothing=-1.0, expected"),
        ([], {"valid_metric": ["NDCG@10", "MRR@10"]}, "valid_metric is drawn (MRR@10, NDCG@10)"),
        ([], {"max_distance": 3}, "space: max_distance=3, expected a list"),
        (["--refit_epochs=2"], {"max_distance": [1]}, "refit_epochs"),
        (["--dataset=nowhere"], {"max_distance": [1]}, "nowhere"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(
    words: list[str], space: dict, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_space(**space)
    assert main([*WORDS, *words]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert message in printed[-1]
    assert not Path("found/best.yaml").exists()


def test_another_study_in_the_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_space(max_distance=[1])
    assert main([*WORDS, "--trials=1"]) == 0
    assert main([*WORDS, "--trials=2", "--smoothing=0.2"]) == 2
    assert "found holds a study of another given ({}, here {'smoothing': 0.2})" in capsys.readouterr().err
    write_space(max_distance=[1, 2])
    assert main([*WORDS, "--trials=2"]) == 2
    assert "found holds a study of another space" in capsys.readouterr().err
    assert len(trials()) == 1
    Path("found/study.log").write_text("something else\n")
    assert main([*WORDS, "--trials=2"]) == 2
    assert "is no study of this command" in capsys.readouterr().err


def test_spaces_that_come_with_the_package_hold_keys_of_their_models() -> None:
    files = sorted((properties_folder() / "space").glob("*.yaml"))
    assert [file.stem for file in files] == ["GRU4RecTeacher", "ODRec", "SASRecTeacher"]
    for file in files:
        for values in corners(read_yaml(file)):
            config = make_config(file.stem, "ml-100k", config_dict=values)
            assert {key: config[key] for key in values} == values
    with pytest.raises(UserError, match="no space for VSTAN comes with the package"):
        command(["--model=VSTAN"])
