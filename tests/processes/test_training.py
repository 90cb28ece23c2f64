"""Two and three processes train and evaluate as one does: same losses, same metrics, every case once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_odrec.data import window_loader
from recbole_odrec.data.window_loader import NEXT_ITEMS, Windows
from recbole_odrec.processes import shares
from recbole_odrec.quick_start import run

from .launching import output_of, torchrun

KEYS = {
    "dataset": "ml-small",
    "hidden_size": 16,
    "epochs": 1,
    "train_batch_size": 4096,
    "MAX_ITEM_LIST_LENGTH": 20,
    "show_progress": False,
    "metric_decimal_place": 10,
    "item_skip_prob": 0.2,
    "checkpoint_dir": "saved",
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
    "SASRec": ("SASRecTeacher", {"n_heads": 2, "normalize_items": True, "table_dropout_prob": 0.1}),
    "GRU": ("GRU4RecTeacher", {"exclude_seen": True}),
}
STEPS = [
    ("ODRec", {"compression_rate": 2, "contrastive_weight": 0.5, "session_jump_prob": 0.2}),
    ("ODRec", {**CODES, "teacher": "GRU4RecTeacher", "temperature": 2.0, "move_codes_every": 1}),
    *(RUNS[name] for name in ("SASRec", "GRU")),
]


@pytest.fixture(scope="module")
def one_process(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Results of one process, and the file of a teacher that several are given."""
    folder = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        values = {**KEYS, "data_path": str(small_data), "checkpoint_dir": str(folder / "saved")}
        found = {name: run(model, "ml-small", config_dict={**values, **keys}) for name, (model, keys) in RUNS.items()}
        teacher = {"teachers": [{"checkpoint": found["SASRec"]["phases"]["model"]["checkpoint"]}], "epochs": 1}
        found["given"] = run("ODRec", "ml-small", config_dict={**values, "compression_rate": 2, **teacher})
    return found


MOST = pytest.param(3, marks=pytest.mark.exhaustive)


@pytest.fixture(scope="module", params=[2, MOST])
def several(
    request: pytest.FixtureRequest,
    one_process: dict[str, dict],
    small_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("several")
    given = {"compression_rate": 2, "teachers": one_process["given"]["config"]["teachers"]}
    runs = {**RUNS, "given": ("ODRec", given)}
    values = [(model, {**KEYS, **keys, "data_path": str(small_data)}) for model, keys in runs.values()]
    (folder / "runs.json").write_text(json.dumps(values))
    worker = str(Path(__file__).with_name("worker.py"))
    process = torchrun(request.param, folder, [worker, "runs.json", "results.json"])
    assert process.wait(timeout=300) == 0, output_of(folder)[-3000:]
    return dict(zip(runs, json.loads((folder / "results.json").read_text()), strict=True))


def test_as_one_process(one_process: dict[str, dict], several: dict[str, dict]) -> None:
    """All runs in one test: two workers of pytest would each launch them."""
    for name in (*RUNS, "given"):
        expected, found = (results[name]["phases"] for results in (one_process, several))
        assert expected.keys() == found.keys()
        for phase, report in expected.items():
            other = found[phase]
            for losses, others in zip(report.get("losses", []), other.get("losses", []), strict=True):
                assert others == pytest.approx(losses, rel=1e-6, abs=1e-6), (name, phase)
            for split in ("valid", "test"):
                assert other[split]["all"] == report[split]["all"], (name, phase)
                assert other[split]["cases"] == report[split]["cases"], (name, phase)


@pytest.mark.parametrize("n_processes", [pytest.param(2, marks=pytest.mark.exhaustive), 3])
def test_gradients_and_draws_are_those_of_one_process(n_processes: int, small_data: Path, tmp_path: Path) -> None:
    """In float64, where rounding hides nothing; see `gradients.py`."""
    values = [(model, {**KEYS, **keys, "data_path": str(small_data)}) for model, keys in STEPS]
    (tmp_path / "runs.json").write_text(json.dumps(values))
    process = torchrun(n_processes, tmp_path, [str(Path(__file__).with_name("gradients.py")), "runs.json"])
    assert process.wait(timeout=300) == 0, output_of(tmp_path)[-3000:]


@pytest.mark.parametrize("n_processes", [1, 2, 3, 7])
def test_each_case_is_in_one_share(n_processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    next_items = torch.tensor([[3, 0, 0], [4, 5, 0], [0, 6, 7], [0, 0, 8], [9, 0, 0]])
    batch = Windows({NEXT_ITEMS: next_items}, next_items.flatten().nonzero().squeeze(1))
    found, part_of_cases, part_of_rows = [], 0.0, 0.0
    for number in range(n_processes):
        for module in (shares, window_loader):
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
