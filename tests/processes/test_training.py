"""Two and three processes train and evaluate as one does: same losses, same metrics, every case once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
TENSOR_TRAIN = {"table": "tensor_train", "compression_rate": 2, "session_jump_prob": 0.2, "average_decay": 0.9}
# Adam makes whole steps of gradients that are next to nothing, their rounding errors too: small steps.
CODES = {"table": "codes", "compression_rate": 1, "init_from_teacher": True, "learning_rate": 1e-4}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "tensor train": ("ODRec", {**TENSOR_TRAIN, "contrastive_weight": 0.5, "clip_grad_norm": {"max_norm": 0.5}}),
    "codes": ("ODRec", {**CODES, "repeat_scores": True, "teacher": "GRU4RecTeacher", "temperature": 2.0}),
    "SASRec": ("SASRecTeacher", {"n_heads": 2, "normalize_items": True, "table_dropout_prob": 0.1}),
    "GRU": ("GRU4RecTeacher", {"exclude_seen": True}),
    "counted": ("ODRec", {"compression_rate": 2, "teachers": [{"model": "SASRecTeacher"}, {"model": "SR"}]}),
}


@pytest.fixture(scope="module")
def one_process(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return [
            run(model, config_dict={**KEYS, **keys, "data_path": str(small_data)}, dataset="ml-small")
            for model, keys in RUNS.values()
        ]


@pytest.fixture(scope="module", params=[2, 3])
def several(request: pytest.FixtureRequest, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("several")
    runs = [(model, {**KEYS, **keys, "data_path": str(small_data)}) for model, keys in RUNS.values()]
    (folder / "runs.json").write_text(json.dumps(runs))
    worker = str(Path(__file__).with_name("worker.py"))
    process = torchrun(request.param, folder, [worker, "runs.json", "results.json"])
    assert process.wait(timeout=300) == 0, output_of(folder)[-3000:]
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("name", RUNS)
def test_as_one_process(one_process: list[dict], several: list[dict], name: str) -> None:
    expected, found = (results[list(RUNS).index(name)]["phases"] for results in (one_process, several))
    assert expected.keys() == found.keys()
    for phase, report in expected.items():
        other = found[phase]
        for losses, others in zip(report.get("losses", []), other.get("losses", []), strict=True):
            assert others == pytest.approx(losses, rel=1e-6, abs=1e-6)
        for split in ("valid", "test"):
            assert other[split]["all"] == report[split]["all"]
            assert other[split]["cases"] == report[split]["cases"]
