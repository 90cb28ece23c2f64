"""Objectives declare themselves: keys, weights, parameters; one of a user's own does what the built-in ones do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recbole_odrec.config import make_config
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.losses import Recombination
from recbole_odrec.model import ODRec, SASRecTeacher
from recbole_odrec.parsing import defaults, key
from recbole_odrec.quick_start import run
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.distillation import DistillationTrainer
from recbole_odrec.trainer.objectives import OBJECTIVES, Objective, Step, active_objectives


class Center(Objective):
    """Sessions gather around a point that is learned; with `center_taught`, around the teacher's."""

    name = "center"
    calls = 0

    @dataclass(frozen=True)
    class Settings:
        center_weight: float = key(0.5, "Weight of the squared distance.")
        center_taught: bool = key(False, "Around the teacher's sessions.")

    def __init__(self, settings: Settings, pair: object) -> None:
        super().__init__(settings, pair)
        self.point = torch.nn.Parameter(torch.zeros(pair.student.hidden_size))

    @classmethod
    def needs_teacher(cls, settings: Settings) -> bool:
        return settings.center_taught

    def forward(self, step: Step) -> dict[str, Tensor]:
        Center.calls += 1
        around = self.point + step.teacher_cases.session_repr if self.settings.center_taught else self.point
        return {"center": self.settings.center_weight * (step.cases.session_repr - around).square().mean()}


class Twice(Center):
    """Its part is called like another's."""

    name = "contrastive"

    @dataclass(frozen=True)
    class Settings:
        contrastive_weight: float = key(0.2, "As the other's.")


class Unasked(Objective):
    """Gives a part that it has no weight for."""

    name = "unasked"

    @dataclass(frozen=True)
    class Settings:
        unasked_weight: float = key(1.0, "Weight.")

    def forward(self, step: Step) -> dict[str, Tensor]:
        return {"unasked": step.cases.session_repr.mean(), "more": step.cases.session_repr.mean()}


CENTER, ALONE = f"{__name__}:Center", {"kd_weight": 0.0, "contrastive_weight": 0.0, "predictive_weight": 0.0}


@pytest.fixture
def make(small_config, tmp_path: Path):
    """A distillation trainer, with an untrained teacher if asked for, and its training data."""

    def build(taught: bool = True, **overrides: object) -> tuple[DistillationTrainer, SessionWindowLoader]:
        config = small_config(**overrides)
        train = SessionDataset(config).build()[0]
        teacher = SASRecTeacher(small_config("SASRecTeacher"), train) if taught else None
        torch.manual_seed(1)
        return DistillationTrainer(config, ODRec(config, train), teacher, tmp_path / "run"), SessionWindowLoader(
            config, train
        )

    return build


def test_an_objective_of_ones_own_trains_beside_ours(small_data: Path, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    values = {
        "recipe": "none",
        "objectives": [CENTER],
        "center_weight": 0.25,
        "hidden_size": 16,
        "compression_rate": 2,
        "epochs": 2,
    }
    values |= {"data_path": str(small_data), "checkpoint_dir": str(tmp_path), "train_batch_size": 1024}
    result = run("ODRec", "ml-small", config_dict={**values, "MAX_ITEM_LIST_LENGTH": 20, "show_progress": False})
    names = ["next_item", "soft_targets", "contrastive", "predictive", "center"]
    student = json.loads(Path(result["path"]).read_text())["phases"]["student"]
    assert [list(parts) for parts in student["losses"]] == [names] * 2
    assert student["losses"][1]["center"] < student["losses"][0]["center"]
    log = next(Path(result["path"]).parent.glob("*-student.log")).read_text()
    assert f"center: {student['losses'][1]['center']:.4f}" in log
    assert json.loads(Path(result["path"]).read_text())["config"]["center_weight"] == 0.25
    last = checkpoint.load(Path(student["checkpoint"]).with_name("last.pth"))
    assert last["training"]["objectives"]["center.point"].abs().sum() > 0
    assert not any("point" in name for name in last["state_dict"])


def test_its_parameters_are_in_the_optimizer_and_resume_exactly(make) -> None:
    def train(resumes: bool, epochs: int) -> DistillationTrainer:
        torch.manual_seed(0)
        trainer, data = make(objectives=[CENTER], epochs=epochs, train_batch_size=1024)
        assert any(p is trainer.objectives["center"].point for p in trainer.optimizer.param_groups[0]["params"])
        assert trainer.resume() == resumes
        trainer.fit(data)
        return trainer

    whole = train(resumes=False, epochs=2)
    whole.last_file.unlink()
    train(resumes=False, epochs=1)
    resumed = train(resumes=True, epochs=2)
    assert whole.loss_history == resumed.loss_history
    for name, value in whole.objectives.state_dict().items():
        assert torch.equal(value, resumed.objectives.state_dict()[name]), name


def test_a_run_of_other_objectives_is_not_continued(make) -> None:
    trainer, data = make(epochs=1)
    trainer.fit(data)
    other, _ = make(epochs=2, predictive_weight=0)
    before = {name: value.clone() for name, value in other.model.state_dict().items()}
    with pytest.raises(
        UserError, match=r"last\.pth was trained by other objectives.*: it cannot be continued"
    ) as raised:
        other.resume()
    assert "\n" not in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in other.model.state_dict().items())


def test_a_run_is_continued_once_its_teacher_is_there(make) -> None:
    trainer, data = make(epochs=1)
    trainer.fit(data)
    with pytest.raises(UserError, match=r"call attach_teacher\(teacher, starts=False\) first"):
        make(taught=False, epochs=2)[0].resume()


def test_a_checkpoint_of_0_1_0_goes_on_where_its_parts_had_no_weights_and_is_refused_where_they_had(make) -> None:
    for weights, goes_on in (({"contrastive_weight": 0, "predictive_weight": 0}, True), ({}, False)):
        trainer, data = make(epochs=1, **weights)
        trainer.fit(data)
        state = checkpoint.load(trainer.last_file)
        objectives = state["training"].pop("objectives")
        if objectives:
            state["training"]["recombination"] = objectives
        checkpoint.save(trainer.last_file, state)
        resumed, _ = make(epochs=2, **weights)
        if goes_on:
            assert resumed.resume()
            assert resumed.start_epoch == 1
        else:
            with pytest.raises(UserError, match=r"last\.pth was trained by other objectives or by version 0\.1\.0"):
                resumed.resume()


def test_what_weighs_nothing_is_neither_built_nor_computed(make) -> None:
    Center.calls = 0
    trainer, data = make(taught=False, objectives=[CENTER], center_weight=0.0, **ALONE)
    assert list(trainer.objectives) == ["catalogue"]
    assert trainer.teacher is None
    parameters = [id(p) for p in trainer.model.parameters()]
    assert [id(p) for group in trainer.optimizer.param_groups for p in group["params"]] == parameters
    assert len(trainer.loss_parts(next(iter(data)))) == 1
    assert Center.calls == 0


def test_what_is_shared_is_worked_out_once_a_step_and_only_if_asked_for(make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def count(kind: type, method: str) -> None:
        original = getattr(kind, method)
        monkeypatch.setattr(kind, method, lambda *args, **kw: calls.append(kind.__name__) or original(*args, **kw))

    count(SASRecTeacher, "training_cases")
    count(ODRec, "training_cases")
    count(Recombination, "forward")
    monkeypatch.setattr("recbole_odrec.trainer.objectives.objective.head_items", lambda _: pytest.fail("nobody asked"))
    for weights, expected in (
        ({}, ["ODRec", "Recombination", "SASRecTeacher"]),
        ({"contrastive_weight": 0}, ["ODRec", "Recombination", "SASRecTeacher"]),
        ({"contrastive_weight": 0, "predictive_weight": 0}, ["ODRec", "SASRecTeacher"]),
        ({**ALONE, "init_from_teacher": True}, ["ODRec"]),
    ):
        trainer, data = make(**weights)
        if "Recombination" in expected:
            trainer.pair.is_head = torch.arange(trainer.model.n_items) % 5 == 0
        calls.clear()
        trainer.loss_parts(next(iter(data)))
        assert sorted(calls) == expected
        assert ("teacher_table" in vars(trainer.pair)) == ("SASRecTeacher" in expected)


def test_a_teacher_is_there_when_an_objective_asks_for_one(make) -> None:
    trainer, data = make(objectives=[CENTER], center_taught=True, **ALONE)
    assert trainer.loss_names == ("next_item", "center")
    batch = next(iter(data))
    teacher = trainer.teacher.training_cases(batch).session_repr
    student = trainer.model.eval().training_cases(batch).session_repr
    _, center = trainer.loss_parts(batch)
    torch.testing.assert_close(center, 0.5 * (student - teacher).square().mean())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectives": ["contrastiv"]}, "objectives='contrastiv' (did you mean `contrastive`?), expected one of"),
        ({"objectives": ["nowhere:Center"]}, "objectives='nowhere:Center' cannot be imported (No module named"),
        (
            {"objectives": [f"{__name__}:Step"]},
            "is no Objective: derive the class from recbole_odrec.trainer.objectives",
        ),
        (
            {"objectives": [f"{__name__}:Twice"]},
            "objectives: Twice has the name of another part, contrastive: rename it",
        ),
        ({"objectives": [CENTER], "center_weight": -1.0}, "center_weight=-1.0, expected a number of at least 0."),
        (
            {"objectives": [CENTER], "center_weight": float("nan")},
            "center_weight=nan, expected finite numbers",
        ),
        ({"objectives": [CENTER], "center_weihgt": 1.0}, "unknown key `center_weihgt`"),
        ({"center_weight": 1.0}, "unknown key `center_weight`"),
        ({"contrastive_weight": -0.1}, "contrastive_weight=-0.1, expected a number of at least 0."),
        ({"predictive_weight": float("inf")}, "predictive_weight=inf, expected finite numbers"),
        ({"contrastive_temperature": 0}, "contrastive_temperature=0, expected a number above 0."),
        ({"temperature": 0.0}, "temperature=0.0, expected a number above 0."),
        ({"kd_weight": 1.5}, "kd_weight=1.5, expected a number in [0, 1]."),
    ],
)
def test_what_cannot_be_an_objective_is_refused_in_one_line(settings: dict, message: str) -> None:
    with pytest.raises(UserError) as raised:
        make_config("ODRec", "ml-100k", config_dict=settings)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_parts_without_a_weight_are_refused(make) -> None:
    trainer, data = make(taught=False, objectives=[f"{__name__}:Unasked"], **ALONE)
    with pytest.raises(UserError, match=r"gave \('next_item', 'unasked', 'more'\).*of \('next_item', 'unasked'\)"):
        trainer.loss_parts(next(iter(data)))


def test_an_objective_that_does_not_say_that_it_needs_a_teacher_is_told_so(make) -> None:
    trainer, data = make(taught=False, **ALONE)
    with pytest.raises(UserError, match="asks for a teacher, and there is none: let its `needs_teacher` return True"):
        _ = Step(trainer.pair, next(iter(data))).teacher_cases


def test_ours_may_be_named_and_count_once() -> None:
    config = make_config("ODRec", "ml-100k", config_dict={"recipe": "none", "objectives": ["contrastive", CENTER]})
    assert [kind.name for kind in active_objectives(config)] == ["catalogue", "contrastive", "predictive", "center"]


def test_every_key_of_ours_has_a_default_that_its_settings_accept() -> None:
    for kind in OBJECTIVES.values():
        kind.Settings(**defaults(kind.Settings))
