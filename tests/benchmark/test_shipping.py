"""Ways to ship: what is measured of each, and a real one where this machine has what it needs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from recbole_odrec.benchmark import shipping, shipping_ways
from recbole_odrec.benchmark.shipping_ways import MissingError, Way
from recbole_odrec.cli import main
from recbole_odrec.errors import UserError


def test_the_median_of_cold_and_of_warm_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / name for name in ("code", "model")]
    for path in files:
        path.write_bytes(b"x" * 500)
    monkeypatch.setattr(shipping, "dropped", lambda asked: asked == files)
    answers = iter([5.0, 1.0, 9.0, 2.0, 6.0, 3.0])  # cold, warm, cold, ..
    row = shipping.measured(Way("w", files[:1], 500, "r", 2_000_000, files[1:], lambda: next(answers)), 3)
    assert (row["cold_answer_s"], row["warm_answer_s"], row["bundle_bytes"]) == (6.0, 2.0, 500)
    monkeypatch.setattr(shipping, "dropped", lambda asked: False)  # files in memory: nothing is cold
    answers = iter([5.0, 1.0])
    assert shipping.measured(Way("w", [], 0, "r", 0, [], lambda: next(answers)), 1)["cold_answer_s"] is None


def test_the_module_answers_in_node_and_what_is_missing_is_left_out(tiny_bundle: Path, monkeypatch, capsys) -> None:
    try:
        shipping_ways._module(Path.cwd(), tiny_bundle)
    except MissingError as error:
        pytest.skip(f"needs more than this machine has: {error}")
    (Path.cwd() / "shop").rename("earlier")
    monkeypatch.setattr(shipping, "WAYS", (shipping_ways._module, shipping_ways._program))
    assert main(["benchmark", "shipping", "--bundle", os.path.relpath(tiny_bundle), "--turns=1"]) == 0
    out, err = capsys.readouterr()
    assert f"left out: ExecuTorch: {tiny_bundle} has no model.pte, which `export --executorch` writes" in err
    (row,) = json.loads(Path("results/shipping.json").read_text())["rows"]
    assert row["bundle_bytes"] == sum(path.stat().st_size for path in tiny_bundle.iterdir())
    assert 10_000 < row["code_bytes"] < 100_000 < 10_000_000 < row["runtime_bytes"]
    assert row["warm_answer_s"] > 0
    assert "| ES module, in Node | " in Path("results/shipping.md").read_text()
    assert out.endswith("results/shipping.json\n")


def test_what_does_not_answer_is_one_line() -> None:
    with pytest.raises(UserError, match="python3 gave no answer: no"):
        shipping_ways._seconds(["python3", "-c", "import sys; sys.exit('no')"], Path.cwd())
    assert main(["benchmark", "shipping", "--turns=0"]) == 2
