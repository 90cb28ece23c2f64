"""What a training step and an evaluation hold at once, and that the saving changes no metric."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.evaluator import Collector

from recbole_odrec.benchmark.memory import peak_of_large_blocks
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.losses import catalogue, catalogue_loss
from recbole_odrec.model import ODRec, SASRecTeacher
from recbole_odrec.nn import DenseEmbedding, SemiTensorTrainEmbedding
from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.trainer.resumable import ResumableTrainer
from recbole_odrec.trainer.topk_collector import TopKCollector

FOUR_METRICS = {"metrics": ["Recall", "MRR", "NDCG", "Precision"], "valid_metric": "NDCG@10", "topk": [1, 10, 20]}


def test_a_distillation_step_holds_two_score_matrices() -> None:
    n_items, n_cases = 40_000, 256
    table = SemiTensorTrainEmbedding.from_compression_rate(n_items, 32, 30)
    teacher = DenseEmbedding(n_items, 32).requires_grad_(False)
    query, pos_items = torch.randn(n_cases, 32, requires_grad=True), torch.randint(1, n_items, (n_cases,))
    buffers = ScoreBuffer(), ScoreBuffer()

    def step() -> None:
        teacher_scores = teacher.raw_scores(query.detach(), None, buffers[0])
        scores = table.raw_scores(query, None, buffers[1])
        catalogue_loss(scores, pos_items, n_items, table.zero_item, teacher_scores, 0.8).total.backward()

    score_matrix = 4 * n_cases * n_items
    first = peak_of_large_blocks(step, at_least=score_matrix // 2)
    assert 2 <= first / score_matrix < 2.01  # the student's has a few cells more than there are items
    assert peak_of_large_blocks(step, at_least=score_matrix // 2) == 0  # and the next step asks for none
    assert query.grad.abs().sum() > 0


@pytest.mark.parametrize(("kd_weight", "most"), [(0.0, 1.0), (0.8, 2.0)])
def test_a_bfloat16_step_in_a_gpus_blocks_holds_little_and_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, kd_weight: float, most: float
) -> None:
    """Blocks as a GPU has them, on the CPU: memory in float32 score matrices, gradients as of a CPU's blocks."""
    n_items, n_cases = 40_000, 512
    weight, query = torch.randn(n_items, 16), torch.randn(n_cases, 16, requires_grad=True)
    pos_items, gradients = torch.randint(1, n_items, (n_cases,)), []

    def step() -> None:
        teacher = product(query.detach() + 1, weight, ScoreBuffer(), torch.bfloat16) if kd_weight else None
        scores = product(query, weight, ScoreBuffer(), torch.bfloat16)
        loss = catalogue_loss(scores, pos_items, teacher_scores=teacher, kd_weight=kd_weight).total
        gradients.append(torch.autograd.grad(loss, query)[0])

    step()
    blocks = partial(catalogue._rows_of_block, device=torch.device("cuda"))
    monkeypatch.setattr(catalogue, "_rows_of_block", lambda *sizes: blocks(*sizes[:3]))
    score_matrix = 4 * n_cases * n_items
    assert peak_of_large_blocks(step, at_least=score_matrix // 8) / score_matrix < most + 0.01
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)
    assert blocks(512, 40_728, 3) == 171
    assert blocks(512, 1_000_000, 3) == 67
    assert blocks(8, 100, 1) == 41_943


@pytest.mark.parametrize("item_order", ["none", "teacher"])
def test_evaluation_gives_recboles_numbers(small_config, item_order: str) -> None:
    config = small_config(item_order=item_order, eval_batch_size=118, **{**FOUR_METRICS, "topk": [10, 100]})
    _, _, test_data = data_preparation(config, create_dataset(config))
    trainer = ResumableTrainer(config, ODRec(config, test_data._dataset))
    ours = trainer.evaluate(test_data, load_best_model=False)
    trainer.eval_collector = Collector(config)
    assert ours == pytest.approx(trainer.evaluate(test_data, load_best_model=False), abs=1e-6)
    assert 0 < ours["recall@100"] < 1  # an untrained network


@pytest.mark.parametrize("has_order", [False, True])
def test_an_evaluation_holds_one_block_of_scores(small_config, has_order: bool) -> None:
    n_items, n_rows = 40_000, 256
    order = torch.randperm(n_items) if has_order else None
    table = SemiTensorTrainEmbedding.from_compression_rate(n_items, 32, 10, item_order=order)
    query, rows = torch.randn(n_rows, 32), torch.arange(n_rows)
    collectors = TopKCollector(small_config()), Collector(small_config())

    @torch.no_grad()
    def evaluate(collector: Collector) -> None:
        collector.eval_batch_collect(table.scores(query), None, rows, rows + 1)

    score_matrix = 4 * n_rows * n_items
    frugal, recboles = (
        peak_of_large_blocks(partial(evaluate, collector), at_least=score_matrix // 2) for collector in collectors
    )
    assert frugal == score_matrix
    assert recboles >= 2 * score_matrix


def test_several_targets_a_row_count_as_in_recbole(small_config) -> None:
    config = small_config(**FOUR_METRICS)
    _, _, test_data = data_preparation(config, create_dataset(config))
    trainer = ResumableTrainer(config, ODRec(config, test_data._dataset))
    scores = torch.rand(4, test_data._dataset.item_num)
    rows, items = torch.tensor([0, 0, 1, 2, 2, 2, 3]), torch.tensor([5, 9, 7, 1, 1, 3, 2])
    collected = []
    for collector in (trainer.eval_collector, Collector(config)):
        collector.eval_batch_collect(scores, None, rows, items)
        collected.append(collector.data_struct.get("rec.topk"))
    assert torch.equal(*collected)


@pytest.fixture
def training(small_config, tmp_path):
    """Trains a small teacher at a precision: its trainer and test data."""

    def train(dtype: str, epochs: int) -> tuple:
        config = small_config(
            "SASRecTeacher", score_dtype=dtype, epochs=epochs, hidden_size=32, learning_rate=0.005, stopping_step=epochs
        )
        train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
        torch.manual_seed(0)
        trainer = ResumableTrainer(config, SASRecTeacher(config, train_data._dataset), tmp_path / dtype)
        loader = SessionWindowLoader(config, train_data._dataset)
        trainer.fit(loader, valid_data)
        return trainer, loader, test_data

    return train


def test_a_bfloat16_step_has_the_gradient_of_a_float32_step(training) -> None:
    trainer, loader, _ = training("float32", 3)
    model, batch, gradients = trainer.model.eval(), next(iter(loader)), []
    for model.score_dtype in (None, torch.bfloat16):
        model.zero_grad()
        model.calculate_loss(batch).backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    exact, rounded = gradients
    assert exact.norm() > 0
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.01


def test_bfloat16_scores_train_to_the_same_quality(training) -> None:
    """The band: NDCG@20 of 120 test users within 20 % of float32's (another seed moves it as much), far from chance."""
    ndcg = {}
    for dtype in ("float32", "bfloat16"):
        trainer, _, test_data = training(dtype, 6)
        ndcg[dtype] = trainer.evaluate(test_data)["ndcg@20"]
    assert min(ndcg.values()) > 0.02  # 20 of 1,400 items at random: 0.005
    assert ndcg["bfloat16"] == pytest.approx(ndcg["float32"], rel=0.2)
