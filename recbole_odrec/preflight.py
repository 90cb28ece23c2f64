"""The first batch of every part, once, before a run writes anything: what cannot run is refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import recbole.trainer
import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Evaluator
from recbole.trainer import Trainer
from recbole.utils import ModelType
from torch import nn

from recbole_odrec.errors import UserError
from recbole_odrec.nn.tables.split import split_tables
from recbole_odrec.processes.launch import consequence
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.finite import Loss
from recbole_odrec.trainer.resumable import ResumableTrainer
from recbole_odrec.trainer.split_scores import split_batch
from recbole_odrec.trainer.topk_collector import TopKCollector

# Kinds of model whose training is a loss of a batch, and which can score before it.
_BY_BATCHES = (ModelType.SEQUENTIAL, ModelType.GENERAL, ModelType.CONTEXT)


class _Rehearsal(Trainer):
    """RecBole's evaluation of a batch, without the folders that its constructor makes."""

    def __init__(self, config: Config, model: nn.Module, train_data: Any) -> None:
        self.config, self.model, self.device = config, model, config["device"]
        self.test_batch_size, self.tot_item_num = config["eval_batch_size"], train_data._dataset.item_num
        self.item_tensor = train_data._dataset.get_item_feature().to(self.device)
        self.eval_collector, self.evaluator = TopKCollector(config), Evaluator(config)
        self.eval_collector.data_collect(train_data)

    def try_training(self, loss: Loss, data: Any) -> None:
        self.model.train()
        if self.config["train_neg_sample_args"].get("dynamic", False):
            data.get_model(self.model)
        batch = next(iter(data)).to(self.device)
        with torch.autocast(self.device.type, enabled=bool(self.config["enable_amp"])):
            loss(batch)

    @torch.no_grad()
    def try_evaluation(self, data: Any) -> None:
        self.model.eval()
        is_full = isinstance(data, FullSortEvalDataLoader)
        score = self._full_sort_batch_eval if is_full else self._neg_sample_batch_eval
        for table in split_tables(self.model).values() if is_full else ():
            data.is_shared, score = False, partial(split_batch, self, table)
        scored = score(next(iter(data)))
        interaction, scores, rows, items = scored
        self.eval_collector.eval_batch_collect(scores, interaction, rows, items)
        self.evaluator.evaluate(self.eval_collector.get_data_struct())


def preflight(
    config: Config, model: Any, train_data: Any, valid_data: Any, test_data: Any, loss: Loss | None = None
) -> None:
    """Runs the first batch of training, validation and test: loss, scores, metrics.

    No weight changes and no random number is used up: generators and buffers are as they were. Models of RecBole that
    train in a way of their own are left out.

    Args:
        config, model: what is to be trained; a model made for this may be thrown away.
        train_data, valid_data, test_data: its loaders; None is left out.
        loss: of a batch; the model's own when None.

    Raises:
        UserError: which part cannot run, and why.
    """
    own = getattr(recbole.trainer, f"{config['model']}Trainer", ResumableTrainer)
    if config["MODEL_TYPE"] not in _BY_BATCHES or not issubclass(own, ResumableTrainer):
        return
    with _as_it_was(model, (train_data, valid_data, test_data)):
        rehearsal = _Rehearsal(config, model, train_data)
        steps = {"training": partial(rehearsal.try_training, loss or model.calculate_loss, train_data)}
        for part, data in (("validation", valid_data), ("test", test_data)):
            if data:
                steps[part] = partial(rehearsal.try_evaluation, data)
        for part, step in steps.items():
            try:
                step()
            except UserError:
                raise
            except Exception as error:  # a network or a metric fails in any way there is
                if consequence(error) is not None:
                    raise
                reason = " ".join(str(error).split())[:300]
                raise UserError(
                    f"{type(model).__name__} cannot run the first batch of {part} ({type(error).__name__}: {reason}); "
                    "nothing was written."
                ) from error


@contextmanager
def _as_it_was(model: nn.Module, loaders: tuple[Any, ...]) -> Iterator[None]:
    """Random generators, buffers and mode of the model afterwards as before."""
    random, is_training = checkpoint.rng_state(), model.training
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    generators = [found for loader in loaders if (found := getattr(loader, "generator", None)) is not None]
    states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        checkpoint.set_rng_state(random)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        for name, buffer in model.named_buffers():
            if name in buffers:
                buffer.copy_(buffers[name])
        model.train(is_training)
