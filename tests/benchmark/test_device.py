"""The device benchmark measures real processes and reports what it measured; no number of it is a matter of a test."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from recbole_odrec.benchmark.device import benchmark_device
from recbole_odrec.benchmark.device_report import markdown, plot
from recbole_odrec.benchmark.page_cache import dropped
from recbole_odrec.cli import main


def test_a_small_run_end_to_end() -> None:
    said: list[str] = []
    result = benchmark_device(Path("results"), sizes=(300,), say=said.append, seconds=0, turns=2)
    names = ("student fp32", "student int8", "rounded int8", "codes int8", "teacher fp32")
    assert said == [f"300 items, turn {turn} of 2: {name}" for turn in (1, 2) for name in names]
    assert sorted(path.name for path in Path("results").iterdir()) == ["device.json", "device.md", "device.svg"]
    assert json.loads(Path("results/device.json").read_text()) == result
    for row in result["rows"]:
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert row["calls"] >= 50
        assert row["peak_bytes"] >= row["resident_bytes"] - 65536  # both are read off a moment apart
        assert 0 < row["start_s"] < row["first_answer_s"]
        assert row["cold_answer_s"] is None or row["cold_answer_s"] > 0  # None on a file system in memory
        assert row["bundle_bytes"] > row["model_bytes"] > 0
    student, small, _rounded, _codes, teacher = (row["model_bytes"] for row in result["rows"])
    assert small < student < teacher + 100_000  # 300 items: the encoder is nearly all of each


def made_up_row(model: str, precision: str, n_items: int, factor: float) -> dict:
    keys = ("model_bytes", "bundle_bytes", "p50_ms", "p95_ms", "resident_bytes", "peak_bytes", "tokens_p50_ms")
    values = dict.fromkeys((*keys, "tokens_resident_bytes", "first_answer_s"), factor)
    return {"model": model, "precision": precision, "n_items": n_items, **values}


def test_ratios_are_teacher_over_student_of_the_same_size() -> None:
    rows = [
        made_up_row("student", "int8", 1000, 2.0),
        made_up_row("rounded", "int8", 1000, 2.5),
        made_up_row("codes", "int8", 1000, 3.0),
        made_up_row("teacher", "fp32", 1000, 30.0),
        made_up_row("student", "int8", 5000, 4.0),
    ]
    result = {"rows": rows, "machine": {"processor": "P"}, "versions": {"onnxruntime": "1"}}
    ratios = markdown(result).split("| items | teacher fp32 /")[1]
    assert "| 1,000 | student int8 | 15.0x | 15.0x | 15.0x | 15.0x | 15.0x | 15.0x |" in ratios
    assert "| 1,000 | codes int8 | 10.0x | 10.0x" in ratios
    assert "| 1,000 | rounded int8 | 12.0x | 12.0x" in ratios
    assert "5,000" not in ratios  # no teacher to compare with
    drawing = ET.fromstring(plot(result))
    circles = [element for element in drawing.iter() if element.tag.endswith("circle")]
    assert len(circles) == 3 * len(rows)
    across = [float(circle.get("cx", "")) for circle in circles[-5:]]  # students of 2 and 4 bytes, 2.5, 3, teacher
    assert across[0] < across[2] < across[3] < across[1] < across[4]


def test_the_page_has_the_cold_start_where_it_was_measured() -> None:
    rows = [
        {**made_up_row("student", "int8", 1000, 2.0), "cold_answer_s": 0.5},
        made_up_row("student", "int8", 5000, 4.0),
    ]
    page = markdown({"rows": rows, "machine": {"processor": "P"}, "versions": {"onnxruntime": "1"}})
    starts = page.split("| items | first answer of | warm s | cold s |")[1].splitlines()[2:]
    assert starts[:2] == ["| 1,000 | student int8 | 2.00 | 0.50 |", ""]  # the other size was not measured
    assert "](device.svg)" in page


def test_files_leave_the_page_cache(tmp_path: Path) -> None:
    """Where the file system can say it: what was read a moment ago is not in memory, until it is read again."""
    path, empty = tmp_path / "file", tmp_path / "empty"
    path.write_bytes(b"x" * 100_000)
    empty.touch()
    if not dropped([path, empty]):
        pytest.skip("files of this folder live in memory")
    with path.open("rb") as file:
        with pytest.raises(BlockingIOError):
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        file.read()
        assert os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1


def test_a_wrong_name_or_size_is_one_line(capsys) -> None:
    for words, message in (
        (["benchmark", "devise"], "no benchmark `devise` (did you mean `device`?)"),
        (["benchmark"], "no benchmark `nothing`"),
        (["benchmark", "device", "--items", "3"], "expected at least 100 items each"),
        (["benchmark", "device", "--items", "many"], "invalid int value"),
    ):
        assert main(words) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert not Path("results").exists()
