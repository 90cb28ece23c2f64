"""One step in float64, shared and whole, compared in each process that `torchrun` starts.

Fails where loss, a gradient, or the state of the random generator afterwards differs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.data import create_dataset
from recbole.data.dataloader import FullSortEvalDataLoader
from torch import Tensor

from recbole_odrec.config import make_config
from recbole_odrec.data.preparation import prepare
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.data.windows import NEXT_ITEMS, Windows
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.neighbours import NeighbourModel
from recbole_odrec.nn import ItemTable
from recbole_odrec.nn.tables.codes import ProductCodesEmbedding
from recbole_odrec.nn.tables.split import SplitEmbedding
from recbole_odrec.phases import build_model
from recbole_odrec.processes.from_first import AtFirst
from recbole_odrec.processes.group import gathered
from recbole_odrec.processes.rows import whole_in_all
from recbole_odrec.processes.shares import summed
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.distillation import DistillationTrainer
from recbole_odrec.trainer.resumable import ResumableTrainer
from recbole_odrec.trainer.teacher_plan import plan_teachers


def step(trainer: Any, batch: Any, seed: int) -> tuple[Tensor, list[Tensor], Tensor]:
    """Loss, gradients and state of the generator after a step that is not taken."""
    torch.manual_seed(seed)
    trainer.model.train()
    trained = [each for group in trainer.optimizer.param_groups for each in group["params"]]
    for parameter in trained:
        parameter.grad = None
    is_distilled = isinstance(trainer, DistillationTrainer)
    parts = trainer.loss_parts(batch) if is_distilled else (trainer.loss(batch),)
    loss = torch.stack(parts).sum()
    loss.backward()
    if getattr(batch, "share", None) is not None:
        loss = summed(loss.detach())
        trainer._sum_gradients(trainer.optimizer)
    elif trainer._clip:
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), **trainer._clip)
    state, split = torch.get_rng_state(), trainer._split()
    found = [(p.grad, split.get(p.data_ptr())) for p in trained if p.grad is not None]
    return loss.detach(), [g.clone() if bounds is None else whole_in_all(g, bounds) for g, bounds in found], state


def moved_codes(table: ItemTable) -> Tensor | None:
    """Codes that follow, once the codebooks have changed."""
    if not isinstance(table, ProductCodesEmbedding):
        return None
    table.codebooks.data += 0.01 * torch.randn(table.codebooks.shape, generator=torch.Generator().manual_seed(3))
    before = table.codes.clone()
    table.after_step(1)
    assert not torch.equal(table.codes, before)
    return table.codes


def compare(model: str, keys: dict[str, Any]) -> None:
    """A batch of a run, and two of two windows: of three processes, one has nothing of them, another no case."""
    config = make_config(model, keys.pop("dataset"), config_dict=keys)
    data, *_ = prepare(config, create_dataset, tests=True)
    loader = SessionWindowLoader(config, data._dataset)
    student = build_model(config, loader).double()
    if model == "ODRec":
        trainer = DistillationTrainer(config, student)
        (plan,) = plan_teachers(config, loader)
        trainer.attach_teacher(plan.model.double())
        trainer.pair.dataset = loader._dataset
        trainer.objectives.double()
    else:
        trainer = ResumableTrainer(config, student)
    batch = next(iter(loader))
    for each in (batch, first_two(batch), first_two(batch, with_cases=1)):
        whole, shared = step(trainer, each, 7), step(trainer, each.shared(), 7)
        torch.testing.assert_close(shared[0], whole[0], rtol=1e-10, atol=1e-12)
        for ours, theirs in zip(shared[1], whole[1], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)
        assert torch.equal(shared[2], whole[2])


def compare_taught(model: str, keys: dict[str, Any]) -> None:
    """The same of a student whose teachers' rows are split, against whole ones; their lists too."""
    dataset, steps, lists, codes = keys.pop("dataset"), [], [], []
    for is_split in (False, True):
        config = make_config(model, dataset, config_dict={**keys, "split_table": is_split})
        data, valid, _ = prepare(config, create_dataset, tests=True)
        loader = SessionWindowLoader(config, data._dataset)
        plans = plan_teachers(config, loader)
        members = [plan.model if isinstance(plan.model, NeighbourModel) else plan.model.double() for plan in plans]
        for member in members:
            if isinstance(member, NeighbourModel):
                member.fit_(loader._dataset)
        teacher = members[0] if len(members) == 1 else TeacherEnsemble(members, [plan.share for plan in plans])
        assert (teacher.item_table.columns is not None) is is_split
        trainer = DistillationTrainer(config, build_model(config, loader).double())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SplitEmbedding, "to_matrix", None)  # no process but the first ever has all rows
            trainer.attach_teacher(teacher)
        trainer.pair.dataset = loader._dataset
        trainer.objectives.double()
        batch = next(iter(loader))
        each_batch = batch, first_two(batch), first_two(batch, with_cases=1)
        steps += [step(trainer, each.shared() if is_split else each, 7) for each in each_batch]
        assert (trainer.pair.teacher_table.columns is not None) is is_split
        codes.append(moved_codes(trainer.model.item_table))
        evaluator = ResumableTrainer(plans[0].config, members[0])
        evaluator.model = teacher
        evaluator.eval_collector.data_collect(loader)
        lists.append(evaluator.evaluate(valid, load_best_model=False))
    for rows in [trainer.pair.teacher_table.weight, *([] if trainer.latent is None else [trainer.latent])]:
        assert sum(gathered(len(rows))) == trainer.model.n_items
        assert len(rows) < trainer.model.n_items
    assert codes[0] is codes[1] or torch.equal(*codes)
    check_file(trainer)
    for whole, split in zip(steps[:3], steps[3:], strict=True):
        torch.testing.assert_close(split[0], whole[0], rtol=1e-10, atol=1e-12)
        for ours, theirs in zip(split[1], whole[1], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)
        assert torch.equal(split[2], whole[2])
    assert lists[0] == lists[1], lists


def check_file(trainer: DistillationTrainer) -> None:
    """A checkpoint holds whole tables, and each process gets of it the rows that it has: nothing else that wide."""
    taken = []
    trainer.optimizer.step()
    before = [one.clone() for one in kept_rows(trainer)]
    checkpoint.save(Path("taught.pth"), {"n_items": trainer.model.n_items, "training": trainer._training_state()})
    for one in kept_rows(trainer):
        one.zero_()
    with pytest.MonkeyPatch.context() as patch:
        whole = AtFirst.taken

        def seen(self: AtFirst, bounds: Any = None) -> Tensor:
            taken.append((bounds is None, self.dtype.is_floating_point, *self.shape))
            return whole(self, bounds)

        patch.setattr(AtFirst, "taken", seen)
        state = checkpoint.load(Path("taught.pth"), in_parts=True)
        trainer._load_training_state(state["training"])
    if trainer.latent is not None:
        shape = (trainer.model.n_items, trainer.model.hidden_size)
        assert taken.count((False, True, *shape)) == 3  # rows, and two averages of Adam's
        assert (True, True, *shape) not in taken
    assert all(map(torch.equal, kept_rows(trainer), before))


def kept_rows(trainer: DistillationTrainer) -> list[Tensor]:
    """What trains along with codes, and what the optimizer keeps of it; without, of the encoder."""
    trained = next(trainer.model.encoder.parameters()) if trainer.latent is None else trainer.latent
    state = trainer.optimizer.state[trained]
    return [trained.data, state["exp_avg"], state["exp_avg_sq"]]


def first_two(batch: Windows, with_cases: int = 2) -> Windows:
    """The first two windows of a batch, the second one perhaps without cases, as a walk that ends early leaves it."""
    width = batch[NEXT_ITEMS].shape[1]
    columns = {name: values[:2].clone() for name, values in batch.interaction.items()}
    columns[NEXT_ITEMS][with_cases:] = 0
    return Windows(columns, batch.cases[batch.cases < with_cases * width])


def compare_split(model: str, keys: dict[str, Any]) -> None:
    """The same of a table whose rows are split, against a whole one; each process has its rows and no others."""
    dataset, losses, gradients, lists = keys.pop("dataset"), [], [], []
    for is_split in (False, True):
        config = make_config(model, dataset, config_dict={**keys, "split_table": is_split})
        data, valid, _ = prepare(config, create_dataset, tests=True)
        loader = SessionWindowLoader(config, data._dataset)
        built = build_model(config, loader).double()
        trainer = ResumableTrainer(config, built)
        batch = next(iter(loader))
        loss, _, state = step(trainer, batch.shared() if is_split else batch, 7)
        trainer.eval_collector.data_collect(loader)
        losses.append((loss, state))
        gradients.append({name: parameter.grad.clone() for name, parameter in built.named_parameters()})
        if not isinstance(valid, FullSortEvalDataLoader):
            built.requires_grad_(False).float()  # RecBole gathers scores of candidates in float32
        lists.append(trainer.evaluate(valid, load_best_model=False))
        table = built.item_table
    sizes = gathered(len(table.weight))
    assert sum(sizes) == table.n_items
    assert max(sizes) - min(sizes) <= 1
    assert lists[0] == lists[1], lists
    torch.testing.assert_close(losses[1][0], losses[0][0], rtol=1e-10, atol=1e-12)
    assert torch.equal(losses[1][1], losses[0][1])
    gradients[0]["item_table.weight"] = gradients[0]["item_table.weight"][table.columns]
    for name, ours in gradients[1].items():
        torch.testing.assert_close(ours, gradients[0][name], rtol=1e-7, atol=1e-10)
