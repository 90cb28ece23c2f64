"""How much models that count teach: chosen on validation."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SMALL
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer

from recbole_odrec.config import make_config
from recbole_odrec.data.session_rows import StreamedRows
from recbole_odrec.errors import UserError
from recbole_odrec.quick_start import run
from recbole_odrec.trainer import teacher_weights
from recbole_odrec.trainer.resumable import ResumableTrainer
from recbole_odrec.trainer.teacher_weights import WEIGHTS, Teaching, choose_weights, leave_out_undecidable

COUNTED = "weight of teacher 2, ItemTransitions"
NETWORK, COUNTS = {"model": "SASRecTeacher"}, {"model": "ItemTransitions", "weight": "auto"}


class Scored:
    """A trainer whose model, a tuple of weights, has the score that a table says."""

    valid_metric, valid_metric_bigger, phase, model = "ndcg@10", True, "teacher", "own"

    def __init__(self, scores: dict[tuple[float, ...], float]) -> None:
        self.scores, self.tried, self.config = scores, [], {"seed": 1, "reproducibility": True}

    def evaluate(self, valid_data: Any, load_best_model: bool, show_progress: bool) -> dict[str, float]:
        assert not load_best_model
        self.tried.append(self.model)
        return {self.valid_metric: self.scores[self.model]}


@pytest.fixture
def weigh(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Chooses weights by such a table."""
    monkeypatch.setattr(teacher_weights, "ensemble_of", lambda teachers, weights, start: tuple(weights))

    def choose(weights: Sequence[float | str], scores: dict[tuple[float, ...], float], **keys: Any) -> Any:
        trainer = Scored(scores)
        for key, value in keys.items():
            setattr(trainer, key, value)
        teachers = [Teaching(f"Model{at}", None, weight) for at, weight in enumerate(weights)]
        found = choose_weights(teachers, 0, trainer, "cases")
        assert trainer.model == "own"
        return *found, trainer.tried

    return choose


def test_the_weight_that_validates_best_is_taken_and_the_search_ends_behind_it(weigh) -> None:
    scores = {(1, 0): 0.30, (1, 0.1): 0.32, (1, 0.2): 0.33, (1, 0.4): 0.325}
    weights, decided, tried = weigh([1, "auto"], scores)
    assert (weights, tried) == ([1, 0.2], list(scores))
    reason = "0.2, chosen on validation: ndcg@10 0.3000 without it, 0.3300 with a weight of 0.2"
    assert decided == {"weight of teacher 2, Model1": reason}


def test_who_adds_less_than_one_per_cent_does_not_teach(weigh) -> None:
    scores = {(1, 0): 0.30, (1, 0.1): 0.3029, (1, 0.2): 0.2}
    weights, decided, _ = weigh([1, "auto"], scores)
    assert weights == [1, 0]
    assert decided["weight of teacher 2, Model1"].endswith(
        "0.3000 without it, 0.3029 with a weight of 0.1, no 1% better"
    )


def test_each_is_weighed_beside_those_that_stay_and_a_metric_may_be_better_when_it_is_smaller(weigh) -> None:
    table = {(2.0, 0.0, 0.0, 1.0): 9.0, (2.0, 3 * 0.1, 0.0, 1.0): 9.5}
    table |= {(2.0, 0.0, 3 * share, 1.0): 8.0 - share for share in WEIGHTS}
    weights, decided, tried = weigh([2.0, "auto", "auto", 1.0], table, valid_metric_bigger=False)
    assert weights == [2.0, 0.0, 3 * WEIGHTS[-1], 1.0]
    assert len(tried) == 1 + 1 + len(WEIGHTS)
    assert [*decided] == ["weight of teacher 2, Model1", "weight of teacher 3, Model2"]


def test_given_weights_are_not_questioned(weigh) -> None:
    assert weigh([1, 0.25], {}) == ([1, 0.25], {}, [])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{**NETWORK, "weight": "auto"}, COUNTS], "weight of the teacher to start from='auto', expected a number"),
        ([COUNTS], "weight of the teacher to start from='auto', expected a number above 0"),
        (
            [NETWORK, {**COUNTS, "weight": "some"}],
            "weight of teacher 2='some', expected a number above 0 or",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused(entries: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_config("ODRec", "ml-100k", config_dict={"teachers": entries})


def settings(small_data: Any, **keys: Any) -> dict[str, Any]:
    off = {"contrastive_weight": 0.0, "predictive_weight": 0.0}
    return {**SMALL, "epochs": 1, "data_path": str(small_data), **off, **keys}


def test_a_chosen_weight_is_as_good_as_one_that_was_given(small_data) -> None:
    """After an epoch this network knows less than counting does."""
    phases = run("ODRec", "ml-small", config_dict=settings(small_data, teachers=[NETWORK, COUNTS]))["phases"]
    assert [member["model"] for member in phases["teacher"]["members"]] == ["SASRecTeacher", "ItemTransitions"]
    one, weight = phases["teacher"]["weights"]
    assert one == 1
    assert phases["teacher"]["decided"]["weight of teacher 2, ItemTransitions"].startswith(
        f"{weight:g}, chosen on validation: "
    )
    by_weight = {}
    for share in WEIGHTS:
        given = settings(small_data, teachers=[NETWORK, {**COUNTS, "weight": share}], epochs=1)
        by_weight[share] = run("ODRec", "ml-small", config_dict=given)["phases"]
    scores = {share: found["teacher"]["valid"]["all"]["ndcg@10"] for share, found in by_weight.items()}
    assert weight == max(WEIGHTS, key=lambda share: scores[share])
    for phase in ("teacher", "student"):
        assert phases[phase]["test"] == by_weight[weight][phase]["test"]


def test_a_teacher_that_was_left_out_leaves_the_run_of_the_other(small_data, monkeypatch) -> None:
    alone = run("ODRec", "ml-small", config_dict=settings(small_data, teachers=[NETWORK]))["phases"]
    monkeypatch.setattr(teacher_weights, "LEAST_GAIN", 100.0)
    both = run("ODRec", "ml-small", config_dict=settings(small_data, teachers=[NETWORK, COUNTS]))["phases"]
    assert "members" not in both["teacher"]
    assert both["teacher"]["weights"] == [1, 0]
    assert both["teacher"]["decided"]["weight of teacher 2, ItemTransitions"].startswith(
        "0, chosen on validation: ndcg@10 0."
    )
    for phase in ("teacher", "student"):
        assert both[phase]["test"] == alone[phase]["test"]


def test_metrics_of_items_and_sampled_candidates_are_those_of_the_first_run_in_the_next(small_data) -> None:
    """Then the network comes out of the cache, and its trainer has not seen the training data."""
    given = settings(small_data, teachers=[NETWORK, COUNTS], metrics=["NDCG", "ItemCoverage"])
    split = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}
    given["eval_args"] = {**split, "mode": {"valid": "uni20", "test": "uni20"}}
    first, second = (run("ODRec", "ml-small", config_dict=given)["phases"] for _ in range(2))
    assert [member["source"] for member in second["teacher"]["members"]] == ["cache", "cache"]
    for phase in ("teacher", "student"):
        for what in ("valid", "test"):
            assert first[phase][what] == second[phase][what]
    assert first["teacher"]["decided"] == second["teacher"]["decided"]


def test_a_run_killed_behind_its_teachers_chooses_the_same_weight_again(small_data, monkeypatch) -> None:
    """Before the student has a checkpoint, and with one."""
    given = settings(small_data, teachers=[NETWORK, COUNTS], epochs=2, teacher_cache=False, train_batch_size=1024)
    whole = run("ODRec", "ml-small", config_dict={**given, "checkpoint_dir": "whole"})["phases"]
    assert whole["teacher"]["weights"][1] > 0
    train_epoch = ResumableTrainer._train_epoch
    for killed in (0, 1):

        def stop(self: Any, data: Any, epoch: int, *rest: Any, killed: int = killed, **more: Any) -> Any:
            if self.phase == "student" and epoch == killed:
                raise KeyboardInterrupt
            return train_epoch(self, data, epoch, *rest, **more)

        here = {**given, "checkpoint_dir": f"killed-{killed}"}
        monkeypatch.setattr(ResumableTrainer, "_train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run("ODRec", "ml-small", config_dict=here)
        monkeypatch.setattr(ResumableTrainer, "_train_epoch", train_epoch)
        resumed = run("ODRec", "ml-small", config_dict=here, resume=True)["phases"]
        for what in ("weights", "decided", "valid", "test"):
            assert resumed["teacher"][what] == whole["teacher"][what]
        for what in ("losses", "valid", "test"):
            assert resumed["student"][what] == whole["student"][what]


def test_a_script_without_validation_cases_is_taught_by_the_network_alone(small_config) -> None:
    config = small_config("ODRec", teachers=[NETWORK, COUNTS], epochs=1, contrastive_weight=0.0, predictive_weight=0.0)
    train_data = data_preparation(config, create_dataset(config))[0]
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, get_model("ODRec")(config, train_data.dataset))
    trainer.fit(train_data, saved=False)
    assert type(trainer.teacher).__name__ == "SASRecTeacher"
    assert config["decided"]["teachers"].startswith("without ItemTransitions: there are no validation cases")


@pytest.mark.parametrize(("rows", "valid"), [(StreamedRows, "cases"), (object, None)])
def test_who_cannot_be_weighed_is_left_out(rows: type, valid: Any) -> None:
    dataset = SimpleNamespace(inter_feat=rows.__new__(rows))
    given = {"teachers": [COUNTS, NETWORK], "starts_from": 2}
    config = make_config("ODRec", "ml-100k", config_dict=given)
    config["decided"] = {}
    leave_out_undecidable(config, dataset, valid)
    assert [entry["model"] for entry in config["teachers"]] == ["SASRecTeacher"]
    assert config["starts_from"] == 1
    assert config["decided"]["teachers"].startswith("without ItemTransitions: ")
    config = make_config("ODRec", "ml-100k", config_dict={**given, "teachers": [{**COUNTS, "weight": 1}, NETWORK]})
    leave_out_undecidable(config, dataset, valid)
    assert len(config["teachers"]) == 2
