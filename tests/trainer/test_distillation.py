from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.model import GRU4RecTeacher, ODRec, SASRecTeacher
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.nn import RepeatScores
from recbole_odrec.nn.tables.item_order import order_by_similarity
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.distillation import DistillationTrainer

SASREC = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


@pytest.fixture
def make(small_config, tmp_path: Path):
    """A distillation trainer with an untrained teacher, and its training data."""

    def build(teacher_class: type = SASRecTeacher, teacher_size: int = 16, **overrides: object):
        config = small_config(**overrides)
        train = SessionDataset(config).build()[0]
        teacher = teacher_class(small_config(teacher_class.__name__, hidden_size=teacher_size), train)
        torch.manual_seed(1)
        trainer = DistillationTrainer(config, ODRec(config, train), teacher, tmp_path / "run")
        return trainer, SessionWindowLoader(config, train)

    return build


def trained_tensors(trainer: DistillationTrainer) -> dict[str, torch.nn.Parameter]:
    named = dict(trainer.model.named_parameters())
    named.update({f"objectives.{name}": p for name, p in trainer.objectives.named_parameters()})
    return named


REPEATING = {"readout": "item_attention", "repeat_scores": True}
CODES = {"table": "codes", "init_from_teacher": True, **REPEATING}


@pytest.mark.parametrize("settings", [{}, {"encoder": "gru"}, REPEATING, CODES])
def test_every_trainable_tensor_is_in_the_optimizer_and_gets_a_gradient(make, settings: dict) -> None:
    """In the released code 23 tensors, both tensor-train cores among them, are never trained."""
    trainer, train_data = make(**settings)
    if trainer.model.repeat is not None:  # zeros to begin with: what they multiply would move at the second step
        torch.nn.init.normal_(trainer.model.repeat.query.weight)
    trainer.pair.is_head = torch.arange(trainer.model.n_items) % 5 == 0
    in_optimizer = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    sum(trainer.loss_parts(next(iter(train_data)))).backward()
    for name, parameter in trained_tensors(trainer).items():
        assert id(parameter) in in_optimizer, name
        assert parameter.grad is not None, name
        # A bias common to all positions of the last softmax-free sum may be tiny, never exactly zero.
        assert parameter.grad.abs().sum() > 0, name
    assert len(in_optimizer) == len(trained_tensors(trainer))


def test_the_loss_falls_and_every_tensor_moves(make) -> None:
    trainer, train_data = make(epochs=3, learning_rate=5e-3)
    before = {name: p.detach().clone() for name, p in trained_tensors(trainer).items()}
    trainer.fit(train_data, saved=False)
    losses = [sum(parts.values()) for parts in trainer.loss_history]
    assert losses[-1] < losses[0] - 0.2
    for name, parameter in trained_tensors(trainer).items():
        assert not torch.equal(parameter, before[name]), name


def test_the_teacher_stays_as_it_is_and_out_of_the_student(make) -> None:
    trainer, train_data = make(epochs=2)
    teacher_before = {name: value.clone() for name, value in trainer.teacher.state_dict().items()}
    modes = []
    trainer.teacher.encoder.register_forward_pre_hook(
        lambda module, _: modes.append((module.training, torch.is_grad_enabled()))
    )
    trainer.fit(train_data)
    assert set(modes) == {(False, False)}
    assert all(torch.equal(value, teacher_before[name]) for name, value in trainer.teacher.state_dict().items())
    assert not any(p.requires_grad for p in trainer.teacher.parameters())
    in_optimizer = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert not any(id(p) in in_optimizer for p in trainer.teacher.parameters())
    assert set(checkpoint.load(trainer.best_file)["state_dict"]) == set(trainer.model.state_dict())
    assert not any("teacher" in name or "heads" in name or "parts" in name for name in trainer.model.state_dict())
    assert trainer.model.n_parameters() == sum(p.numel() for p in trainer.model.parameters())


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        ({}, ("next_item", "soft_targets", "contrastive", "predictive")),
        ({"contrastive_weight": 0, "predictive_weight": 0}, ("next_item", "soft_targets")),
        ({"kd_weight": 0}, ("next_item", "contrastive", "predictive")),
        ({"kd_weight": 1, "predictive_weight": 0}, ("soft_targets", "contrastive")),
        ({"kd_weight": 0, "contrastive_weight": 0, "predictive_weight": 0}, ("next_item",)),
    ],
)
def test_a_weight_of_zero_turns_its_part_off(make, weights: dict, names: tuple) -> None:
    trainer, train_data = make(**weights)
    trainer.pair.is_head = torch.zeros(trainer.model.n_items, dtype=torch.bool)
    parts = trainer.loss_parts(next(iter(train_data)))
    assert trainer.loss_names == names
    assert len(parts) == len(names)
    assert all(part > 0 for part in parts)


def test_what_repetition_adds_is_part_of_both_distributions(make) -> None:
    trainer, train_data = make(kd_weight=0.25, contrastive_weight=0, predictive_weight=0, **REPEATING, **SASREC)
    trainer.teacher.repeat = RepeatScores(16, 20)
    for repeat in (trainer.model.repeat, trainer.teacher.repeat):
        torch.nn.init.normal_(repeat.level.bias)
        torch.nn.init.normal_(repeat.query.weight)
    batch = next(iter(train_data))
    scores = []
    for model in (trainer.model.eval(), trainer.teacher):
        cases = model.training_cases(batch)
        scores.append(model.item_table.scores(cases.case_repr).scatter_add(1, *cases.added))
    log_q, p = scores[0].log_softmax(1), scores[1].softmax(1)
    expected = (0.75 * F.cross_entropy(scores[0], cases.pos_items), 0.25 * F.kl_div(log_q, p, reduction="batchmean"))
    torch.testing.assert_close(trainer.loss_parts(batch), expected, rtol=1e-4, atol=1e-5)


def test_a_teacher_to_start_from_alone_costs_nothing_in_training(make) -> None:
    trainer, train_data = make(kd_weight=0, contrastive_weight=0, predictive_weight=0, init_from_teacher=True)
    trainer.teacher.encoder.register_forward_pre_hook(lambda *_: pytest.fail("the teacher was asked"))
    assert trainer.loss_names == ("next_item",)
    assert trainer.loss_parts(next(iter(train_data)))[0] > 0


def test_without_any_distillation_there_is_no_teacher(small_config, tmp_path: Path) -> None:
    config = small_config(kd_weight=0, contrastive_weight=0, predictive_weight=0, epochs=1)
    train = SessionDataset(config).build()[0]
    trainer = DistillationTrainer(config, ODRec(config, train), None, tmp_path / "run")
    trainer.fit(SessionWindowLoader(config, train))
    assert trainer.teacher is None
    assert not (tmp_path / "run" / "teacher").exists()


@pytest.mark.parametrize("item_order", ["none", "assigned"])
def test_parts_are_weighted_as_configured(make, item_order: str) -> None:
    weights = {"kd_weight": 0.25, "contrastive_weight": 0, "predictive_weight": 0}
    trainer, train_data = make(temperature=2.0, item_order=item_order, **weights, **SASREC)
    student, teacher = trainer.model.eval(), trainer.teacher
    batch = next(iter(train_data))
    cases = student.training_cases(batch)
    scores = student.item_table.scores(cases.case_repr)
    teacher_scores = teacher.item_table.scores(teacher.training_cases(batch).case_repr)
    expected = (
        0.75 * F.cross_entropy(scores, cases.pos_items),
        0.25 * 4 * F.kl_div((scores / 2).log_softmax(1), (teacher_scores / 2).softmax(1), reduction="batchmean"),
    )
    torch.testing.assert_close(trainer.loss_parts(batch), expected)


@pytest.mark.parametrize("teacher_class", [SASRecTeacher, GRU4RecTeacher])
def test_a_teacher_of_another_width_serves(make, teacher_class: type) -> None:
    trainer, train_data = make(teacher_class, teacher_size=24)
    trainer.pair.is_head = torch.arange(trainer.model.n_items) % 5 == 0
    assert all(part.isfinite() for part in trainer.loss_parts(next(iter(train_data))))


def test_the_student_can_start_from_its_teacher(make) -> None:
    errors = {}
    for item_order in ("assigned", "teacher"):
        trainer, _ = make(init_from_teacher=True, item_order=item_order)
        student, teacher = trainer.model, trainer.teacher
        for ours, theirs in zip(student.encoder.parameters(), teacher.encoder.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        missed = student.item_table.to_matrix() - teacher.item_table.to_matrix()
        errors[item_order] = missed.square().sum() / teacher.item_table.to_matrix().square().sum()
        assert not torch.equal(student.item_table.item_order, torch.arange(student.n_items))
    assert errors["assigned"] < errors["teacher"] < 0.9


def test_where_a_teachers_width_does_not_fit_similar_items_share_a_row(make, caplog) -> None:
    trainer, _ = make(SASRecTeacher, teacher_size=24, item_order="assigned")
    vectors, plan = trainer.teacher.item_table.to_matrix(), trainer.model.item_table.plan
    assert torch.equal(trainer.model.item_table.item_order, order_by_similarity(vectors, plan.item_shape[-1]))
    assert "24 columns cannot be assigned to its cells" in caplog.text


def test_a_student_of_codes_starts_from_its_teacher(make) -> None:
    trainer, _ = make(**CODES)
    student, teacher = trainer.model, trainer.teacher
    kept = (student.item_table.to_matrix() - teacher.item_table.to_matrix()).square().mean()
    assert kept < 0.1 * teacher.item_table.to_matrix().square().mean()
    assert student.item_table.compression_rate >= 2
    assert student.item_table.codes.float().std() > 10


def test_of_several_teachers_the_student_hears_the_mean_and_starts_from_the_first(make, small_config, tmp_path) -> None:
    alone = {"kd_weight": 1.0, "contrastive_weight": 0.0, "predictive_weight": 0.0}
    trainer, train_data = make(**CODES, **alone)
    data, members = train_data._dataset, []
    for width in (16, 24):
        members.append(SASRecTeacher(small_config("SASRecTeacher", hidden_size=width, **REPEATING), data).eval())
        torch.nn.init.normal_(members[-1].repeat.level.weight)
    student = ODRec(trainer.config, data)
    trainer = DistillationTrainer(trainer.config, student, TeacherEnsemble(members, [1, 2]), tmp_path / "several")
    for part in ("encoder", "readout", "repeat"):
        for name, value in getattr(student, part).state_dict().items():
            assert torch.equal(value, getattr(members[0], part).state_dict()[name]), name
    start = members[0].item_table.weight
    assert (student.item_table.to_matrix() - start).square().sum() < 0.5 * start.square().sum()
    student.eval()
    batch = next(iter(train_data))

    def scores(model: ODRec | SASRecTeacher) -> torch.Tensor:
        cases = model.training_cases(batch)
        return model.item_table.scores(cases.case_repr).scatter_add(1, *cases.added)

    with torch.no_grad():
        mean = scores(members[0]) / 3 + 2 * scores(members[1]) / 3
        kl = F.kl_div(scores(student).log_softmax(1), mean.log_softmax(1), log_target=True, reduction="batchmean")
        (loss,) = trainer.loss_parts(batch)
    assert kl > 0.01
    torch.testing.assert_close(loss, kl, rtol=1e-4, atol=1e-6)


MOVING = {"move_codes_every": 1, "learning_rate": 3e-3, "train_batch_size": 1024, **CODES}


def test_moving_codes_follow_a_table_that_is_thrown_away(make) -> None:
    trainer, train_data = make(epochs=1, **MOVING)
    table, teacher = trainer.model.item_table, trainer.teacher.item_table.to_matrix()
    assert torch.equal(trainer.latent, teacher)
    assert id(trainer.latent) in {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    before = table.codes.clone()
    trainer.fit(train_data)
    assert (trainer.latent - teacher).abs().mean() > 1e-3
    assert (table.codes != before).float().mean() > 0.01
    after = table.codes.clone()
    table.assign_(trainer.latent.detach())
    assert torch.equal(table.codes, after)  # each item has the codes next to it
    assert set(checkpoint.load(trainer.best_file)["state_dict"]) == set(trainer.model.state_dict())
    assert not any("latent" in name for name in trainer.model.state_dict())


def test_moving_codes_resume_exactly(make) -> None:
    def run(resumes: bool, **settings: object) -> DistillationTrainer:
        torch.manual_seed(0)
        trainer, train_data = make(**MOVING, **settings)
        assert trainer.resume() == resumes
        trainer.fit(train_data)
        trainer.last_file.unlink() if not resumes and settings["epochs"] == 2 else None
        return trainer

    whole = run(resumes=False, epochs=2)
    run(resumes=False, epochs=1)
    resumed = run(resumes=True, epochs=2)
    assert torch.equal(resumed.latent, whole.latent)
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[name]), name


def test_repeat_scores_start_from_the_teachers(small_config, tmp_path: Path) -> None:
    config = small_config(**CODES)
    train = SessionDataset(config).build()[0]
    teacher = SASRecTeacher(small_config("SASRecTeacher", **REPEATING), train)
    torch.nn.init.normal_(teacher.repeat.query.weight)
    trainer = DistillationTrainer(config, ODRec(config, train), teacher, tmp_path / "run")
    for part in ("repeat", "readout", "encoder"):
        ours, theirs = (getattr(model, part).state_dict() for model in (trainer.model, teacher))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), part
