"""The table on the screen, and the one of several runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recbole_odrec.cli import main
from recbole_odrec.result import WIDTH, table


def phase(model: str, value: float, test: bool = True, **sizes: float) -> dict[str, Any]:
    metrics = {f"{name}@{k}": value + k / 1000 for name in ("recall", "mrr", "ndcg") for k in (5, 10, 20)}
    groups = {"all": metrics, "head": metrics, "tail": None}
    report = {"model": model, "valid": groups, "test": groups if test else None, "seconds": 12.25}
    return {**report, "parameters": {"total": 123_456, **sizes}}


def result(**phases: dict[str, Any]) -> dict[str, Any]:
    config = {"valid_metric": "NDCG@10", "compression_rate": 8}
    return {"model": "ODRec", "dataset": "d", "seed": 1, "config": config, "phases": phases}


SIZES = {"item_table": 13_395, "compression_rate": 8.04}


def test_the_table_has_the_metric_that_selects_and_fits_a_terminal() -> None:
    of_teacher = phase("SASRecTeacher", 0.1, item_table=107_712, compression_rate=1.0)
    lines = table(result(teacher=of_teacher, student=phase("ODRec", 0.2, **SIZES))).splitlines()
    assert max(map(len, lines)) <= WIDTH == 100
    assert lines[0] == "ODRec on d, seed 1, test set"
    assert lines[1].split("  ")[-1] == "seconds"
    header = lines[1].replace("head ndcg", "head-ndcg").replace("tail ndcg", "tail-ndcg").replace("m t", "m-t").split()
    assert header == ["recall@20", "ndcg@10", "head-ndcg@10", "tail-ndcg@10", "item-table", "rate", "seconds"]
    assert lines[4].split() == ["student", "(ODRec)", "0.2200", "0.2100", "0.2100", "-", "13,395", "8.0x", "12.2"]


def test_a_run_that_met_no_test_set_shows_validation() -> None:
    lines = table(result(model=phase("BPR", 0.1, test=False))).splitlines()
    assert lines[0].endswith("validation set")
    assert "0.1100" in lines[3]


def test_a_run_without_either_shows_its_sizes() -> None:
    of_one = phase("SASRecTeacher", 0.1, test=False, **SIZES) | {"valid": None}
    assert table(result(model=of_one)).splitlines()[3].split()[2:] == ["123,456", "13,395", "8.0x", "12.2"]


def test_summary_takes_runs_without_a_test_part_and_models_without_an_item_table(capsys: pytest.CaptureFixture) -> None:
    Path("a.json").write_text(json.dumps(result(student=phase("ODRec", 0.2, test=False, **SIZES))))
    Path("b.json").write_text(json.dumps(result(model=phase("BPR", 0.1))))
    assert main(["summary", "a.json", "b.json"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows[0] == "| d | model (BPR) | 1x | - | 11.00 | 11.00 | 11.00 | 12.00 | 11.00 | - | 12 | 1 |"
    assert rows[1] == "| d | student (ODRec) | 8.0x (8x asked) | 13,395 | 21.00 | - | - | - | - | - | 12 | 1 |"


def test_summary_in_full_has_every_metric(capsys: pytest.CaptureFixture) -> None:
    Path("a.json").write_text(json.dumps(result(student=phase("ODRec", 0.2, **SIZES))))
    assert main(["summary", "--full", "a.json"]) == 0
    header, _, row = ([cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines())
    cells = dict(zip(header, row, strict=True))
    assert cells["test mrr@20"] == "22.00"
    assert cells["test head recall@5"] == "20.50"
    assert len([name for name in cells if name.startswith(("valid", "test"))]) == 27


@pytest.mark.parametrize("text", ["[]", "{}", '{"phases": {}, "dataset": "d"}', "no json", "null", '{"phases": 5}'])
def test_what_is_no_result_is_one_line(text: str, capsys: pytest.CaptureFixture) -> None:
    Path("x.json").write_text(text)
    assert main(["summary", "x.json"]) == 2
    assert capsys.readouterr().err == "recbole_odrec: x.json is not the result.json of a run.\n"


def test_a_metric_without_a_cut_off_is_in_the_table() -> None:
    of_one = phase("DIN", 0.1) | {"test": {"all": {"auc": 0.75, "logloss": 0.5}}}
    lines = table(result(model=of_one) | {"config": {"valid_metric": "AUC"}}).splitlines()
    assert {"auc", "logloss"} <= set(lines[1].split())
    assert {"0.7500", "0.5000"} <= set(lines[3].split())


def test_a_teacher_that_teaches_where_it_helps_is_one_row_over_seeds(capsys: pytest.CaptureFixture) -> None:
    entries = [{"model": "SASRecTeacher"}, {"model": "ItemTransitions", "weight": "auto"}]
    of_both = {**phase("TeacherEnsemble", 0.1, item_table=300, compression_rate=1.0), "weights": [1, 0.4]}
    of_both["members"] = [{"model": entry["model"]} for entry in entries]
    alone = {**phase("SASRecTeacher", 0.3, item_table=100, compression_rate=1.0), "weights": [1, 0]}
    for seed, teacher in enumerate((of_both, alone), start=1):
        run = {**result(teacher=teacher), "seed": seed}
        Path(f"{seed}.json").write_text(json.dumps({**run, "config": {**run["config"], "teachers": entries}}))
    assert "\nteacher (SASRecTeacher, ItemTransitions)  " in table(json.loads(Path("1.json").read_text()))
    assert main(["summary", "1.json", "2.json"]) == 0
    (row,) = capsys.readouterr().out.splitlines()[2:]
    assert row.startswith("| d | teacher (SASRecTeacher, ItemTransitions where it helps) | 1x | 100 to 300 | 21.00 ± ")
