"""How much followers count: a choice on validation, of weights that training without them gives."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY_RUN

from recbole_odrec.errors import UserError
from recbole_odrec.model import SASRecTeacher
from recbole_odrec.nn import FollowerScores
from recbole_odrec.phases import build_model
from recbole_odrec.quick_start import _prepare_data, run
from recbole_odrec.trainer import checkpoint, follower_gain
from recbole_odrec.trainer.follower_gain import GAINS, choose_gain
from recbole_odrec.trainer.resumable import ResumableTrainer


def state_of(result: dict) -> dict[str, torch.Tensor]:
    return checkpoint.load(Path(result["phases"]["model"]["checkpoint"]))["state_dict"]


class Trainer:
    """In the place of one: validates by a table of scores."""

    def __init__(self, scores: dict[float, float], file: Path, is_bigger_better: bool) -> None:
        self.scores, self.tried = scores, []
        self.valid_metric, self.valid_metric_bigger = "ndcg@10", is_bigger_better
        self.best_valid_score, self.best_valid_result = scores[0.0], {"ndcg@10": scores[0.0]}
        self.phase, self.best_file, self.logger = "model", file, logging.getLogger()
        self.model, self.eval_collector = torch.nn.Module(), None
        self.model.followers, self.model.decided = FollowerScores(3, 1), {}

    def load_best(self) -> None:
        checkpoint.load(self.best_file)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        self.tried.append(float(self.model.followers.gain))
        return {"ndcg@10": self.scores.get(self.tried[-1], 0.5)}


@pytest.mark.parametrize(
    ("scores", "best", "n_tried"),
    [
        ({0.0: 0.5, 0.5: 0.6, 1.0: 0.59, 1.5: 0.61, 2.0: 0.6, 3.0: 0.6, 4.0: 0.9}, 1.5, 5),  # two worse in a row end it
        ({0.0: 0.5, 0.5: 0.5, 1.0: 0.4, 1.5: 0.9}, 0.0, 2),  # as good as without is not better
        (dict(zip((0.0, *GAINS), range(20), strict=False)), 32.0, len(GAINS)),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_gains_are_tried_until_two_are_worse(
    tmp_path: Path, scores: dict[float, float], best: float, n_tried: int, sign: int
) -> None:
    trainer = Trainer({gain: sign * score for gain, score in scores.items()}, tmp_path / "best.pth", sign > 0)
    state = {"model": "ODRec", "epoch": 4, "state_dict": trainer.model.state_dict()}
    checkpoint.save(trainer.best_file, state)
    choose_gain(trainer, "validation")
    assert trainer.tried == list(GAINS[:n_tried])
    assert trainer.best_valid_score == trainer.best_valid_result["ndcg@10"] == trainer.scores[best]
    stored = checkpoint.load(trainer.best_file)
    assert stored["state_dict"]["followers.gain"] == trainer.model.followers.gain == best
    assert stored["epoch"] == 4
    without, found = trainer.scores[0.0], trainer.scores[best]
    expected = f"{best:g}, chosen on validation: ndcg@10 {without:.4f} without followers, {found:.4f} with them"
    assert trainer.model.decided == {"follower_gain": expected}


def test_a_run_chooses_for_weights_that_training_without_followers_gives(train: Callable[..., dict]) -> None:
    plain, chosen = (train("SASRecTeacher", n_followers=n) for n in (0, 4))
    state = state_of(chosen)
    gain = float(state["followers.gain"])
    assert gain in GAINS
    given = train("SASRecTeacher", n_followers=4, follower_gain=gain)
    for name, weights in state_of(plain).items():
        assert torch.equal(weights, state[name]), name
    for name, values in state_of(given).items():
        assert torch.equal(values, state[name]), name
    phases = [result["phases"]["model"] for result in (plain, chosen, given)]
    scores = [phase["valid"]["all"]["ndcg@10"] for phase in phases]
    assert scores[0] < scores[1] == scores[2]
    assert phases[1]["test"]["all"] == phases[2]["test"]["all"] != phases[0]["test"]["all"]
    said = f"{gain:g}, chosen on validation: ndcg@10 {scores[0]:.4f} without followers, {scores[1]:.4f} with them"
    assert phases[1]["decided"] == {"follower_gain": said}


@pytest.mark.parametrize(
    "others", [{}, {"exclude_seen": True}, {"metrics": ["NDCG", "ItemCoverage"]}, {"metrics": ["NDCG", "MAP"]}]
)
def test_one_pass_gives_each_gain_the_metrics_of_a_pass_of_its_own(
    small_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: dict
) -> None:
    config = small_config("SASRecTeacher", n_followers=3, topk=[3, 10], metric_decimal_place=10, **others)
    train_data, valid_data, _ = _prepare_data(config)
    trainer = ResumableTrainer(config, build_model(config, train_data), tmp_path)
    with torch.no_grad():
        trainer.model.item_table.weight.mul_(100)  # scores that followers do not drown
    trainer.eval_collector.data_collect(train_data)
    collector = trainer.eval_collector
    passes = []
    monkeypatch.setattr(
        trainer, "evaluate", lambda *a, **k: passes.append(1) or ResumableTrainer.evaluate(trainer, *a, **k)
    )
    at_once = dict(follower_gain._results(trainer, valid_data, False))
    if "ItemCoverage" in others.get("metrics", ()):  # what fills a list that is too long counts there
        assert len(passes) == len(GAINS)
        return
    assert len(passes) == 1
    assert trainer.eval_collector is collector
    monkeypatch.setattr(follower_gain, "FullSortEvalDataLoader", int)
    one_by_one = dict(follower_gain._results(trainer, valid_data, False))
    assert len(passes) == 1 + len(GAINS)
    assert at_once == one_by_one
    assert len({result["ndcg@10"] for result in at_once.values()}) > 5


def test_a_complete_run_that_goes_on_chooses_the_same(train: Callable[..., dict], small_data: Path) -> None:
    first = train("GRU4RecTeacher", n_followers=2, epochs=2)
    folder = Path(first["path"]).parent
    Path(first["path"]).unlink()  # killed after the last epoch, before the end
    state = checkpoint.load(folder / "model/best.pth")
    state["state_dict"]["followers.gain"].zero_()
    checkpoint.save(folder / "model/best.pth", state)
    values = {**TINY_RUN, "data_path": str(small_data), "n_followers": 2, "epochs": 2}
    again = run("GRU4RecTeacher", "ml-small", config_dict={**values, "checkpoint_dir": str(folder.parent)}, resume=True)
    assert again["path"] == first["path"]
    assert state_of(again)["followers.gain"] > 0
    assert again["phases"]["model"]["test"] == first["phases"]["model"]["test"]


def test_what_cannot_be_chosen_or_be_a_gain_is_refused(small_data: Path) -> None:
    settings = {**TINY_RUN, "data_path": str(small_data), "compression_rate": 2, "n_followers": 2}
    no_validation = {"eval_args": {"split": {"RS": [0.9, 0.0, 0.1]}, "order": "TO", "group_by": "user"}}
    with pytest.raises(UserError, match=r"^follower_gain=auto is chosen on validation cases, which this run has none"):
        run("ODRec", "ml-small", config_dict={**settings, **no_validation})
    expected = r"(auto, or a number of at least 0|a number or a word)\.$"
    for wrong in (-1, "many", True):
        with pytest.raises(UserError, match="^follower_gain=.*, expected " + expected):
            run("ODRec", "ml-small", config_dict={**settings, "follower_gain": wrong})


def test_a_script_that_builds_the_model_itself_has_its_followers_counted(small_config, tmp_path: Path) -> None:
    config = small_config("SASRecTeacher", n_followers=2, epochs=1)
    train_data, valid_data, _ = _prepare_data(config)
    model = SASRecTeacher(config, train_data._dataset)
    trainer = ResumableTrainer(config, model, tmp_path)
    trainer.fit(train_data, valid_data, saved=True)
    assert model.followers.strengths.any(1)[1:].float().mean() > 0.9
    stored = checkpoint.load(trainer.best_file)["state_dict"]
    assert torch.equal(stored["followers.strengths"], model.followers.strengths)
    assert model.followers.gain > 0
