from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_odrec.errors import UserError
from recbole_odrec.losses import (
    AddedScores,
    Recombination,
    RecombinationHead,
    at_once,
    catalogue_loss,
    contrastive_loss,
    predictive_loss,
)
from recbole_odrec.nn import FrozenTable, SemiTensorTrainEmbedding
from recbole_odrec.nn.product import ScoreBuffer


def soft_target_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """The soft targets alone; `catalogue_loss` uses up the scores it is given."""
    ids = torch.zeros(len(student), dtype=torch.long)
    return catalogue_loss(student * 1, ids, teacher_scores=teacher, kd_weight=1.0, temperature=temperature).total


def plain_loss(student: Tensor, pos_items: Tensor, teacher: Tensor, kd_weight: float, temperature: float) -> Tensor:
    log_q, p = (student / temperature).log_softmax(1), (teacher / temperature).softmax(1)
    soft = temperature**2 * F.kl_div(log_q, p, reduction="batchmean")
    return (1 - kd_weight) * F.cross_entropy(student, pos_items) + kd_weight * soft


class TestCatalogueLoss:
    @pytest.mark.parametrize("kd_weight", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("temperature", [1.0, 2.5])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
    def test_equals_the_plain_formula_and_its_gradient(
        self, kd_weight, temperature, dtype, tolerance, monkeypatch
    ) -> None:
        monkeypatch.setattr("recbole_odrec.losses.catalogue._CPU_BLOCK", 300)  # blocks of 3 rows, the last one of 1
        n_items, n_columns = 97, 101
        raw = (3 * torch.randn(10, n_columns, dtype=dtype)).requires_grad_()
        teacher, pos_items = torch.randn(10, n_items, dtype=dtype), torch.randint(0, n_items, (10,))
        got = catalogue_loss(raw * 1, pos_items, n_items, 0, teacher, kd_weight, temperature)
        (got.total * 1.7).backward()
        scores = raw.detach().clone().requires_grad_()
        is_zero = torch.arange(n_items) == 0
        expected = plain_loss(scores[:, :n_items].masked_fill(is_zero, 0), pos_items, teacher, kd_weight, temperature)
        (expected * 1.7).backward()
        torch.testing.assert_close(got.total, expected, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(raw.grad, scores.grad, rtol=tolerance, atol=tolerance)
        hard = (1 - kd_weight) * F.cross_entropy(scores[:, :n_items].masked_fill(is_zero, 0), pos_items)
        torch.testing.assert_close(got.total - got.soft_targets, hard, rtol=tolerance, atol=10 * tolerance)

    @pytest.mark.parametrize("kd_weight", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("zero_item", [None, 0])
    def test_what_is_added_counts_as_part_of_the_scores(self, kd_weight, zero_item, monkeypatch) -> None:
        monkeypatch.setattr("recbole_odrec.losses.catalogue._CPU_BLOCK", 300)
        raw = torch.randn(10, 97, dtype=torch.float64, requires_grad=True)
        values = torch.randn(10, 6, dtype=torch.float64, requires_grad=True)
        items = torch.randint(1, 20, (10, 6))  # some twice
        teacher, pos_items = torch.randn(10, 97, dtype=torch.float64), items[:, 0]
        got = catalogue_loss(
            raw * 1, pos_items, 97, zero_item, teacher, kd_weight, 2.0, added=AddedScores(items, values)
        ).total
        of_raw, of_values = torch.autograd.grad(1.7 * got, (raw, values))
        is_kept = torch.arange(97) != (-1 if zero_item is None else zero_item)
        plain = plain_loss((raw * is_kept).scatter_add(1, items, values), pos_items, teacher, kd_weight, 2.0)
        expected = torch.autograd.grad(1.7 * plain, (raw, values))
        torch.testing.assert_close(got, plain, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(of_raw, expected[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(of_values, expected[1], rtol=1e-12, atol=1e-12)

    def test_bfloat16_scores_are_summed_in_float32(self) -> None:
        scores, teacher = torch.randn(4, 20_000).bfloat16(), torch.randn(4, 20_000).bfloat16()
        pos_items = torch.arange(4)
        got = catalogue_loss(scores * 1, pos_items, teacher_scores=teacher, kd_weight=0.5).total
        expected = plain_loss(scores.float(), pos_items, teacher.float(), 0.5, 1.0)
        assert got.dtype == torch.float32
        assert got.item() == pytest.approx(expected.item(), rel=1e-6)

    def test_leaves_scores_alone_where_no_gradient_is_needed(self) -> None:
        scores = torch.randn(3, 8)
        before = scores.clone()
        catalogue_loss(scores, torch.tensor([1, 2, 3]))
        assert torch.equal(scores, before)


class TestSoftTargets:
    @pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
    def test_equals_the_plain_formula_and_its_gradient(self, temperature: float) -> None:
        student = torch.randn(5, 30, dtype=torch.float64, requires_grad=True)
        teacher = 3 * torch.randn(5, 30, dtype=torch.float64)
        p = torch.softmax(teacher / temperature, -1)
        q = torch.softmax(student / temperature, -1)
        plain = temperature**2 * (p * (p.log() - q.log())).sum() / 5
        fast = soft_target_loss(student, teacher, temperature)
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)
        got, expected = (torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (fast, plain))
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)

    def test_is_averaged_over_the_batch(self) -> None:
        """The released code sums it: its weight then grows with the batch."""
        student, teacher = torch.randn(4, 9), torch.randn(4, 9)
        once, twice = soft_target_loss(student, teacher), soft_target_loss(student.repeat(2, 1), teacher.repeat(2, 1))
        torch.testing.assert_close(once, twice)

    def test_is_zero_only_where_the_distributions_agree(self) -> None:
        scores = 20 * torch.randn(4, 9, dtype=torch.float64)
        assert soft_target_loss(scores, scores - 7).item() == pytest.approx(0, abs=1e-12)
        assert soft_target_loss(scores, -scores) > 0.1

    def test_survives_scores_of_any_size(self) -> None:
        scores = torch.tensor([[1e4, -1e4, 0.0]])
        assert soft_target_loss(scores, scores.flip(1)).isfinite()

    def test_refuses_silent_failures(self) -> None:
        scores = torch.randn(4, 9)
        with pytest.raises(UserError, match="NaN or infinity"):  # a run says it in one line
            soft_target_loss(scores, torch.full((4, 9), torch.nan))
        with pytest.raises(ValueError, match="same items"):
            soft_target_loss(scores, torch.randn(4, 8))
        with pytest.raises(ValueError, match="temperature=0"):
            soft_target_loss(scores, scores, 0)


class TestContrastive:
    def test_equals_the_plain_formula(self) -> None:
        first, second = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
        plain = 0.0
        for b in range(6):
            similarity = [F.cosine_similarity(first[b], second[c], dim=0) / 0.2 for c in range(6)]
            plain -= (similarity[b] - torch.logsumexp(torch.stack(similarity), 0)) / 6
        torch.testing.assert_close(contrastive_loss(first, second, 0.2), plain)

    def test_one_session_has_no_negatives(self) -> None:
        assert contrastive_loss(torch.randn(1, 4), torch.randn(1, 4)).item() == 0

    def test_refuses_what_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match="must agree"):
            contrastive_loss(torch.randn(2, 3), torch.randn(3, 2))
        with pytest.raises(ValueError, match="contrastive_temperature=-1"):
            contrastive_loss(torch.randn(2, 3), torch.randn(2, 3), -1)


def test_predictive_loss_is_cross_entropy_of_the_normalised_view() -> None:
    view, table, pos = torch.randn(4, 5).double(), torch.randn(9, 5).double(), torch.tensor([1, 8, 3, 3])
    unit = view / view.norm(dim=1, keepdim=True)
    plain = -torch.log_softmax(unit @ table.T, -1)[torch.arange(4), pos].mean()
    torch.testing.assert_close(predictive_loss(view, FrozenTable(table), pos), plain)


def test_gradients_at_once_are_those_of_the_backward_pass() -> None:
    """Two losses through one buffer: had the second spoilt the first, its gradient would differ."""
    table = SemiTensorTrainEmbedding(30, 8, tt_ranks=4, std=1).double()
    weight, pos_items, buffer = torch.nn.Linear(8, 8).double(), torch.tensor([3, 7, 29]), ScoreBuffer()
    inputs = torch.randn(2, 3, 8).double()
    parameters = (*weight.parameters(), *table.parameters())
    gradients = []
    for at in (lambda loss, view, _: loss(view), at_once):
        kept = buffer if at is at_once else None
        loss = partial(predictive_loss, table=table, pos_items=pos_items, buffer=kept)
        total = 0.3 * at(loss, weight(inputs[0]), table.parameters()) + at(loss, weight(inputs[1]), table.parameters())
        gradients.append(torch.autograd.grad(total, parameters))
    for expected, actual in zip(*gradients, strict=True):
        assert expected.abs().sum() > 0
        torch.testing.assert_close(actual, expected)


class TestRecombination:
    """Against a loop over sessions, for every kind of session at once."""

    @staticmethod
    def loop(
        module: Recombination, head: RecombinationHead, inputs: dict[str, torch.Tensor]
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        views = []
        for b in range(len(inputs["is_head"])):
            valid = inputs["is_valid"][b]
            is_head = inputs["is_head"][b] & valid
            is_tail = ~inputs["is_head"][b] & valid
            if is_head.any() and is_tail.any():
                parts = {}
                for network in ("student", "teacher"):
                    pool, items = getattr(module, f"{network}_parts"), inputs[f"{network}_items"][b]
                    everything = torch.ones(1, 1, dtype=torch.bool)
                    for kind, mask in (("head", is_head), ("tail", is_tail)):
                        chosen = items[mask].unsqueeze(0)
                        parts[network, kind] = getattr(pool, kind)(chosen, everything.expand(1, chosen.shape[1]))[0]
                first = head.first(torch.cat([parts["student", "head"], parts["teacher", "tail"]]))
                second = head.second(torch.cat([parts["teacher", "head"], parts["student", "tail"]]))
            else:
                first = head.teacher_session(inputs["teacher_session"][b])
                second = head.student_session(inputs["student_session"][b])
            views.append((first, second))
        return views

    @pytest.mark.parametrize("teacher_dim", [6, 10])
    def test_equals_a_loop_over_sessions(self, teacher_dim: int) -> None:
        lengths = torch.tensor([5, 5, 5, 1, 1, 3])
        is_head = torch.tensor(
            [[1, 0, 1, 0, 0], [1] * 5, [0] * 5, [1, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 1, 0, 1, 1]]
        ).bool()
        module = Recombination(6, teacher_dim).double()
        inputs = {
            "student_items": torch.randn(6, 5, 6).double(),
            "teacher_items": torch.randn(6, 5, teacher_dim).double(),
            "student_session": torch.randn(6, 6).double(),
            "teacher_session": torch.randn(6, teacher_dim).double(),
            "is_head": is_head,
            "is_valid": torch.arange(5) < lengths.unsqueeze(1),
        }
        sessions = inputs["student_session"], inputs["teacher_session"]
        parts = module(*(inputs[name] for name in ("student_items", "teacher_items", "is_head", "is_valid")))
        for dims in ((6, 6), (6, teacher_dim)):
            head = RecombinationHead(6, teacher_dim, *dims).double()
            views = head(parts, *sessions)
            for b, (first, second) in enumerate(self.loop(module, head, inputs)):
                torch.testing.assert_close(views.first[b], first)
                torch.testing.assert_close(views.second[b], second)

    @pytest.mark.parametrize("kind", ["all head", "all tail", "length one"])
    def test_a_batch_without_any_mixed_session_trains_on(self, kind: str) -> None:
        module, head = Recombination(4, 4), RecombinationHead(4, 4, 4, 4)
        valid = torch.ones(3, 5, dtype=torch.bool) if kind != "length one" else torch.eye(5)[:1].bool().expand(3, 5)
        session = torch.randn(3, 4, requires_grad=True)
        items, teacher = torch.randn(3, 5, 4, requires_grad=True), torch.randn(3, 4)
        is_head = torch.full((3, 5), kind == "all head")
        views = head(module(items, torch.randn(3, 5, 4), is_head, valid), session, teacher)
        torch.testing.assert_close(views.first, teacher)
        torch.testing.assert_close(views.second, session)
        loss = contrastive_loss(*views)
        loss.backward()
        assert loss.isfinite()
        assert session.grad.abs().sum() > 0
        assert all(p.grad is None or p.grad.isfinite().all() for p in (*module.parameters(), *head.parameters()))
        assert items.grad.isfinite().all()


def test_contrastive_loss_of_unrelated_views_is_log_batch() -> None:
    """With equal similarities every session guesses: log B."""
    assert contrastive_loss(torch.ones(8, 3), torch.ones(8, 3)).item() == pytest.approx(math.log(8))
