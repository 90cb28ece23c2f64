"""No step leaves the model's device or waits for it: found without a GPU, on PyTorch's device of shapes (`meta`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import TrainDataLoader

from recbole_odrec.benchmark.launches import META, Launches, counted
from recbole_odrec.data.eval_loader import bounded, rows_at_once
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.data.windows import NEXT_ITEMS, window_cases
from recbole_odrec.model.adapter import ProductTeacher
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.registry import model_class
from recbole_odrec.trainer.distillation import DistillationTrainer
from recbole_odrec.trainer.resumable import ResumableTrainer

ATTENTION = {"readout": "item_attention", "repeat_scores": True}
MODELS = [
    ("SASRecTeacher", {}),
    ("SASRecTeacher", {"normalize_items": True, "table_dropout_prob": 0.1, **ATTENTION}),
    ("GRU4RecTeacher", {}),
    ("ODRec", {}),
    ("ODRec", {"item_order": "teacher", "encoder": "gru", **ATTENTION}),
    ("ODRec", {"table": "codes", "init_from_teacher": True}),
    ("ODRec", {"readout": "last", "kd_weight": 0}),
]


@pytest.fixture
def make(small_config, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Any]]:
    """A trainer whose model is on `meta`, and the data of its configuration."""

    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which does not know `meta`

    def build(model: str = "ODRec", settings: dict[str, Any] | None = None) -> tuple[Any, Any]:
        config = small_config(model, train_batch_size=4096, **(settings or {}))  # shapes cost nothing
        data = create_dataset(config)
        config["device"], config["init_from_teacher"] = META, False  # a start looks at numbers, and `meta` has none
        network = model_class(model)(config, data).to(META)
        if model != "ODRec":
            trainer = ResumableTrainer(config, network, tmp_path / "run")
        else:
            config_of_teacher = small_config(
                "SASRecTeacher", **{k: v for k, v in (settings or {}).items() if k in ATTENTION}
            )
            teacher = model_class("SASRecTeacher")(config_of_teacher, data)
            network.item_table.order_rule = "none"  # to learn it is work for the CPU
            trainer = DistillationTrainer(config, network, teacher, tmp_path / "run")
            trainer.pair.is_head = torch.ones(data.item_num, dtype=torch.bool, device=META)
        without_fusion(trainer)
        return trainer, data

    return build


def without_fusion(trainer: Any) -> None:
    """Fused updates have no kernel on `meta`."""
    for group in trainer.optimizer.param_groups:
        group.update(fused=False, foreach=True)


def an_epoch(trainer: Any, loader: Any) -> Any:
    counts = counted(lambda: trainer._train_epoch(loader, 0), found=8)
    assert not counts.mixed
    return counts


@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_an_epoch_over_windows_stays_on_the_device_and_waits_once(make, model: str, settings: dict) -> None:
    trainer, data = make(model, settings)
    loader = SessionWindowLoader(trainer.config, data.build()[0])
    an_epoch(trainer, loader)  # the first one makes what is kept
    counts = an_epoch(trainer, loader)
    waits = {place: n for place, n in counts.waits.items() if "finite.py" not in place}
    assert not waits
    assert counts.kernels.total() > 50 * len(loader)


@pytest.mark.parametrize("model", ["SASRecTeacher", "ODRec"])
def test_an_evaluation_stays_on_the_device(make, model: str) -> None:
    trainer, data = make(model)
    _, valid_data, _ = data_preparation(trainer.config, data)
    counts = counted(lambda: trainer.evaluate(bounded(valid_data), load_best_model=False))
    assert not counts.mixed
    assert counts.kernels["topk"] == len(bounded(valid_data))


def test_prefix_rows_stay_on_the_device(make) -> None:
    trainer, data = make("SASRecTeacher")
    rows = TrainDataLoader(trainer.config, data.build()[0], None, shuffle=True)
    an_epoch(trainer, rows)


def test_several_teachers_one_of_recboles_stay_on_the_device(make, small_config) -> None:
    trainer, data = make()
    train = data.build()[0]
    ours, peers = (small_config(name, n_heads=1) for name in ("SASRecTeacher", "SASRec"))
    members = [model_class("SASRecTeacher")(ours, train), ProductTeacher(model_class("SASRec")(peers, train))]
    with Launches():
        trainer.attach_teacher(TeacherEnsemble(members), starts=False)
    without_fusion(trainer)
    trainer.pair.is_head = torch.ones(data.item_num, dtype=torch.bool, device=META)
    counts = an_epoch(trainer, SessionWindowLoader(trainer.config, train))
    assert not [place for place in counts.waits if "finite.py" not in place and "table.py" not in place]


def test_configurations_of_tests_are_of_the_devices_fixture(small_config, device, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # a GPU that RecBole would take
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    assert small_config()["device"] == device == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_an_epoch_and_an_evaluation_on_a_gpu(small_config, tmp_path, model: str, settings: dict) -> None:
    config = small_config(model, **settings)
    config["device"] = torch.device("cuda")
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    network = model_class(model)(config, train_data._dataset).to("cuda")
    kind = DistillationTrainer if model == "ODRec" else ResumableTrainer
    trainer = kind(config, network, run_dir=tmp_path / "run")
    _, result = trainer.fit(SessionWindowLoader(config, train_data._dataset), valid_data, verbose=False)
    assert result["ndcg@20"] > 0
    losses = [sum(parts.values()) for parts in trainer.loss_history]
    assert losses[-1] < losses[0]


def test_rows_of_an_evaluation_follow_a_gpus_free_memory(small_config, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(eval_batch_size=512)
    assert rows_at_once(config, 1000) == 512
    assert rows_at_once(config, 1_000_000) == 150
    config["device"] = torch.device("cuda")
    for free, rows in ((80 * 10**9, 4096), (16 * 10**9, 1000), (10**6, 1)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 80 * 10**9))
        assert rows_at_once(config, 1_000_000) == rows


def test_what_leaves_the_device_is_seen() -> None:
    table = torch.zeros(5, 3, device=META)
    assert counted(lambda: table[torch.tensor([1, 2])]).mixed
    assert counted(lambda: table.sum().item()).waits
    assert counted(lambda: table.cpu()).waits
    assert counted(lambda: torch.zeros(3).to(META)).waits
    assert not counted(lambda: torch.zeros(3).to(META, non_blocking=True)).waits
    fine = counted(lambda: (table * 2 + 1).view(15)[3:])
    assert (fine.kernels, fine.waits, fine.mixed) == ({"mul": 1, "add": 1}, {}, {})


def test_the_cases_of_a_batch_are_those_of_its_next_items(make) -> None:
    trainer, data = make()
    batch = next(iter(SessionWindowLoader(trainer.config, data.build()[0])))
    expected = batch[NEXT_ITEMS].flatten().nonzero().squeeze(1)
    assert torch.equal(window_cases(batch), expected)
    assert torch.equal(window_cases(batch.to("cpu")), expected)
    assert torch.equal(window_cases(batch[range(len(batch))]), expected)  # of any other batch, looked for
    moved = batch.to(META)
    assert {field: moved[field].shape for field in moved} == {field: batch[field].shape for field in batch}
    assert window_cases(moved).shape == expected.shape
