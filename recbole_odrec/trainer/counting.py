"""Training of models that count: one pass over the sessions in place of epochs."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from recbole.config import Config
from torch import nn
from torch.optim import SGD, Optimizer

from recbole_odrec.neighbours import NeighbourModel
from recbole_odrec.trainer.resumable import ResumableTrainer


class CountingTrainer(ResumableTrainer):
    """Counts once; validation, checkpoints and resume are those of every model of ours.

    Args: as in `ResumableTrainer`.
    """

    model: NeighbourModel

    def __init__(
        self, config: Config, model: NeighbourModel, run_dir: Path | None = None, phase: str = "train"
    ) -> None:
        super().__init__(config, model, run_dir, phase)
        self.epochs = 1

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        return SGD([nn.Parameter(torch.zeros(0))])  # RecBole wants one; it never steps

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ()

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> tuple[float, ...]:
        start = perf_counter()
        self.model.fit_(train_data._dataset)
        self.epoch_seconds.append(perf_counter() - start)
        self.loss_history.append({})
        return ()


def trainer_of(model: nn.Module) -> type[ResumableTrainer]:
    """The trainer of a teacher, or of a model that runs alone."""
    return CountingTrainer if isinstance(model, NeighbourModel) else ResumableTrainer
