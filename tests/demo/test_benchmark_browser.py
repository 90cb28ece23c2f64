"""The browser benchmark measures a real Chromium and reports what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from recbole_odrec.benchmark.browser_report import markdown
from recbole_odrec.benchmark.chromium import find_chromium
from recbole_odrec.cli import main

from .conftest import or_skip


def test_a_small_run_end_to_end(runtime: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    or_skip(find_chromium)
    script = (
        "import sys; from pathlib import Path; from recbole_odrec.benchmark.browser import benchmark_browser as run; "
        "run(Path('results'), [Path(sys.argv[1])], 300, loads=1, samples=2)"
    )  # a process of its own: Playwright drives one browser a thread
    subprocess.run([sys.executable, "-c", script, str(tiny_bundle)], cwd=tmp_path, check=True, timeout=900)
    result = json.loads((tmp_path / "results" / "browser.json").read_text())
    assert (tmp_path / "results" / "browser.md").read_text() == markdown(result)
    assert [(row["model"], row["precision"], row["n_items"]) for row in result["rows"]] == [
        ("student", "fp32", 60),
        ("student", "fp32", 300),
        ("student", "int8", 300),
        ("teacher", "fp32", 300),
    ]
    for row in result["rows"]:
        assert row["load_ms"] > 10 * row["p50_ms"] > 0
        assert row["p50_ms"] <= row["p95_ms"]
        assert row["answers"] == 20
        assert row["runtime_bytes"] == sum(path.stat().st_size for path in runtime.iterdir())
        assert row["model_bytes"] < row["bundle_bytes"] < row["runtime_gzip_bytes"] < row["runtime_bytes"]
    assert result["rows"][0]["model_bytes"] == (tiny_bundle / "model.onnx").stat().st_size


def test_bad_input_is_one_line(capsys) -> None:
    assert main(["benchmark", "browser", "--items", "3"]) == 2
    assert capsys.readouterr().err == "recbole_odrec: --items 3, expected at least 100.\n"
