"""The accuracy benchmark end to end on small real data, and its statistics against plain formulas."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from recbole.evaluator.metrics import NDCG

from recbole_odrec.benchmark.accuracy.leaderboard import main_rows
from recbole_odrec.benchmark.accuracy.meaning import DATA_KEYS, OF_MACHINE, difference, meaning
from recbole_odrec.benchmark.accuracy.plots import _KINDS, _Point, _unequalled
from recbole_odrec.benchmark.accuracy.ranks import (
    METRICS,
    case_values,
    half_width,
    pack,
    paired_bootstrap,
    repeated_targets,
    unpack,
)
from recbole_odrec.benchmark.accuracy.report import write_report
from recbole_odrec.benchmark.accuracy.rows import TEACHER, Row, read_rows
from recbole_odrec.benchmark.accuracy.tested import read_runs
from recbole_odrec.cli import main
from recbole_odrec.config import setting_names
from recbole_odrec.config.resolve import differences, resolve, resolve_teacher
from recbole_odrec.nn.product import is_quick_in_bfloat16
from recbole_odrec.quick_start import run as run_package
from recbole_odrec.trainer.teacher_weights import WEIGHTS

SMALL = {"hidden_size": 16, "epochs": 2, "readout": "item_attention", "repeat_scores": True, "train_batch_size": 256}


STUDENT = "student"
DATA = {"USER_ID_FIELD": "session_id", "benchmark_filename": ["train", "valid", "test"]}
# Keys that came after the rows, at the values that change nothing.
YOUNGER = {
    "exclude_seen": False,
    "n_followers": 0,
    "follower_gain": "auto",
    "sampled_items": 0,
    "split_table": "auto",
    "update_from": None,
    "update_budget": 0,
    "shuffle_buffer": 20_000_000,
}
EVALUATION = {"metrics": ["Recall", "MRR", "NDCG"], "topk": [5, 10, 20], "valid_metric": "NDCG@10"}
RESULTS = Path(__file__).parents[2] / "results"
ROWS = read_rows(RESULTS / "accuracy" / "rows")
ALL_ROWS = [row for of_one in ROWS.values() for row in of_one.values()]
COMPLETE = [row for row in ALL_ROWS if not (row.teaches or row.is_default)]
DEFAULTS = [row for row in ALL_ROWS if row.is_default]


def write_row(name: str, **values: object) -> None:
    """A row of the data set `ml` in the folder `out`."""
    path = Path(f"out/accuracy/rows/ml/{name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"place": 1, **values}))


def run_of(folder: Path, name: str, seed: int) -> dict:
    return json.loads((folder / f"{name}.seed-{seed}.json").read_text())


def test_case_values_are_the_metrics_definitions() -> None:
    ranks = np.array([1, 3, 0, 10, 11])
    np.testing.assert_allclose(case_values(ranks, "recall@10"), [1, 1, 0, 1, 0])
    np.testing.assert_allclose(case_values(ranks, "mrr@10"), [1, 1 / 3, 0, 1 / 10, 0])
    hits = np.zeros((5, 10), dtype=bool)
    hits[[0, 1, 3], [0, 2, 9]] = True
    recboles = NDCG.metric_info(NDCG.__new__(NDCG), hits, np.ones(5, dtype=int))[:, 9]
    np.testing.assert_allclose(case_values(ranks, "ndcg@10"), recboles)


def test_sessions_are_drawn_not_cases() -> None:
    """Ten sessions of 50 like cases say as much as ten cases: the interval is that of sessions."""
    generator = np.random.default_rng(0)
    better = generator.integers(0, 2, size=10)  # of each session
    first = np.repeat(better, 50)[None]
    second = np.zeros((1, 500), dtype=int)
    of_sessions = paired_bootstrap(first, second, np.full(10, 50))["recall@10"]
    of_cases = paired_bootstrap(first, second, np.ones(500, dtype=int))["recall@10"]
    assert of_sessions.mean == of_cases.mean == pytest.approx(better.mean())
    wide, narrow = (found.high - found.low for found in (of_sessions, of_cases))
    assert wide == pytest.approx(2 * 1.96 * better.std() / 10**0.5, rel=0.15)
    assert narrow == pytest.approx(wide / 50**0.5, rel=0.15)
    assert of_sessions.p_worse == 0
    with pytest.raises(ValueError, match="expected the same"):
        paired_bootstrap(first, second, np.full(9, 50))


def test_half_of_an_interval_is_that_of_many_draws() -> None:
    generator = np.random.default_rng(0)
    cases = generator.integers(1, 9, size=400)
    ranks = generator.integers(0, 25, size=(2, cases.sum())) * np.repeat(generator.integers(0, 2, size=400), cases)
    drawn = paired_bootstrap(ranks, np.zeros_like(ranks), cases)["ndcg@20"]
    assert half_width(ranks, cases, "ndcg@20") == pytest.approx((drawn.high - drawn.low) / 2, rel=0.03)


def test_repeated_targets_stand_in_what_a_model_sees() -> None:
    sessions = [np.array([5, 7, 5, 5, 7]), np.array([5, 6])]
    assert repeated_targets(sessions, 1, 40).tolist() == [False, True, True, True, False]
    assert repeated_targets(sessions, 1, 2).tolist() == [False, True, True, False, False]
    assert repeated_targets(sessions, 2, 40).tolist() == [True, True, True]


def test_ranks_survive_their_text() -> None:
    ranks = np.array([0, 1, 20, 255, 65_535])
    np.testing.assert_array_equal(unpack(pack(ranks)), ranks)


def test_runs_are_made_once_and_tables_come_from_them(write_sessions, capsys) -> None:
    write_sessions("data", n_users=80, n_films=24)
    ours = {**DATA, **EVALUATION, **SMALL}
    baseline = {"epochs": 2, "enable_amp": True, "train_neg_sample_args": None, "embedding_size": 16, "hidden_size": 16}
    codes = {"table": "codes", "init_from_teacher": True, "compression_rate": 2, "kd_weight": 0.25}
    taught = {"teachers": [{"row": TEACHER}], "settings": {**ours, **codes}}
    write_row(TEACHER, title="Teacher", model="SASRecTeacher", settings=ours, is_bold=True)
    write_row(STUDENT, title="Student", model="ODRec", is_bold=True, **taught)
    write_row("gru4rec", title="GRU4Rec", model="GRU4Rec", settings={**DATA, **EVALUATION, **baseline})
    rows = [read_rows(Path("out/accuracy/rows"))["ml"][name] for name in (TEACHER, STUDENT, "gru4rec")]
    words = ["benchmark", "accuracy", "--datasets", "ml", "--data_path", "data", "--no_progress", "--output", "out"]
    assert main([*words, "--seeds", "1", "2"]) == 0
    folder = Path("out/accuracy/ml")
    names = [f"{row.name}.{stage}.json" for row in rows[:2] for stage in ("select", "seed-1", "seed-2")]
    names += ["gru4rec.select.json", "gru4rec.seed-1.json"]
    assert {path.name for path in folder.iterdir()} == set(names)
    for row in rows:
        selected, tested = (json.loads((folder / f"{row.name}.{s}.json").read_text()) for s in ("select", "seed-1"))
        assert selected["test"] is None
        assert selected["valid"]["all"]["ndcg@10"] > 0
        assert tested["valid"] is None
        assert tested["config"]["refit_epochs"] == selected["best_epoch"] + 1
        if row.name == STUDENT:  # the gain that validation chose
            assert tested["config"]["follower_gain"] == tested["follower_gain"] == selected["follower_gain"]
        ranks, n_sessions = unpack(tested["test_ranks"]), unpack(tested["test_sessions"])
        assert n_sessions.sum() == len(ranks) == tested["data"]["cases"][2]
        for metric in METRICS:
            assert case_values(ranks, metric).mean() == pytest.approx(tested["test"]["all"][metric], abs=1e-4)
        repeats = unpack(tested["test_repeats"])
        assert len(repeats) == len(ranks)
        assert not repeats.any()  # nobody rates a film twice
        trained, valid, _ = selected["data"]["cases"]
        assert tested["data"]["cases"][:2] == [trained + valid, valid]
    assert run_of(folder, "gru4rec", 1)["config"]["enable_amp"] == is_quick_in_bfloat16(torch.device("cpu"))
    config = run_of(folder, STUDENT, 1)["config"]
    assert (config["kd_weight"], config["compression_rate"]) == (0.25, 2)
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    text, board = Path("out/accuracy.md").read_text(), Path("out/README.md").read_text()
    student = json.loads((folder / f"{STUDENT}.seed-1.json").read_text())
    assert f"{student['parameters']['item_table_bytes'] / 1e6:.2f} MB" in text
    assert "| **Student** |" in text
    assert "| GRU4Rec | 1x |" in text
    assert [board.index(f"| ml | {row.title} |") for row in (rows[2], *rows[:2])] == sorted(
        board.index(f"| ml | {row.title} |") for row in rows
    )  # RecBole's, teachers, students
    new = 100 * run_of(folder, "gru4rec", 1)["test"]["all"]["recall@20"]
    epochs = run_of(folder, "gru4rec", 1)["config"]["refit_epochs"]
    assert f"| - | {new:.2f} | {epochs} of 2 |\n" in text
    ndcg = {
        name: np.mean([run_of(folder, name, seed)["test"]["all"]["ndcg@20"] for seed in seeds])
        for name, seeds in ((TEACHER, (1, 2)), (STUDENT, (1, 2)), ("gru4rec", (1,)))
    }
    assert f"| Student | {ndcg[STUDENT] / ndcg[TEACHER]:.3f} | " in text.split("Beside Teacher, the teacher")[1]
    beside_baseline = text.split("Beside GRU4Rec, the best of RecBole's models here")[1]
    for name, title in ((TEACHER, "Teacher"), (STUDENT, "Student")):
        assert f"| {title} | {ndcg[name] / ndcg['gru4rec']:.3f} | " in beside_baseline
    assert not list(Path("out").glob("*.png"))  # one size of student is no line
    # Again: nothing is run, the same text.
    assert main([*words, "--seeds", "1", "2"]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written
    assert Path("out/accuracy.md").read_text() == text
    # A teacher whose checkpoint is gone is trained again for a student that needs it; what was left half done with
    # other settings is in nobody's way.
    left = Path("saved/accuracy/ml", f"{STUDENT}.seed-2", "ODRec-ml-earlier")
    left.mkdir()
    (left / "run.json").write_text(json.dumps({"fingerprint": "another", "config": {}}))
    (folder / f"{STUDENT}.seed-2.json").unlink()
    for path in Path("saved/accuracy/ml", f"{TEACHER}.seed-2").rglob("*.pth"):
        path.unlink()
    for path in Path("saved/accuracy/ml", f"{TEACHER}.seed-2").rglob("result.json"):
        path.unlink()
    assert main([*words, "--seeds", "2"]) == 0
    assert Path("out/accuracy.md").read_text() == text
    # Models without a seed in common cannot be paired; a file of another version is named.
    (folder / f"{TEACHER}.seed-1.json").unlink()
    (folder / f"{STUDENT}.seed-1.json").unlink()
    assert main([*words, "--tables_only"]) == 0
    assert "Beside GRU4Rec" not in Path("out/accuracy.md").read_text()
    run = run_of(folder, STUDENT, 2)
    del run["test_repeats"]
    (folder / f"{STUDENT}.seed-2.json").write_text(json.dumps(run))
    capsys.readouterr()
    assert main([*words, "--tables_only"]) == 2
    assert f"{STUDENT}.seed-2.json is not a run of `benchmark accuracy` ('test_repeats')" in capsys.readouterr().err
    (folder / f"{STUDENT}.seed-2.json").write_text("not json")
    assert main([*words, "--seeds", "2"]) == 2
    assert f"{STUDENT}.seed-2.json is not a run of `benchmark accuracy` (Expecting value" in capsys.readouterr().err


def test_the_picture_joins_what_nothing_as_small_equals() -> None:
    points = [_Point(ALL_ROWS[0], "teacher", size, ndcg) for size, ndcg in ((4, 3), (1, 2), (2, 2), (2, 1), (4, 4))]
    assert [(point.size, point.ndcg) for point in _unequalled(points)] == [(1, 2), (4, 4)]


@pytest.mark.parametrize(
    ("table", "kind"),
    [("tensor_train", "student, tensor train"), *((name, "student, another table") for name in ("hashed", "my:Own"))],
)
def test_the_picture_knows_students_of_any_table(table: str, kind: str) -> None:
    row = next(row for row in ALL_ROWS if row.kind == "student")
    sizes, percent = {"item_table_bytes": 2e6}, lambda *_: [5.0]
    tested: Any = SimpleNamespace(row=row, runs=[{"config": {"table": table}}], sizes=sizes, percent=percent)
    assert _Point.of(tested) == (row, kind, 2, 5)
    assert kind in _KINDS


def test_several_teachers_of_a_student_are_a_row(write_sessions) -> None:
    write_sessions("data", n_users=40, n_films=12)
    ours = {**DATA, **EVALUATION, **SMALL}
    write_row(TEACHER, title="Teacher", model="SASRecTeacher", settings=ours, is_bold=True)
    write_row("both", title="Both", model="SASRecTeacher", teaches="taught", is_aside=True)
    teachers = [{"row": TEACHER, "seeds": 2}]
    write_row("taught", title="Taught", model="ODRec", settings={**ours, "compression_rate": 2}, teachers=teachers)
    words = ["benchmark", "accuracy", "--datasets", "ml", "--data_path", "data", "--no_progress", "--output", "out"]
    assert main([*words, "--rows", "both", "--seeds", "1"]) == 0
    folder = Path("out/accuracy/ml")
    names = [f"{TEACHER}.{stage}.json" for stage in ("select", "select-2", "seed-1", "seed-2")]
    names += [f"{row}.{stage}.json" for row in ("both", "taught") for stage in ("select", "seed-1")]
    assert {path.name for path in folder.iterdir()} == set(names)
    both, first, second = (run_of(folder, name, seed) for name, seed in (("both", 1), (TEACHER, 1), (TEACHER, 2)))
    assert both["parameters"]["item_table_bytes"] == 2 * first["parameters"]["item_table_bytes"]
    assert both["config"]["refit_epochs"] == first["config"]["refit_epochs"]
    assert len({run["test_ranks"] for run in (both, first, second)}) == 3
    text, board = Path("out/accuracy.md").read_text(), Path("out/README.md").read_text()
    assert "| Both | 1x |" in text
    assert "| ml | Both |" not in board  # an aside is for the long tables
    assert "| ml | Taught |" in board
    taught = run_of(folder, "taught", 1)["test"]["all"]["ndcg@20"]
    for name, other in (("Teacher", [first, second]), ("Both", [both])):
        ratio = taught / np.mean([run["test"]["all"]["ndcg@20"] for run in other])
        assert f"| Taught | {ratio:.3f} | " in text.split(f"Beside {name}, the teacher")[1]


def test_users_with_their_last_items_left_out(small_data, capsys) -> None:
    """The run that selects is tested; a student's teacher is a row of its own; a default that changed is noticed."""
    few = {**SMALL, "epochs": 1}
    write_row(TEACHER, title="Teacher", model="SASRecTeacher", is_default=True, settings=few)
    taught = [{"row": TEACHER}, {"row": "counts", "weight": "auto"}]
    student = {"title": "Student", "model": "ODRec", "is_default": True, "teachers": taught}
    write_row(STUDENT, settings={**few, "compression_rate": 2}, **student)
    write_row("counts", title="ItemTransitions", model="ItemTransitions", is_default=True)
    write_row("vstan", title="VSTAN", model="VSTAN", is_default=True)
    baseline = {**EVALUATION, "epochs": 1, "embedding_size": 16, "hidden_size": 16}
    write_row("gru4rec", title="GRU4Rec", model="GRU4Rec", is_default=True, settings=baseline)
    Path("out/accuracy/rows/ml").rename("out/accuracy/rows/ml-small")
    words = ["benchmark", "accuracy", "--no_progress", "--output", "out", "--data_path", str(small_data)]
    assert main(words) == 0
    folder = Path("out/accuracy/ml-small")
    rows = (TEACHER, STUDENT, "vstan", "gru4rec", "counts")
    assert {path.name for path in folder.iterdir()} == {f"{row}.seed-1.json" for row in rows}
    for run in (run_of(folder, row, 1) for row in rows):
        assert run["stage"] == "selected on validation, tested once"
        assert run["data"] == {"items": 1265, "users": [120] * 3, "cases": [12_359, 120, 120]}
        assert run["valid"]["all"]["ndcg@20"] > 0
        assert run["config"]["eval_args"]["split"] == {"LS": "valid_and_test"}
        assert run["config"]["MAX_ITEM_LIST_LENGTH"] == (50 if run["row"] == "gru4rec" else 100)  # as the data decided
        assert run["config"].keys() >= DATA_KEYS - {"alias_of_entity_id", "alias_of_relation_id"}
        assert run["test"]["all"]["ndcg@20"] == pytest.approx(
            case_values(unpack(run["test_ranks"]), "ndcg@20").mean(), abs=1e-6
        )
        assert unpack(run["test_sessions"]).tolist() == [1] * 120
        assert not unpack(run["test_repeats"]).any()  # nobody rates a film twice
    text, board = Path("out/accuracy.md").read_text(), Path("out/README.md").read_text()
    assert "1,265 items. Training: 120 users, 12,359 cases; validation: 120 users, 120 cases; test:" in board
    ratio = np.divide(*(run_of(folder, row, 1)["test"]["all"]["ndcg@20"] for row in (STUDENT, "counts")))
    assert (
        f"| Student | {ratio:.3f} | " in text.split("Beside ItemTransitions, the best of the models that count here")[1]
    )
    # The student is what the package trains by itself when it trains its teacher too.
    settings = {**few, "compression_rate": 2, "seed": 1, "metric_decimal_place": 6, "data_path": str(small_data)}
    alone = run_package("ODRec", "ml-small", config_dict=settings)
    of_row = run_of(folder, STUDENT, 1)
    assert alone["phases"]["student"]["test"]["all"] == of_row["test"]["all"]
    weights = [teacher["weight"] for teacher in of_row["config"]["teachers"]]
    assert weights == alone["phases"]["teacher"]["weights"] == [1, weights[1]]
    assert weights[1] in WEIGHTS  # after an epoch the network knows less than counting does
    kept = (folder / f"{TEACHER}.seed-1.json").read_text()
    (folder / f"{TEACHER}.seed-1.json").write_text(json.dumps({**json.loads(kept), "config": None}))
    for more in ([], ["--tables_only"]):
        assert main([*words, *more]) == 2
        assert f"{TEACHER}.seed-1.json is not a run of `benchmark accuracy`" in capsys.readouterr().err
    (folder / f"{TEACHER}.seed-1.json").write_text(kept)
    # Nothing is run twice, but for what is none of its row any more: the teacher's, and so the student's.
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    content = run_of(folder, TEACHER, 1)
    content["config"]["table_dropout_prob"] = 0.25
    (folder / f"{TEACHER}.seed-1.json").write_text(json.dumps(content))
    capsys.readouterr()
    assert main([*words, "--tables_only"]) == 2
    why = f"(table_dropout_prob of {TEACHER}: 0.25 then, 0.2 now)"
    assert f"{TEACHER}.seed-1.json is no run of its row any more {why}" in capsys.readouterr().err
    student = run_of(folder, STUDENT, 1)
    student["config"]["teachers"][0]["config"] = content["config"]
    (folder / f"{STUDENT}.seed-1.json").write_text(json.dumps(student))
    assert main(words) == 0
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name for name in written if after[name] != written[name]} == {f"{row}.seed-1.json" for row in rows[:2]}
    assert Path("out/accuracy.md").read_text() == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "odrec-30"], "no row `odrec-30` (did you mean `odrec-30x`?)"),
        (["--datasets", "tmal"], "no data set `tmal` (did you mean `tmall`?)"),
        (["--datasets", "tmall"], "dataset/tmall does not exist: write it with `recbole-odrec convert"),
        (["--datasets", "beauty"], "dataset/beauty does not exist: put beauty.inter into it, users with their items"),
        (["--tables_only"], "no tested run under results/accuracy: run `recbole-odrec benchmark accuracy` first."),
        (["--datasets", "tmal", "--tables_only"], "no data set `tmal` (did you mean `tmall`?)"),
        (["--datasets", "tmall", "--rows", "slit-2", "slit"], "no row `slit-2` (did you mean `slit`?)"),
        (["--datasets", "ml-100k", "--rows", "odrec-30x"], "no row `odrec-30x` of ml-100k: "),
        (["--output", "elsewhere"], "no row under elsewhere/accuracy/rows"),
    ],
)
def test_bad_input_is_one_line(capsys, words: list[str], message: str) -> None:
    shutil.copytree(RESULTS / "accuracy" / "rows", "results/accuracy/rows")
    before = sorted(Path("results").rglob("*"))
    assert main(["benchmark", "accuracy", *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(Path("results").rglob("*")) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"title": "A", "modle": "ODRec"}, "unknown key `modle` (did you mean `model`?)."),
        ({"title": "A"}, "a.yaml is not a row of `benchmark accuracy`: it lacks `model`, expected a word."),
        ({"title": 3}, "a.yaml: title=3, expected a word."),
        ({"place": "a"}, "a.yaml: place='a', expected a whole number from 0 to"),
        ({"model": ["ODRec"]}, "a.yaml: model=['ODRec'], expected a word."),
        ({"model": "ODRek"}, "a.yaml: no model named `ODRek` (did you mean `ODRec`?)."),
        ({"is_bold": "yes!"}, "a.yaml: is_bold='yes!', expected True or False."),
        ({"settings": None}, "a.yaml: settings=None, expected a dictionary of a run's keys and values."),
        ({"settings": {"seed": 3}}, "a.yaml: settings hold seed, which each run of the row has of its own"),
        ({"settings": {"epochs": "a"}}, "ml/a.yaml: epochs='a', expected a whole number"),
        ({"teachers": "b"}, "a.yaml: teachers='b', expected a list of rows that teach"),
        ({"teachers": [{"weight": 2}]}, "a.yaml is not a row of `benchmark accuracy`: it lacks `row`"),
        ({"teachers": [{"row": "a", "weight": "x"}]}, "a.yaml: weight='x', expected a number above 0 or one of auto."),
        ({"teachers": [{"row": "a", "seeds": 4}]}, "a.yaml: seeds=4, expected a whole number from 1 to 3."),
        ({"teachers": [{"row": "a", "wait": 1}]}, "a.yaml: unknown key `wait` (did you mean `weight`?)."),
        ({"teachers": [{"row": "b"}]}, "ml/a.yaml names the row `b`, which is not there"),
        ({"teachers": [{"row": "a"}]}, "ml/a.yaml: the row `a` cannot teach"),  # it would wait for itself
        ({"model": "SASRecTeacher", "teaches": "a"}, "ml/a.yaml: teaches='a', expected a row that has teachers."),
        ({"model": "VSKNN", "teachers": [{"row": "c"}]}, "ml/a.yaml: teachers are those of a row with model ODRec"),
    ],
)
def test_a_file_that_is_no_row_is_one_line(values: dict, message: str, capsys) -> None:
    write_row("c", title="C", model="SASRecTeacher")
    write_row("a", **(values if "title" in values else {"title": "A", "model": "ODRec", **values}))
    Path("dataset/ml").mkdir(parents=True)
    assert main(["benchmark", "accuracy", "--output", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(Path("out/accuracy").glob("ml/*"))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"test_repeats": "AAAA"}, "(Error -3 while decompressing"),
        ({"seed": "a"}, "(seed='a')"),
        ({"row": "vstan"}, "(it is of beauty/vstan)"),
        ({"config": None}, "(config=None)"),
    ],
)
def test_a_broken_result_is_one_line(broken: dict, message: str, capsys) -> None:
    """In the same words, whether its row is about to run or in a table."""
    shutil.copytree(RESULTS / "accuracy" / "rows" / "beauty", "out/accuracy/rows/beauty")
    Path("dataset/beauty").mkdir(parents=True)
    path, words = Path("out/accuracy/beauty/vsknn.seed-1.json"), ["benchmark", "accuracy", "--output", "out"]
    path.parent.mkdir()
    path.write_text(json.dumps({**run_of(RESULTS / "accuracy" / "beauty", "vsknn", 1), **broken}))
    for more in (["--rows", "vsknn"], ["--tables_only"]):
        assert main([*words, *more]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"recbole_odrec: {path} is not a run of `benchmark accuracy` {message}")
        assert said.endswith("; remove it to run it anew.\n")


def test_a_run_on_other_data_is_none_of_its_row() -> None:
    """Runs from before data keys were written down had the defaults; later ones say what they had."""
    rows = ROWS["beauty"]
    run = run_of(RESULTS / "accuracy" / "beauty", "vsknn", 1)
    assert "eval_args" not in run["config"]
    assert difference(rows["vsknn"], rows, run) == ""
    few = {"vsknn": replace(rows["vsknn"], settings={"user_inter_num_interval": "[9,inf)"})}
    with_few = difference(few["vsknn"], few, run)
    assert with_few == "user_inter_num_interval of vsknn: '[0,inf)' then, '[9,inf)' now"
    run["config"]["user_inter_num_interval"] = "[9,inf)"
    assert difference(few["vsknn"], few, run) == ""
    assert difference(rows["vsknn"], rows, run) == "user_inter_num_interval of vsknn: '[9,inf)' then, '[0,inf)' now"


def test_data_of_another_split_is_refused(write_sessions, capsys) -> None:
    ratio = {"RS": [0.8, 0.1, 0.1]}
    write_row(TEACHER, title="A", model="SASRecTeacher", settings={"eval_args": {"split": ratio, "order": "TO"}})
    Path("out/accuracy/rows/ml").rename("out/accuracy/rows/ml-100k")
    assert main(["benchmark", "accuracy", "--output", "out"]) == 2
    assert "ml-100k: benchmark accuracy needs session files of" in capsys.readouterr().err
    assert not list(Path("out").glob("accuracy/ml-100k/*"))


@pytest.mark.parametrize("row", COMPLETE, ids=lambda row: f"{row.dataset}-{row.name}")
def test_a_row_is_complete_and_is_what_its_runs_had(row: Row) -> None:
    """It resolves, leaves no key to a default that may change, and names the results beside it."""
    files = {"teachers": [{"checkpoint": "x"} for _ in row.teachers]} if row.teachers else {}
    values = resolve(row.model, row.dataset, config_dict={**row.settings, **files}).values
    of_runs = {"seed", "refit_epochs", "teachers"}  # what a run adds to its settings
    left_out = {name for name in setting_names(row.model) if name in values} - of_runs - row.settings.keys()
    assert {name: values[name] for name in left_out}.items() <= YOUNGER.items()
    assert not row.settings.keys() - values.keys()
    runs = sorted((RESULTS / "accuracy" / row.dataset).glob(f"{row.name}.*.json"))
    assert len(runs) >= 2
    for run in runs:
        had = json.loads(run.read_text())["config"]
        kept = had.keys() & row.settings.keys() - OF_MACHINE
        assert {key: had[key] for key in kept} == {key: row.settings[key] for key in kept}, run.name


@pytest.mark.parametrize("row", DEFAULTS, ids=lambda row: f"{row.dataset}-{row.name}")
def test_a_default_row_resolves_and_its_runs_had_just_that(row: Row) -> None:
    """Teachers of a student too: they are those that it would train by itself."""
    now = meaning(row)
    assert now.items() >= {key: value for key, value in row.settings.items() if key in now}.items()
    for path in (RESULTS / "accuracy" / row.dataset).glob(f"{row.name}.*.json"):
        assert not difference(row, ROWS[row.dataset], json.loads(path.read_text())), path.name
    if row.model == "ODRec":
        default = resolve("ODRec", row.dataset, config_dict=row.settings)
        assert [one.row for one in row.teachers] == row.names_of_teachers
        for one, entry in zip(row.teachers, default.values["teachers"], strict=True):
            found = resolve_teacher(default, entry["model"], differences(entry)).values
            of_row = meaning(ROWS[row.dataset][one.row])
            assert {key: found[key] for key in of_row} == of_row


def test_every_result_has_its_row() -> None:
    runs = [path.relative_to(RESULTS / "accuracy") for path in (RESULTS / "accuracy").glob("*/*.json")]
    named = {(run.parent.name, run.name.split(".")[0]) for run in runs}
    assert {(row.dataset, row.name) for row in ALL_ROWS if not row.is_default} <= named
    assert named <= {(row.dataset, row.name) for row in ALL_ROWS}


@pytest.mark.parametrize(("dataset", "student"), [("tmall", "codes-30x-2"), ("retailrocket", "codes-30x-gru")])
def test_the_default_of_a_data_set_is_what_its_row_measured(dataset: str, student: str) -> None:
    """Student and teachers: as the recipe has them and as their rows have them."""
    row = ROWS[dataset][student]
    default = resolve("ODRec", dataset, config_dict=EVALUATION)
    first, beside = default.values["teachers"]
    assert row.teachers[0].weight / row.teachers[1].weight == first.get("weight", 1) / beside.get("weight", 1)
    of_teachers = [resolve_teacher(default, entry["model"], differences(entry)) for entry in (first, beside)]
    for name, found in zip((student, *(one.row for one in row.teachers)), (default, *of_teachers), strict=True):
        measured = ROWS[dataset][name]
        assert measured.model == found.model
        kept = measured.settings.keys() & set(setting_names(measured.model)) - {"recipe", "starts_from"}
        assert {key: found.values[key] for key in kept} == {key: measured.settings[key] for key in kept}


def test_the_readme_shows_the_results_there_are() -> None:
    """`results/README.md` is what the run files say today, and README's short table is part of it."""
    root = Path(__file__).parents[2]
    tested = read_runs(ROWS, root / "results" / "accuracy")
    page = (root / "results" / "README.md").read_text()
    lines = {line for dataset, rows in tested.items() for line in main_rows(dataset, rows)}
    assert len(lines) > 40
    assert lines <= set(page.splitlines())
    shown = [
        line for line in (root / "README.md").read_text().splitlines() if re.match(r"\| (tmall|retailrocket) ", line)
    ]
    assert len(shown) > 10
    assert set(shown) <= lines


def test_pictures_are_of_data_sets_with_students_of_several_sizes() -> None:
    tested = {name: Path("runs", name) for name in ("tmall", "ml-100k")}
    for name, folder in tested.items():
        shutil.copytree(RESULTS / "accuracy" / name, folder)
    for path in [*Path("runs/tmall").glob("*seed-*.json")]:
        if path.name.split(".")[0] not in (TEACHER, "odrec-30x", "odrec-100x", "core"):
            path.unlink()
    names = [path.name for path in write_report(ROWS, Path("runs"), Path("runs"))]
    assert names == ["README.md", "accuracy.md", "accuracy-size.png", "head-tail.png"]
    for name in names[2:]:
        assert Path("runs", name).read_bytes()[:4] == b"\x89PNG"
