"""What a user types, and what comes back when it is wrong: one line, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_odrec.cli import main, parse_train_arguments
from recbole_odrec.errors import UserError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tt_rnak=8"], "unknown key `tt_rnak` for ODRec (did you mean `tt_ranks`?)"),
        (["--kd_wieght=0.3"], "did you mean `kd_weight`?"),
        (["--topk", "20"], "cannot read `--topk`: keys are written --topk=VALUE"),
        (["train", "topk=20"], "cannot read `topk=20`: keys are written --topk=20"),
        (["trian"], "no command `trian` (did you mean `train`?): train, tune, summary"),
        (["summary"], "the following arguments are required: result.json; see recbole-odrec summary --help."),
        (["summary", "absent.json"], "absent.json is not the result.json of a run"),
        (["--eval_args={'mode'='full'}"], "eval_args=\"{'mode'='full'}\", expected a dictionary of split, group_by"),
        (["--model"], "--model needs a value"),
        (["--model=ODRex"], "no model named `ODRex` (did you mean `ODRec`?)"),
        (["--model=SASRecTeacher", "--kd_weight=0.3"], "unknown key `kd_weight` for SASRecTeacher"),
        (["--epochs=many"], "epochs='many', expected a whole number from 1"),
        (["--kd_weight=1.5"], "kd_weight=1.5, expected a number in [0, 1]"),
        (["--kd_weight=high"], "kd_weight='high', expected a number"),
        (["--teacher_cache=1"], "teacher_cache=1, expected True or False"),
        (["--table=tensor_train", "--compression_rate=1000000"], "nearest feasible rate is"),
        (["--hidden_size=100", "--n_heads=3"], "n_heads=3, expected a divisor of hidden_size=100"),
        (
            ["--table=tensor_train", "--item_shape=[3,4]", "--dim_shape=[8,16]", "--tt_ranks=4"],
            "holds 12 items, expected at least 1683",
        ),
        (["--dataset=nothing"], "nothing.inter does not exist: dataset `nothing` needs it"),
        (["--config_files=absent.yaml"], "configuration file absent.yaml does not exist"),
        (["--teachers=[{checkpoint: absent.pth}]"], "checkpoint absent.pth does not exist"),
        (["--teacher=BPR"], "BPR cannot be the teacher: "),
        (["--valid_metric=NDCG@7"], "valid_metric='NDCG@7' is not among the metrics computed"),
        (["--resume"], "nothing to resume"),
        (["--resume="], "--resume= names no run folder"),
        (["--resume=elsewhere"], "not a run folder"),
        (["--model=GRU4Rec", "--resume"], "RecBole's GRU4Rec keeps no exact state"),
        (["--preset=papr"], "recipe='papr', expected one of none, fast, general, paper, retailrocket, tmall"),
        (["--table=code"], "table='code' (did you mean `codes`?), expected one of tensor_train, codes, dense, roun"),
        (["--table=codes", "--init_from_teacher=False"], "table=codes takes its codes from the"),
        (["--table=codes", "--item_order=none"], "item_order belongs to table=tensor_train, which is not chosen"),
        (["--table=codes", "--compression_rate=90"], "cannot be reached by codes for 1683 items"),
        (
            ["--table=codes", "--compression_rate=4", "--teachers=[{model: SASRecTeacher, hidden_size: 32}]"],
            "table=codes: the teacher's item table has 32 columns and hidden_size=128; codes are those of the",
        ),
        (
            ["--table=tensor_train", "--move_codes_every=9"],
            "move_codes_every belongs to table=codes, which is not chosen for ODRec: leave it",
        ),
        (["--table=codes", "--move_codes_every=-1"], "move_codes_every=-1, expected a whole number of at least 0."),
        (["--session_jump_prob=1.0"], "session_jump_prob=1.0, expected a number in [0, 1)."),
        (["--refit_epochs=-1"], "refit_epochs=-1, expected a whole number from 0 to "),
        (["--refit_epochs=2"], "refit_epochs=2 needs files of whole sessions"),
        (["--model=GRU4Rec", "--refit_epochs=2"], "refit_epochs=2 needs files of whole sessions"),
        (["--metrics=['Recal']"], "metrics=['Recal']: there is no metric Recal (did you mean `Recall`?)"),
        (["--learner=adam", "--learner=sgd"], "--learner=adam and --learner=sgd: give one of them"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words: list[str], message: str, capsys) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("recbole_odrec: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(Path().rglob("*.pth"))
    assert not list(Path().rglob("run.json"))


def test_torchrun_is_for_training_alone(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Two searches would wait for each other's trials, of other values, and two writers would share a file."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "2" if "WORLD" in name else "0")
    for command in ("tune", "convert", "keys"):
        assert main([command]) == 2
        said = capsys.readouterr()
        assert said.err == f"recbole_odrec: {command} runs in one process: start it without torchrun.\n"
        assert not said.out
    monkeypatch.setenv("RANK", "1")
    assert main(["tune"]) == 2
    assert not capsys.readouterr().err  # the first process has said it


def test_a_malformed_config_file_is_one_line(capsys) -> None:
    Path("bad.yaml").write_text("epochs: [1\n")
    assert main(["--config_files=bad.yaml"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "not YAML" in captured.err


def test_recboles_spellings_are_understood() -> None:
    asked = parse_train_arguments(
        ["-m", "GRU4Rec", "--dataset", "tmall", "--config_files", "a b", "--epochs=3", "--resume=x"]
    )
    assert asked == ("GRU4Rec", "tmall", ["a", "b"], ["--epochs=3"], "x")
    assert parse_train_arguments([]) == ("ODRec", "ml-100k", [], [], False)
    with pytest.raises(UserError):
        parse_train_arguments(["--epochs"])


def test_a_reader_that_stops_is_no_error() -> None:
    """`recbole-odrec keys | head -1`"""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "recbole_odrec", "keys"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_help_names_the_options(capsys) -> None:
    assert main(["--help"]) == 0
    assert "--resume" in capsys.readouterr().out


def test_runs_of_other_settings_have_rows_of_their_own(capsys) -> None:
    """Two tables at one rate, and a teacher whose numbers say that it is another."""
    sizes = {"item_table": 10, "compression_rate": 8}
    for number, (table, seed, ndcg) in enumerate([("codes", 1, 0.1), ("codes", 2, 0.2), ("tensor_train", 1, 0.3)]):
        metrics = {"all": {"ndcg@10": ndcg}}
        phase = {"model": "S", "valid": metrics, "test": metrics, "parameters": sizes}
        config = {"compression_rate": 8, "table": table, "seed": seed, "checkpoint_dir": str(number)}
        config |= {"teachers": [{"checkpoint": f"{number}.pth"}], "hidden_size": 8 if table == "codes" else 16}
        result = {"dataset": "d", "seed": seed, "config": config, "phases": {"teacher": phase, "student": phase}}
        Path(f"{number}.json").write_text(json.dumps(result))
    assert main(["summary", "0.json", "1.json", "2.json"]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(row[1], row[5], row[-1]) for row in rows] == [
        ("teacher (S)", "15.00 ± 7.07", "1, 2"),
        ("teacher (S)", "30.00", "1"),
        ("student (S, codes)", "15.00 ± 7.07", "1, 2"),
        ("student (S, tensor_train)", "30.00", "1"),
    ]


def test_summary_averages_over_seeds_and_counts_a_shared_teacher_once(capsys) -> None:
    def phase(model: str, ndcg: float, size: int) -> dict:
        metrics = {"ndcg@10": ndcg, "recall@10": 2 * ndcg, "recall@20": 3 * ndcg}
        sizes = {"item_table": size, "compression_rate": 1000 / size}
        groups = dict.fromkeys(("all", "head", "tail"), metrics)
        report = {"model": model, "valid": groups, "test": groups}
        return {**report, "parameters": sizes, "seconds": 5}

    for number, (seed, rate, ndcg) in enumerate([(1, 8, 0.05), (2, 8, 0.07), (1, 16, 0.04)]):
        phases = {"teacher": phase("T", 0.06 + seed / 100, 1000), "student": phase("S", ndcg, 1000 // rate)}
        result = {"dataset": "d", "seed": seed, "config": {"compression_rate": rate}, "phases": phases}
        Path(f"{number}.json").write_text(json.dumps(result))
    assert main(["summary", "0.json", "1.json", "2.json"]) == 0
    table = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[1] for line in table] == ["teacher (T)", "student (S)", "student (S)"]
    assert "7.50 ± 0.71" in table[0]
    assert "8.0x (8x asked) | 125 | 6.00 ± 1.41 | 6.00 ± 1.41 | 12.00 ± 2.83" in table[1]
    assert table[2].endswith("| 4.00 | 4.00 | 8.00 | 12.00 | 4.00 | 4.00 | 5 | 1 |")
