"""`benchmark scale`: what it measures of a step, and table, law and arithmetic from given measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recbole_odrec.benchmark import scale_command
from recbole_odrec.benchmark.scale import MODELS, Asked, measure
from recbole_odrec.benchmark.scale_arithmetic import Assumed, arithmetic
from recbole_odrec.benchmark.scale_report import laws_of
from recbole_odrec.cli import main


@pytest.mark.parametrize("model", MODELS)
def test_a_step_is_trained_and_its_size_reported(model: str) -> None:
    row = measure(Asked(model, 3000, 8, 2, 0.000001))
    assert (row["tiled"], row["steps"], row["items"]) == (True, 2, 3000)
    assert row["step_ms"] > 0
    assert row["peak_bytes"] >= 0
    is_full = model in ("dense", "codes that move")
    assert (row["trained"] > 3000 * 128) == is_full
    assert not measure(Asked(model, 3000, 8, 1, 1.0))["tiled"]


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """Measurements that follow a law: dense 1 MB + 100 bytes an item, others half of it."""
    seen: list[Asked] = []

    def measured(asked: Asked) -> dict[str, Any]:
        seen.append(asked)
        share = 1 if asked.model == "dense" else 0.5
        size = share * (1_000_000 + 100 * asked.items)
        return {**asked._asdict(), "peak_bytes": size, "stored": 7, "trained": 9, "tiled": asked.items > 5000,
                "step_ms": share * (2 + asked.items / 1000), "steps": 1, "device": "cpu"}  # fmt: skip

    monkeypatch.setattr(scale_command, "measured", measured)
    return seen


def test_rows_are_kept_beside_new_ones_and_the_law_is_found(faked: list[Asked], capsys) -> None:
    words = ["benchmark", "scale", "--models", "dense", "codes", "--output", "out"]
    assert main([*words, "--items", "2000", "10000"]) == 0
    assert main([*words, "--items", "50000", "2000", "--models", "codes"]) == 0
    result = json.loads(Path("out/scale.json").read_text())
    assert [(row["model"], row["items"]) for row in result["rows"]] == [
        *(("dense", 2000), ("codes", 2000), ("dense", 10_000), ("codes", 10_000), ("codes", 50_000))
    ]
    laws = {name: (memory, time) for name, memory, time in laws_of(result["rows"])}
    assert laws["dense"][0] == pytest.approx((1e6, 100))
    assert laws["codes"] == (pytest.approx((5e5, 50)), pytest.approx((1, 0.0005)))
    text = Path("out/scale.md").read_text()
    assert "| 10,000 | codes | 1 | 7 | tiles, 0.25 GB | 1 MB | 0.50 | 6 | 0.50 |" in text
    assert "| 50,000 | codes | 1 | 7 | tiles, 0.25 GB | 3 MB | - | 26 | - |" in text
    assert Path("out/scale.png").stat().st_size > 1000
    before = len(faked)
    assert main(["benchmark", "scale", "--items", "--output", "out"]) == 0  # the text alone
    assert len(faked) == before
    assert text in capsys.readouterr().out


def test_no_item_costs_less_than_nothing() -> None:
    row = {"model": "dense", "processes": 1, "batch_size": 64, "score_memory": 0.25, "device": "cpu", "step_ms": 5.0}
    rows = [{**row, "items": items, "peak_bytes": size} for items, size in ((10, 4e6), (1000, 3e6), (100_000, 2e6))]
    ((_, (constant, slope), of_time),) = laws_of(rows)
    assert slope == 0
    assert 2e6 < constant < 4e6
    assert of_time == pytest.approx((5, 0), abs=1e-9)


def test_rows_of_two_processes_stand_beside_those_of_one(faked: list[Asked]) -> None:
    words = ["benchmark", "scale", "--items", "2000", "4000", "--output", "out"]
    assert main([*words, "--models", "dense"]) == 0
    assert main([*words, "--processes", "2"]) == 0
    assert [one.split for one in faked[2:]] == [False, True] * 6
    assert {one.model for one in faked[2:]} == {"dense", "tensor train, taught", "codes that move"}
    text = Path("out/scale.md").read_text()
    assert "| 2,000 | dense | 2, rows split | 7 | whole | 1 MB | 1.00 | 4 | 1.00 |" in text
    assert [name for name, *_ in laws_of(json.loads(Path("out/scale.json").read_text())["rows"])] == ["dense"]


def test_what_does_not_fit_is_left_out(faked: list[Asked], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(scale_command, "fits", lambda asked: asked.model != "dense")
    assert main(["benchmark", "scale", "--items", "2000", "--output", "out"]) == 0
    assert {one.model for one in faked} == {*MODELS} - {"dense"}
    assert "dense, 2,000 items: does not fit" in capsys.readouterr().err


def test_arithmetic_follows_from_what_is_assumed() -> None:
    lines = arithmetic(Assumed(items=8_000_000, gpus=4, cases=256, interactions=6_400_000))
    teacher = next(line for line in lines if line.startswith("| teacher, rows split"))
    # 20 bytes x 128 x 2 million rows; six tiles of 2^25 scores; queries 2 x 1024 x 512, rows 2 x 256 x 6.4 x 512, ..
    assert "| 5.12 GB | 0.8 GB | 4 MB |" in teacher
    # 1024 x 2 million scores: four products of 256 operations at 200 TFLOPS, 120 bytes at 2 TB/s; 5274 steps
    seconds = 4 * 256 * 1024 * 2e6 / 200e12 + 120 * 1024 * 2e6 / 2e12
    assert f"| {seconds:.3f} |" in teacher
    whole = next(line for line in lines if line.startswith("| teacher, whole on each rank"))
    assert "| 20.48 GB | 0.8 GB | 8193 MB |" in whole  # 8 bytes x 128 x 8 million, and the network's
    codes = next(line for line in lines if line.startswith("| codes, teacher rows split"))
    assert "| 1.79 GB |" in codes  # 6 bytes x 128 x 2 million, codes of 8 million twice, codebooks
    moving = next(line for line in lines if line.startswith("| codes that move, teacher rows split"))
    assert "| 5.89 GB | 0.8 GB | 12 MB |" in moving  # 16 x 128 x 2 million more; rows again, a 20th of 128 MB of codes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--items", "10"], "--items 10, expected numbers from 1000"),
        (["--processes", "65"], "--processes 65, expected at most --batch_size 64"),
        (["--processes", "2", "--models", "codes"], "--models codes, expected of several processes: dense or"),
        (["--steps", "0"], "--steps 0, expected a number from 1"),
        (["--score_memory", "0"], "--score_memory 0, expected a number above 0"),
        (["--items", "--output", "nowhere"], "holds no measurement, and --items asks for none"),
    ],
)
def test_bad_input_is_one_line(words: list[str], message: str, capsys) -> None:
    assert main(["benchmark", "scale", *words]) == 2
    assert message in capsys.readouterr().err
    Path("scale.json").write_text("[]")
    assert main(["benchmark", "scale", "--items", "--output", "."]) == 2
    assert "scale.json is no result of benchmark scale" in capsys.readouterr().err
