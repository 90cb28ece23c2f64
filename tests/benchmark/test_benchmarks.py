"""The benchmark commands run end to end on small data and report what they measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_odrec.cli import main


@pytest.mark.parametrize(("is_quick", "n_ours"), [(True, 4), (False, 2)])
def test_benchmark_train_times_every_contestant(
    is_quick: bool, n_ours: int, write_sessions, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr("recbole_odrec.benchmark.training.is_quick_in_bfloat16", lambda device: is_quick)
    write_sessions(".", n_users=100, n_films=20)
    before = set(Path().iterdir())
    words = ["--dataset", "ml", "--data_path", ".", "--rounds", "1", "--steps", "2", "--batch_size", "64"]
    assert main(["benchmark", "train", *words, "--output", "speed.json", "--no_progress"]) == 0
    assert set(Path().iterdir()) - before == {Path("speed.json")}  # nothing of RecBole's trainers is left
    report = json.loads(Path("speed.json").read_text())
    models = report["models"]
    assert len(models) == 2 + n_ours
    for name, row in models.items():
        assert row["step_ms"] > 0, name
        assert row["products_ms"] > 0, name
        assert row["kernels"] > 100, name
        assert (row["waits"] == 0) == ("RecBole" not in name)  # which copies its four columns one by one
        assert row["epoch_seconds"] == pytest.approx(row["step_ms"] * row["steps_per_epoch"] / 1000, abs=0.06)
        assert row["ratio"] == pytest.approx(row["epoch_seconds"] / models["RecBole SASRec"]["epoch_seconds"], abs=1e-3)
    assert report["facts"]["training_cases"] == 81 * 19
    assert "| RecBole SASRec |" in capsys.readouterr().out


def test_benchmark_train_over_many_items_has_no_peer(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("recbole_odrec.benchmark.training.ITEMS_OF_PEER", 2000)
    words = ["--items", "3000", "--rounds", "1", "--steps", "2", "--batch_size", "64", "--tables", "codes"]
    assert main(["benchmark", "train", *words, "--output", "speed.json", "--no_progress"]) == 0
    report = json.loads(Path("speed.json").read_text())
    assert report["facts"]["items"] == 3001
    assert all("RecBole" not in name for name in report["models"])
    of_codes = report["models"]["ODRec distillation, codes, float32"]
    assert of_codes["ratio"] is None
    assert 0 < of_codes["peak_gb"] < 0.1
    assert "| - |" in capsys.readouterr().out


def test_benchmark_data_measures_a_fresh_process(capsys) -> None:
    assert main(["benchmark", "data", "--interactions", "20000", "--items", "50", "--output", "memory.json"]) == 0
    report = json.loads(Path("memory.json").read_text())
    assert report["raw_bytes"] == 4 * report["interactions"]
    assert 1.2 < report["prepared_ratio"] < 1.5
    assert report["process_peak_bytes"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "no benchmark `trian` (did you mean `train`?)"),
        (["train", "--dataset", "absent"], "dataset/absent does not exist: write it with `recbole-odrec convert"),
        (["train", "--steps", "0"], "--steps 0, expected a number from 1."),
        (["train", "--items", "7"], "--items 7, expected a number from 1000."),
    ],
)
def test_bad_input_is_one_line(capsys, words: list[str], message: str) -> None:
    assert main(["benchmark", *words]) == 2
    assert message in capsys.readouterr().err


def test_benchmark_train_gives_the_peer_its_most_recent_items_of_longer_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths = [length for _ in range(30) for length in (6, 180)]
    sessions = [" ".join(str((7 * row + i) % 50 + 1) for i in range(length)) for row, length in enumerate(lengths)]
    Path("train.txt").write_text("\n".join(sessions) + "\n")
    words = ["--name", "long", "--output", ".", "--train_sessions", "train.txt"]
    assert main(["convert", "--no_progress", *words]) == 0
    seen = {}

    def look(contestants: list, *_: object) -> tuple[dict, dict]:
        batch = next(iter(contestants[0].loader))
        seen["longest"], seen["width"] = int(batch["item_length"].max()), batch["item_id_list"].shape[1]
        contestants[0].loss(batch).backward()
        times = {contestant.name: [0.5, 1.0] for contestant in contestants}
        return times, times

    monkeypatch.setattr("recbole_odrec.benchmark.training._take_turns", look)
    words = ["--dataset", "long", "--data_path", ".", "--rounds", "1", "--steps", "2", "--batch_size", "64"]
    assert main(["benchmark", "train", *words, "--output", "speed.json"]) == 0
    assert seen == {"longest": 100, "width": 100}
    assert json.loads(Path("speed.json").read_text())["models"]["RecBole SASRec"]["step_ms"] == 750.0
