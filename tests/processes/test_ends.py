"""How several processes end: with one line about bad input, all together when one dies, and then they go on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from recbole_odrec.quick_start import run

from .launching import output_of, torchrun

TINY = {
    **{"hidden_size": 16, "epochs": 3, "train_batch_size": 4096, "MAX_ITEM_LIST_LENGTH": 20, "compression_rate": 2},
    **{"show_progress": False, "metric_decimal_place": 10, "item_skip_prob": 0.2},
}
WORKER = str(Path(__file__).with_name("commands.py"))


def words(data: Path | str, dataset: str = "ml-small", **keys: object) -> list[str]:
    values = {**TINY, "data_path": data, **keys}
    return ["train", f"--dataset={dataset}", *(f"--{key}={value}" for key, value in values.items())]


def finished(n_processes: int, folder: Path, fault: str, commands: list[list[str]]) -> tuple[int, float]:
    """Exit code of `torchrun`, and how long it took, seconds."""
    (folder / "commands.json").write_text(json.dumps(commands))
    start = time.monotonic()
    code = torchrun(n_processes, folder, [WORKER, fault, "commands.json"]).wait(timeout=300)
    return code, time.monotonic() - start


def test_bad_input_is_one_line_of_the_first_process(small_data: Path, tmp_path: Path) -> None:
    for number, n_users in enumerate((40, 40, 41)):
        (tmp_path / f"data-{number}" / "ml-here").mkdir(parents=True)
        lines = (small_data / "ml-small" / "ml-small.inter").read_text().splitlines()
        kept = [line for line in lines[1:] if int(line.split("\t")[0]) <= n_users]
        (tmp_path / f"data-{number}" / "ml-here" / "ml-here.inter").write_text("\n".join([lines[0], *kept]) + "\n")
        (tmp_path / f"few-{number}" / "ml-here").mkdir(parents=True)
        few = [line for line in lines[1:] if int(line.split("\t")[0]) <= 2]
        (tmp_path / f"few-{number}" / "ml-here" / "ml-here.inter").write_text("\n".join([lines[0], *few]) + "\n")
    (tmp_path / "gone-0").symlink_to(tmp_path / "data-0")
    (tmp_path / "gone-1").symlink_to(tmp_path / "data-1")
    cases = {
        "learning_rate=1.1 in process 1": words(small_data, learning_rate="{rank}.1"),
        "process 2: ": words(tmp_path / "gone-{rank}", "ml-here"),
        "process 2 has read other data than this one": words(tmp_path / "data-{rank}", "ml-here"),
        "3 processes and fewer cases (2 for validation, 2 for test)": words(tmp_path / "few-{rank}", "ml-here"),
        "GRU4Rec of RecBole trains in one process": ["--model=GRU4Rec", "--dataset=ml-100k"],
        "GRU4Rec of RecBole trains in one process: train it": words(small_data, teacher="GRU4Rec"),
        "unknown key `tt_rnak`": words(small_data, tt_rnak=8),
        "expected a number in [0, 1]": words(small_data, kd_weight=2),
    }
    code, _ = finished(3, tmp_path, "none", list(cases.values()))
    assert code != 0
    said = [line for line in output_of(tmp_path).splitlines() if line.startswith("recbole_odrec:")]
    assert len(said) == len(cases), output_of(tmp_path)[-3000:]
    for expected, line in zip(cases, said, strict=True):
        assert expected in line
    for number in range(3):
        assert (tmp_path / f"codes-{number}.txt").read_text().split() == ["2"] * len(cases)
    assert not list(tmp_path.glob("saved/*"))


def test_one_that_fails_ends_all(small_data: Path, tmp_path: Path) -> None:
    code, seconds = finished(2, tmp_path, "raise", [words(small_data, epochs=30)])
    said = output_of(tmp_path)
    assert code != 0
    assert said.count("RuntimeError: process 1 is out of luck") == 1
    assert said.count("Traceback") <= 2  # torchrun has one of its own
    assert seconds < 120  # of which the death takes less than a minute
    assert not list(tmp_path.glob("saved/*/result.json"))


@pytest.fixture(scope="module")
def never_killed(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("one"))
        return run("ODRec", "ml-small", config_dict={**TINY, "data_path": str(small_data)})


@pytest.mark.parametrize(("before", "after"), [(2, 3), pytest.param(3, 1, marks=pytest.mark.exhaustive)])
def test_killed_and_resumed_with_another_number(
    never_killed: dict, small_data: Path, tmp_path: Path, before: int, after: int
) -> None:
    code, _ = finished(before, tmp_path, "kill", [words(small_data)])
    assert code != 0
    said = output_of(tmp_path)
    assert "Signal 9 (SIGKILL) received" in said
    assert said.count("Traceback") == 1, said[-3000:]  # torchrun's own
    assert said.count("another process of this run has ended") <= 1
    (folder,) = tmp_path.glob("saved/ODRec-*")
    assert not (folder / "result.json").exists()
    if after == 1:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            result = run("ODRec", "ml-small", config_dict={**TINY, "data_path": str(small_data)}, resume=True)
    else:
        assert finished(after, tmp_path, "none", [[*words(small_data), "--resume"]])[0] == 0, output_of(tmp_path)[
            -3000:
        ]
        result = json.loads((folder / "result.json").read_text())
    for phase, expected in never_killed["phases"].items():
        found = result["phases"][phase]
        assert len(found["losses"]) == TINY["epochs"]
        for losses, others in zip(expected["losses"], found["losses"], strict=True):
            assert others == pytest.approx(losses, rel=1e-5, abs=1e-5)
        assert found["test"]["all"] == pytest.approx(expected["test"]["all"], abs=0.01)
