"""Several processes train and evaluate as one does, end together, and go on in another number."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_odrec.cli import main
from recbole_odrec.data import windows
from recbole_odrec.data.windows import NEXT_ITEMS, Windows
from recbole_odrec.processes import shares
from recbole_odrec.quick_start import run

from .launching import launched, output_of

KEYS = {
    **{
        "recipe": "none",
        "dataset": "ml-small",
        "hidden_size": 16,
        "epochs": 1,
        "train_batch_size": 4096,
        "MAX_ITEM_LIST_LENGTH": 20,
    },
    **{"show_progress": False, "metric_decimal_place": 10, "item_skip_prob": 0.2, "checkpoint_dir": "saved"},
}
CODES = {"table": "codes", "compression_rate": 1, "init_from_teacher": True, "repeat_scores": True}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "tensor train": (
        "ODRec",
        {
            **{"compression_rate": 2, "session_jump_prob": 0.2, "average_decay": 0.9, "contrastive_weight": 0.5},
            **{"clip_grad_norm": {"max_norm": 0.5}, "teachers": [{"model": "SASRecTeacher"}, {"model": "SR"}]},
        },
    ),
    "weighed": (
        "ODRec",
        {
            "compression_rate": 2,
            "teachers": [{"model": "SASRecTeacher"}, {"model": "ItemTransitions", "weight": "auto"}],
        },
    ),
    "SASRec": ("SASRecTeacher", {"n_heads": 2, "normalize_items": True, "table_dropout_prob": 0.1}),
    "GRU": ("GRU4RecTeacher", {"exclude_seen": True}),
    "split": ("GRU4RecTeacher", {"exclude_seen": True, "split_table": True, "n_followers": 2}),
}
CLICKS = {"dataset": "clicks", "shuffle_buffer": 3000, "item_skip_prob": 0}
STREAM = ("ODRec", {**CLICKS, "compression_rate": 2, "contrastive_weight": 0.5, "train_batch_size": 24})
BEGUN = {**KEYS, **CLICKS, "epochs": 3, "train_batch_size": 512, "checkpoint_dir": "begun"}
STEPS = [
    ("ODRec", {"compression_rate": 2, "contrastive_weight": 0.5, "session_jump_prob": 0.2}),
    ("ODRec", {**CODES, "teacher": "GRU4RecTeacher", "temperature": 2.0, "move_codes_every": 1}),
    *(RUNS[name] for name in ("SASRec", "GRU")),
]
TAUGHT: list[tuple[str, dict[str, Any]]] = [
    ("ODRec", {**CODES, "teacher": "GRU4RecTeacher", "temperature": 2.0, "move_codes_every": 1}),
    (
        "ODRec",
        {
            **{**CODES, "teacher": "GRU4RecTeacher", "kd_weight": 0, "move_codes_every": 1, "score_memory": 1e-3},
            **{"predictive_weight": 0.1, "contrastive_weight": 0.5},
        },
    ),
    ("ODRec", {**CODES, "teacher": "GRU4RecTeacher", "kd_weight": 0, "move_codes_every": 1, "sampled_items": 200}),
    (
        "ODRec",
        {
            **{"compression_rate": 2, "contrastive_weight": 0.5, "predictive_weight": 0.1, "score_memory": 1e-3},
            "teachers": [
                {"model": "SASRecTeacher", "weight": 2, "repeat_scores": True},
                {"model": "SR"},
                {"model": "GRU4RecTeacher", "hidden_size": 24, "normalize_items": True},
            ],
        },
    ),
]
SPLIT: list[tuple[str, dict[str, Any]]] = [
    (
        "SASRecTeacher",
        {
            **{"n_heads": 2, "normalize_items": True, "repeat_scores": True, "exclude_seen": True},
            **{"table_dropout_prob": 0.2, "clip_grad_norm": {"max_norm": 0.01}, "score_memory": 1e-3},
        },
    ),
    (
        "GRU4RecTeacher",
        {"sampled_items": 200, "table_dropout_prob": 0.3, "repeat_scores": True}
        | {"eval_args": {"mode": "uni50", "order": "TO", "group_by": "user", "split": {"LS": "valid_and_test"}}},
    ),
]
KILLED = {**KEYS, "split_table": True, "epochs": 3, "compression_rate": 2, "checkpoint_dir": "killed", "state": "INFO"}


@pytest.fixture(scope="session")
def data(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `ml-small`, and with its users as sessions of Parquet folders: `clicks` of many row groups, `one`."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "ml-small").symlink_to(small_data / "ml-small")
    table = ["--inter", str(small_data / "ml-small" / "ml-small.inter"), "--session_field", "user_id"]
    for name, n_items in (("clicks", 500), ("one", 10**6)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("recbole_odrec.data.parquet_writer.GROUP_ITEMS", n_items)
            assert main(["convert", "--format", "parquet", "--name", name, "--output", str(folder), *table]) == 0
    return folder


@pytest.fixture(scope="session")
def one_process(data: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Results of one process, and the file of a teacher that several are given."""
    folder, found = tmp_path_factory.mktemp("one"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        values = {**KEYS, "data_path": str(data), "checkpoint_dir": str(folder / "saved")}
        for name, (model, keys) in RUNS.items():
            found[name] = run(model, "ml-small", config_dict={**values, **keys})
        teacher = {"teachers": [{"checkpoint": found["SASRec"]["phases"]["model"]["checkpoint"]}], "epochs": 1}
        found["given"] = run("ODRec", "ml-small", config_dict={**values, "compression_rate": 2, **teacher})
        found["killed"] = run("ODRec", "ml-small", config_dict={**KILLED, "data_path": str(small_data)})
    return found


@pytest.mark.parametrize(("before", "after"), [(2, 3), pytest.param(3, 2, marks=pytest.mark.exhaustive)])
def test_as_one_process(
    one_process: dict[str, dict], data: Path, small_data: Path, tmp_path: Path, before: int, after: int
) -> None:
    """Runs of some processes, of which one is killed; then a step of others, bad input, and the killed run goes on.

    All in one test, as a launch costs more than what it does, and two workers of pytest would each launch.
    """
    given = {"compression_rate": 2, "teachers": one_process["given"]["config"]["teachers"]}
    runs = {**RUNS, "given": ("ODRec", given)}
    here = {"data_path": str(small_data)}
    jobs = [["run", model, {**KEYS, **keys, "data_path": str(data)}] for model, keys in runs.values()]
    begun = words({**BEGUN, "data_path": data}, "SASRecTeacher")
    code, _ = launched(before, tmp_path, [*jobs, ["begin", begun], ["kill", words({**KILLED, **here})]])
    results = dict(zip(runs, json.loads((tmp_path / "results.json").read_text()), strict=True))
    check_numbers({name: one_process[name] for name in runs}, results)
    assert code != 0
    check_killed(tmp_path)
    shutil.copytree(tmp_path / "killed", tmp_path / "one" / "killed")

    one = {**here, "train_batch_size": 512}  # of a batch each process also does all
    jobs = [["step", model, {**KEYS, **keys, **one}] for model, keys in STEPS]
    jobs += [["split", model, {**KEYS, **keys, **one}] for model, keys in SPLIT]
    jobs += [["taught", model, {**KEYS, **keys, **one}] for model, keys in TAUGHT]
    jobs += [["stream", STREAM[0], {**KEYS, **STREAM[1], "data_path": str(data)}], ["go on", [*begun, "--resume"]]]
    wrong = wrong_commands(small_data, tmp_path, after)
    stream = words({**BEGUN, "dataset": "one", "data_path": data, "checkpoint_dir": "untouched"}, "SASRecTeacher")
    wrong[f"{after} processes and 1 row groups of training sessions, expected one for each"] = stream
    jobs += [["command", command] for command in wrong.values()]
    code, _ = launched(after, tmp_path, [*jobs, ["command", [*words({**KILLED, **here}), "--resume"]]])
    assert code == 0, output_of(tmp_path)[-3000:]
    check_refused(tmp_path, [*wrong], after)
    check_streamed(tmp_path, before, after)
    (file,) = tmp_path.glob("killed/*/result.json")
    check_resumed(one_process["killed"], json.loads(file.read_text()))
    if before == 3:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path / "one")
            check_resumed(one_process["killed"], run("ODRec", "ml-small", config_dict={**KILLED, **here}, resume=True))


def check_streamed(folder: Path, before: int, after: int) -> None:
    """Each case was trained on once an epoch: in the one before the run was stopped, and in two by other processes."""
    plain = sorted((folder / "plain.txt").read_text().splitlines())
    for kind, n_processes, n_epochs in (("begin", before, 1), ("go on", after, 2)):
        of_each = [(folder / f"cases-{kind}-{number}.txt").read_text().splitlines() for number in range(n_processes)]
        assert sorted(case for cases in of_each for case in cases) == sorted(n_epochs * plain)
        assert min(map(len, of_each)) > len(plain) * n_epochs / n_processes / 2
    (file,) = folder.glob("begun/*/result.json")
    assert len(json.loads(file.read_text())["phases"]["model"]["losses"]) == BEGUN["epochs"]


def words(keys: dict[str, object], model: str = "ODRec") -> list[str]:
    return ["train", f"--model={model}", *(f"--{key}={value}" for key, value in keys.items())]


def check_numbers(expected: dict[str, dict], found: dict[str, dict]) -> None:
    """Losses of the first steps, and metrics to their last digit; what was chosen by metrics is the same."""
    assert found["weighed"]["phases"]["teacher"]["weights"][1] > 0
    for name, result in expected.items():
        assert result["phases"].keys() == found[name]["phases"].keys()
        for phase, report in result["phases"].items():
            other = found[name]["phases"][phase]
            for what in ("weights", "decided"):
                assert other.get(what) == report.get(what), (name, phase)
            for losses, others in zip(report.get("losses", []), other.get("losses", []), strict=True):
                assert others == pytest.approx(losses, rel=1e-6, abs=1e-6), (name, phase)
            for split in ("valid", "test"):
                assert other[split]["all"] == report[split]["all"], (name, phase)
                assert other[split]["cases"] == report[split]["cases"], (name, phase)


def check_killed(folder: Path) -> None:
    """The others end too, and say nothing of it but the signal, in torchrun's report."""
    said = output_of(folder)
    assert "Signal 9 (SIGKILL) received" in said
    assert said.count("Traceback") == 1, said[-3000:]  # torchrun's own
    assert said.count("another process of this run has ended") <= 1
    assert not list(folder.glob("killed/*/result.json"))


def check_resumed(expected: dict, found: dict) -> None:
    """As the run that was never killed, but for what rounding has made of weights that are next to nothing."""
    for phase, report in expected["phases"].items():
        other = found["phases"][phase]
        assert len(other["losses"]) == KILLED["epochs"]
        for losses, others in zip(report["losses"], other["losses"], strict=True):
            assert others == pytest.approx(losses, rel=1e-5, abs=1e-5)
        assert other["test"]["all"] == pytest.approx(report["test"]["all"], abs=0.01)


def wrong_commands(small_data: Path, folder: Path, n_processes: int) -> dict[str, list[str]]:
    """What is said of each, and its words; {rank} in them is the number of the process."""
    last = n_processes - 1
    header, *lines = (small_data / "ml-small" / "ml-small.inter").read_text().splitlines()
    for number in range(n_processes):
        for name, n_users in (("data", 41 if number == last else 40), ("few", last)):
            file = folder / f"{name}-{number}" / "ml-here" / "ml-here.inter"
            file.parent.mkdir(parents=True)
            kept = [line for line in lines if int(line.split("\t")[0]) <= n_users]
            file.write_text("\n".join([header, *kept]) + "\n")
        if number != last:
            (folder / f"gone-{number}").symlink_to(folder / f"data-{number}")
    keys = {**KEYS, "compression_rate": 2, "data_path": small_data, "checkpoint_dir": "untouched"}
    here = {**keys, "dataset": "ml-here"}
    few = f"{n_processes} processes and fewer cases ({last} for validation, {last} for test)"
    return {
        "learning_rate=1.1 in process 1": words({**keys, "learning_rate": "{rank}.1"}),
        f"process {last}: ": words({**here, "data_path": folder / "gone-{rank}"}),
        f"process {last} has read other data than this one": words({**here, "data_path": folder / "data-{rank}"}),
        few: words({**here, "data_path": folder / "few-{rank}"}),
        "GRU4Rec of RecBole trains in one process": words(
            {"dataset": "ml-100k", "checkpoint_dir": "untouched"}, "GRU4Rec"
        ),
        "GRU4Rec of RecBole trains in one process: train it": words({**keys, "teacher": "GRU4Rec"}),
        "unknown key `tt_rnak`": words({**keys, "tt_rnak": 8}),
        "expected a number in [0, 1]": words({**keys, "kd_weight": 2}),
    }


def check_refused(folder: Path, expected: list[str], n_processes: int) -> None:
    """One line each, of the first process, and exit code 2 in all; nothing is written."""
    said = [line for line in output_of(folder).splitlines() if line.startswith("recbole_odrec:")]
    assert len(said) == len(expected), output_of(folder)[-3000:]
    for part, line in zip(expected, said, strict=True):
        assert part in line
    for number in range(n_processes):
        codes = (folder / f"codes-{number}.txt").read_text().split()
        assert codes[-len(expected) - 1 :] == [*["2"] * len(expected), "0"]
    assert not list(folder.glob("untouched/*"))


def test_one_that_fails_ends_all(small_data: Path, tmp_path: Path) -> None:
    """What it had done goes on in one process, although the rows of its table were split."""
    keys = {**KEYS, "epochs": 3, "data_path": str(small_data), "split_table": True}
    code, seconds = launched(2, tmp_path, [["raise", words(keys, "GRU4RecTeacher")]])
    said = output_of(tmp_path)
    assert code != 0
    assert said.count("RuntimeError: process 1 is out of luck") == 1
    assert said.count("Traceback") <= 2  # torchrun has one of its own
    assert seconds < 120  # of which the death takes less than a minute
    assert not list(tmp_path.glob("saved/*/result.json"))
    resumed = run("GRU4RecTeacher", "ml-small", config_dict=keys, resume=True)
    whole = run("GRU4RecTeacher", "ml-small", config_dict=keys)
    check_resumed(whole, resumed)


def test_one_that_stands_still_ends_all(small_data: Path, tmp_path: Path) -> None:
    """The other one says so when its patience, 10 s here, is over; torchrun kills who does not end by itself."""
    keys = {**KEYS, "epochs": 3, "data_path": str(small_data)}
    code, _ = launched(2, tmp_path, [["stop", words(keys, "GRU4RecTeacher")]])
    said = output_of(tmp_path)
    assert code != 0
    line = "process 0 has waited 10 s for an answer of the others, and one of them gives none"
    assert said.count(f"recbole_odrec: {line}") == said.count("recbole_odrec: ") == 1, said[-3000:]
    assert said.count("Traceback") == 1  # torchrun's own
    assert (tmp_path / "codes-0.txt").read_text() == "1\n"
    stopped, ended = tmp_path / "stopped.txt", tmp_path / "codes-0.txt"
    assert 10 < ended.stat().st_mtime - stopped.stat().st_mtime < 25
    with pytest.raises(ProcessLookupError):
        os.kill(int(stopped.read_text()), 0)
    assert not list(tmp_path.glob("saved/*/result.json"))


@pytest.mark.parametrize("n_processes", [1, 2, 3, 7])
def test_each_case_is_in_one_share(n_processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    next_items = torch.tensor([[3, 0, 0], [4, 5, 0], [0, 6, 7], [0, 0, 8], [9, 0, 0]])
    batch = Windows({NEXT_ITEMS: next_items}, next_items.flatten().nonzero().squeeze(1))
    found, part_of_cases, part_of_rows = [], 0.0, 0.0
    for number in range(n_processes):
        for module in (shares, windows):
            monkeypatch.setattr(module, "rank", lambda number=number: number)
        monkeypatch.setattr(shares, "n_processes", lambda: n_processes)
        shared = batch.shared()
        assert shared.share is not None
        part_of_cases += shared.share.part_of("cases")
        part_of_rows += shared.share.part_of("rows")
        if shared.share.n_rows:
            found += shared[NEXT_ITEMS].flatten()[shared.cases].tolist()
    assert found == [3, 4, 5, 6, 7, 8, 9]
    assert part_of_cases == pytest.approx(1)
    assert part_of_rows == pytest.approx(1)


def test_a_share_without_cases_computes_one_that_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """All windows of a share may have lost theirs to a walk that ended early: of none, a mean is no number."""
    next_items = torch.tensor([[3, 0, 4], [0, 0, 0]])
    batch = Windows({NEXT_ITEMS: next_items}, torch.tensor([0, 2]))
    for module in (shares, windows):
        monkeypatch.setattr(module, "rank", lambda: 1)
    monkeypatch.setattr(shares, "n_processes", lambda: 2)
    streamed = Windows({NEXT_ITEMS: next_items[1:, :2]}, torch.zeros(0, dtype=torch.int64))
    for share in (batch.shared(), streamed.widened(3, shares.Share([0, 1, 2], 0, 2))):
        assert share.share is not None
        assert (share.share.part_of("cases"), share.share.part_of("rows")) == (0, 0.5)
        assert share.cases.tolist() == [0]
        assert share[NEXT_ITEMS].tolist() == [[1, 0, 0]]
    assert next_items.tolist() == [[3, 0, 4], [0, 0, 0]]
