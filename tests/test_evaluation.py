"""Our pipeline's numbers are RecBole's own; head and tail metrics are RecBole's on parts of the cases."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.trainer import Trainer
from recbole.utils import get_model, get_trainer, init_seed

from recbole_odrec import run
from recbole_odrec.baseline import fuse_loss
from recbole_odrec.config import make_config
from recbole_odrec.data.head_tail import head_items
from recbole_odrec.errors import UserError
from recbole_odrec.evaluation import evaluate
from recbole_odrec.result import table

BASELINE = {
    "epochs": 2,
    "train_neg_sample_args": None,
    "show_progress": False,
    "state": "ERROR",
    "topk": [5, 10, 20],
    "metrics": ["Recall", "MRR", "NDCG"],
    "metric_decimal_place": 10,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "MAX_ITEM_LIST_LENGTH": 20,
}


def stock_recbole(model: str, values: dict) -> tuple[dict, dict]:
    """What RecBole's `run_recbole` does, step by step, with RecBole's classes; its reload of the best epoch by hand."""
    config = Config(model, "ml-small", config_dict=dict(values))
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    network = get_model(model)(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    _, valid_result = trainer.fit(train_data, valid_data, verbose=False)
    network.load_state_dict(torch.load(trainer.saved_model_file, weights_only=False)["state_dict"])
    return valid_result, trainer.evaluate(test_data, load_best_model=False)


@pytest.mark.parametrize("model", ["GRU4Rec", "BPR"])
def test_a_baseline_gets_exactly_the_numbers_of_stock_recbole(small_data: Path, model: str) -> None:
    values = {**BASELINE, "data_path": str(small_data)}
    if model == "BPR":
        values["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}
    valid_result, test_result = stock_recbole(model, values)
    report = run(model, "ml-small", config_dict=values)["phases"]["model"]
    assert report["valid"]["all"] == valid_result
    assert report["test"]["all"] == test_result
    assert ("tail" in report["test"]) == (model == "GRU4Rec")


@pytest.mark.parametrize("model", ["GRU4Rec", "SASRec", "CORE", "NARM", "STAMP"])
def test_a_baseline_with_the_fused_loss_takes_recboles_steps(small_config, model: str) -> None:
    """Loss and gradients of RecBole's own loss, in double precision."""
    config = small_config(model, loss_type="CE", train_neg_sample_args=None)
    train_data, _, _ = data_preparation(config, create_dataset(config))
    batch = next(iter(train_data))
    network = get_model(model)(config, train_data._dataset).double()
    results = []
    for fuses in (False, True):
        if fuses:
            fuse_loss(network)
        torch.manual_seed(5)  # the same dropout
        network.zero_grad()
        loss = network.calculate_loss(batch)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


def test_a_model_without_cross_entropy_has_nothing_to_fuse(small_data: Path) -> None:
    values = {**BASELINE, "data_path": str(small_data), "fused_loss": True}
    values["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}
    with pytest.raises(UserError, match="a cross-entropy over the catalogue, and BPR has none here: set loss_type=CE"):
        run("BPR", "ml-small", config_dict=values)


def test_our_models_are_evaluated_as_recbole_would_on_its_own_data(small_config) -> None:
    """The same weights under RecBole's data set, loader and trainer, and under ours."""
    config = small_config("SASRecTeacher")
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    model = get_model("SASRecTeacher")(config, train_data._dataset)
    ours = evaluate(get_trainer(config["MODEL_TYPE"], "SASRecTeacher")(config, model), test_data)["all"]
    stock_train, _, stock_test = data_preparation(config, SequentialDataset(config))
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(stock_train)
    assert ours == pytest.approx(dict(trainer.evaluate(stock_test, load_best_model=False)), abs=1e-6)


def test_head_and_tail_metrics_are_those_of_their_cases(small_config) -> None:
    """Counted by hand from the scores."""
    config = small_config("SASRecTeacher", topk=[10, 100])
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    torch.manual_seed(3)
    model = get_model("SASRecTeacher")(config, train_data._dataset).eval()
    is_head = head_items(train_data._dataset)
    results = evaluate(get_trainer(config["MODEL_TYPE"], "SASRecTeacher")(config, model), test_data, is_head)
    rows = test_data._dataset[torch.arange(len(test_data._dataset))]
    with torch.no_grad():
        scores = model.full_sort_predict(rows)
    scores[:, 0] = -torch.inf
    target = rows["item_id"]
    rank = (scores > scores.gather(1, target.unsqueeze(1))).sum(1)
    for group, member in (
        ("all", torch.ones(120, dtype=torch.bool)),
        ("head", is_head[target]),
        ("tail", ~is_head[target]),
    ):
        assert member.sum() > 10
        hits = (rank[member] < 100).double()
        gains = torch.where(rank[member] < 100, 1 / torch.log2(rank[member] + 2.0), 0.0)
        assert results[group]["recall@100"] == pytest.approx(hits.mean().item(), abs=1e-8)
        assert results[group]["ndcg@100"] == pytest.approx(gains.double().mean().item(), abs=1e-6)
    cases = results["cases"]
    assert (cases["head"], cases["tail"]) == (int(is_head[target].sum()), int((~is_head[target]).sum()))
    np.testing.assert_array_equal(results["ranks"], torch.where(rank < 100, rank + 1, 0).numpy())
    is_long = rows["item_length"] >= 11
    assert cases["11-20"] == int(is_long.sum()) > 100
    assert results["lengths"]["11-20"]["recall@100"] == pytest.approx((rank[is_long] < 100).double().mean().item())
    assert results["lengths"]["21+"] is None  # MAX_ITEM_LIST_LENGTH is 20 here


def test_a_group_without_cases_is_none(small_config) -> None:
    config = small_config("SASRecTeacher")
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    model = get_model("SASRecTeacher")(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRecTeacher")(config, model)
    results = evaluate(trainer, test_data, torch.zeros(model.n_items, dtype=torch.bool))
    assert results["head"] is None
    assert results["tail"] == results["all"]


def test_anomaly_detection_is_off_although_recbole_turns_it_on() -> None:
    assert not torch.is_anomaly_enabled()


def test_a_metric_that_is_not_computed_cannot_select(small_config) -> None:
    with pytest.raises(ValueError, match="valid_metric='NDCG@7' is not among the metrics computed"):
        small_config(valid_metric="NDCG@7")


def test_result_holds_what_a_run_is_judged_by(small_config) -> None:
    config = small_config()
    values = {**config.external_config_dict, "data_path": str(Path(config["data_path"]).parent)}
    result = run("ODRec", "ml-small", config_dict=values)
    assert list(result["phases"]) == ["teacher", "student"]
    teacher, student = result["phases"]["teacher"], result["phases"]["student"]
    n_items = teacher["parameters"]["item_table_dense"] // 16
    assert teacher["parameters"]["item_table"] == n_items * 16
    assert student["parameters"]["compression_rate"] >= 2
    assert student["parameters"]["item_table"] < n_items * 16 / 2
    for phase in (teacher, student):
        assert set(phase["test"]) == {"all", "head", "tail", "lengths", "cases"}
        assert phase["test"]["cases"]["head"] + phase["test"]["cases"]["tail"] == 120
        assert len(phase["seconds_per_epoch"]) == 2
        assert phase["seconds"] == pytest.approx(sum(phase["seconds_per_epoch"]), abs=0.01)
        assert all(math.isfinite(v) for losses in phase["losses"] for v in losses.values())
        assert Path(phase["checkpoint"]).is_file()
    assert result["seed"] == result["config"]["seed"] == 2020
    assert torch.__version__.startswith(result["versions"]["torch"].split("+")[0])
    drawn = table(result)
    assert "teacher (SASRecTeacher)" in drawn
    assert "tail recall@20" in drawn
    assert f"{student['test']['all']['ndcg@10']:.4f}" in drawn
    run_dir = Path(result["path"]).parent
    assert {file.name for file in run_dir.iterdir()} >= {"teacher", "student", "run.json", "result.json"}
    logs = sorted(file.name for file in run_dir.glob("*.log"))
    assert [name.rsplit("-", 1)[1] for name in logs] == ["student.log", "teacher.log"]
    boards = sorted(folder.name.rsplit("-", 1)[1] for folder in Path("log_tensorboard").glob(f"{run_dir.name}-*"))
    assert boards == ["student", "teacher"]


def test_gpu_or_not_the_configuration_is_recboles(small_config) -> None:
    """A file given as config file, a dictionary over it, an argument over both: RecBole's precedence."""
    Path("a.yaml").write_text("learning_rate: 0.1\nepochs: 5\nkd_weight: 0.1\n")
    config = make_config("ODRec", "ml-100k", ["a.yaml"], {"epochs": 6, "kd_weight": 0.2}, ["--kd_weight=0.3"])
    assert (config["learning_rate"], config["epochs"], config["kd_weight"]) == (0.1, 6, 0.3)
