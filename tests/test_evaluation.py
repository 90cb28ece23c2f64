"""Our pipeline's numbers are RecBole's own; head and tail metrics are RecBole's on parts of the cases."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import NegSampleEvalDataLoader
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import get_model, get_trainer, init_seed

from recbole_odrec import run
from recbole_odrec.baseline import fuse_loss
from recbole_odrec.config import make_config
from recbole_odrec.data.eval_loader import bounded
from recbole_odrec.data.exact_tables import exact
from recbole_odrec.data.head_tail import head_items
from recbole_odrec.errors import UserError
from recbole_odrec.evaluation import evaluate
from recbole_odrec.model.adapter import ProductTeacher
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.result import table
from recbole_odrec.trainer.topk_collector import TopKCollector

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
    dataset = exact(type(create_dataset(config)))(config)  # its own order of times is that of float32
    train_data, valid_data, test_data = data_preparation(config, dataset)
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
    stock_train, _, stock_test = data_preparation(config, exact(SequentialDataset)(config))
    trainer = Trainer(config, model)
    trainer.eval_collector.data_collect(stock_train)
    assert ours == pytest.approx(dict(trainer.evaluate(stock_test, load_best_model=False)), abs=1e-6)


def test_rows_in_bounded_blocks_by_length_give_the_same_ranks(small_config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results come in the data set's order, so that every number is that of RecBole's loader."""
    config = small_config("SASRecTeacher", MAX_ITEM_LIST_LENGTH=100)
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    model = get_model("SASRecTeacher")(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRecTeacher")(config, model)
    is_head = head_items(train_data._dataset)
    expected = evaluate(trainer, test_data, is_head)
    monkeypatch.setattr("recbole_odrec.data.eval_loader.SCORE_BYTES", 4 * model.n_items * 7 + 1)
    blocks = bounded(test_data)
    given = evaluate(trainer, blocks, is_head)
    assert (len(blocks), blocks.step) == (18, 7)
    widths = [batch[0]["item_id_list"].shape[1] for batch in blocks]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 100
    assert widths[-1] < 30
    np.testing.assert_array_equal(given.pop("ranks"), expected.pop("ranks"))
    assert given == expected


def among_candidates(model: torch.nn.Module, loader: NegSampleEvalDataLoader, k: int) -> float:
    """Recall of a user's targets among them and the negatives drawn for them, one user after the other."""
    recalls = []
    for batch, row, positive_row, positive_item in loader:
        for user in row.unique().tolist():
            of_user = (row == user).nonzero().squeeze(1)
            items = batch["item_id"][of_user]
            scores = model.full_sort_predict(Interaction({"item_id_list": batch["item_id_list"][of_user]}))
            candidates = dict(
                zip(items.tolist(), scores.gather(1, items.unsqueeze(1)).squeeze(1).tolist(), strict=True)
            )
            best = sorted(candidates, key=candidates.get, reverse=True)[:k]
            targets = positive_item[positive_row == user].tolist()
            recalls.append(len(set(best) & set(targets)) / len(set(targets)))
    return sum(recalls) / len(recalls)


@pytest.mark.parametrize("mode", ["uni20", "pop20"])
def test_sampled_negatives_rank_as_recboles_own_loader_and_trainer_rank_them(small_config, mode: str) -> None:
    """RecBole's data set, sampler, loader and evaluation draw the same negatives and get the same numbers."""
    arguments = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": mode}
    config = small_config("SASRecTeacher", eval_args=arguments, eval_batch_size=300)
    results = []
    for dataset in (create_dataset(config), exact(SequentialDataset)(config)):
        train_data, _, test_data = data_preparation(config, dataset)
        torch.manual_seed(3)
        model = get_model("SASRecTeacher")(config, train_data._dataset).eval()
        trainer = Trainer(config, model)
        trainer.eval_collector.data_collect(train_data)
        init_seed(4, True)
        results.append(dict(trainer.evaluate(test_data, load_best_model=False)))
        init_seed(4, True)
        with torch.no_grad():
            assert results[-1]["recall@5"] == pytest.approx(among_candidates(model, test_data, 5), abs=1e-9)
    assert results[0] == pytest.approx(results[1], abs=1e-6)
    assert 0 < results[0]["recall@5"] < 1


@pytest.mark.parametrize("mode", ["uni20", "pop20"])
def test_sampled_negatives_of_whole_sessions(write_sessions, mode: str) -> None:
    write_sessions("data", 40, 12)
    values = {"data_path": "data", "hidden_size": 16, "show_progress": False, "metric_decimal_place": 10}
    values["benchmark_filename"] = ["train", "valid", "test"]
    arguments = {"order": "TO", "mode": mode}
    config = make_config("GRU4RecTeacher", "ml", config_dict={**values, "eval_args": arguments})
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    model = get_model("GRU4RecTeacher")(config, train_data._dataset).eval()
    init_seed(4, True)
    given = evaluate(get_trainer(config["MODEL_TYPE"], "GRU4RecTeacher")(config, model), test_data)["all"]
    init_seed(4, True)
    with torch.no_grad():
        assert given["recall@5"] == pytest.approx(among_candidates(model, test_data, 5), abs=1e-9)
    if mode == "pop20":  # as often as they are next items, in all three files
        tokens = train_data._dataset.field2id_token["item_id"]
        drawn = Counter(str(tokens[item]) for item in test_data._sampler._get_candidates_list())
        assert drawn == Counter(
            item for line in Path("train.txt").read_text().splitlines() for item in line.split()[1:]
        )


def test_an_ensemble_and_recboles_teachers_predict_what_they_rank_by(small_config) -> None:
    config = small_config("SASRecTeacher")
    core = small_config("CORE", embedding_size=16, loss_type="CE", train_neg_sample_args=None)
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    members = [get_model("SASRecTeacher")(config, train_data._dataset).eval()]
    members.append(ProductTeacher(get_model("CORE")(core, train_data._dataset).eval()))
    ensemble = TeacherEnsemble(members)
    rows = test_data._dataset[torch.arange(len(test_data._dataset))]
    with torch.no_grad():
        for model in (*members, ensemble):
            scores = model.full_sort_predict(rows).gather(1, rows["item_id"].unsqueeze(1)).squeeze(1)
            torch.testing.assert_close(model.predict(rows), scores)
    assert (members[0].reads_any_width, ensemble.reads_any_width) == (True, False)


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
def test_metrics_of_the_catalogue_are_what_they_say(small_config, model: str) -> None:
    """Worked out from the ranked lists; RecBole's collector fails on all of them."""
    names = ["ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage", "Recall"]
    settings = {"train_neg_sample_args": None, "loss_type": "CE"} if model == "GRU4Rec" else {}
    config = small_config(model, metrics=names, topk=[5], valid_metric="Recall@5", **settings)
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    network = get_model(model)(config, train_data._dataset).eval()
    trainer = Trainer(config, network)
    trainer.eval_collector = TopKCollector(config)
    trainer.eval_collector.data_collect(train_data)
    first, second = (trainer.evaluate(test_data, load_best_model=False) for _ in range(2))
    assert first == second
    rows = test_data._dataset[torch.arange(len(test_data._dataset))]
    with torch.no_grad():
        scores = network.full_sort_predict(rows)
    scores[:, 0] = -torch.inf
    ranked = scores.topk(5, dim=1).indices.numpy()
    n_items = train_data._dataset.item_num
    clicks = np.bincount(train_data._dataset.inter_feat["item_id"].numpy(), minlength=n_items)
    counts = np.bincount(ranked.ravel(), minlength=n_items)
    shown = np.sort(counts[counts > 0])
    share = shown / shown.sum()
    assert first["itemcoverage@5"] == pytest.approx(len(shown) / n_items, abs=1e-9)
    assert first["averagepopularity@5"] == pytest.approx(clicks[ranked].mean(), abs=1e-9)
    assert first["shannonentropy@5"] == pytest.approx(-(share * np.log(share)).sum() / len(shown), abs=1e-9)
    place = np.arange(n_items - len(shown) + 1, n_items + 1)
    gini = ((2 * place - n_items - 1) * shown).sum() / shown.sum() / n_items
    assert first["giniindex@5"] == pytest.approx(gini, abs=1e-9)
    clicked = np.flatnonzero(clicks)
    rarest = clicked[np.lexsort((clicked, clicks[clicked]))][: int(0.1 * len(clicked))]
    assert first["tailpercentage@5"] == pytest.approx(np.isin(ranked, rarest).mean(), abs=1e-9)


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
    assert "tail ndcg@10" in drawn
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
