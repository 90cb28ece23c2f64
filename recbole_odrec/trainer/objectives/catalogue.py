"""Next items and soft targets: one pass over the scores of the whole catalogue, two parts of the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_odrec.losses import mix_
from recbole_odrec.parsing import key, require
from recbole_odrec.trainer.objectives.objective import Objective, Step


class Catalogue(Objective):
    """(1 - kd_weight) cross-entropy of the next item + kd_weight KL(teacher || student) (paper, section 3.4)."""

    name = "catalogue"

    @dataclass(frozen=True)
    class Settings:
        """Its keys."""

        kd_weight: float = key(0.8, "Weight of the soft targets against the next-item cross-entropy, 0 to 1.")
        temperature: float = key(1.0, "Temperature of the soft targets.")

        def __post_init__(self) -> None:
            require(0 <= self.kd_weight <= 1, "kd_weight", self.kd_weight, "a number in [0, 1]")
            require(self.temperature > 0, "temperature", self.temperature, "a number above 0")

    @classmethod
    def weights(cls, settings: Settings) -> dict[str, float]:
        return {"next_item": 1 - settings.kd_weight, "soft_targets": settings.kd_weight}

    @classmethod
    def needs_teacher(cls, settings: Settings) -> bool:
        return settings.kd_weight > 0

    def forward(self, step: Step) -> dict[str, Tensor]:
        kd_weight = self.settings.kd_weight
        teacher_scores = self._teacher_scores(step) if kd_weight else None
        total, soft = self.pair.student.catalogue_loss(
            step.cases, teacher_scores=teacher_scores, kd_weight=kd_weight, temperature=self.settings.temperature
        )
        # One loss with one gradient; what is logged as next_item is what soft targets leave of it.
        parts = {"next_item": total - soft, "soft_targets": soft} if kd_weight < 1 else {"soft_targets": total}
        return {name: parts[name] for name, weight in self.weights(self.settings).items() if weight}

    @torch.no_grad()
    def _teacher_scores(self, step: Step) -> Tensor:
        """[C, N], in the student's columns, valid until the buffer's next use."""
        cases = step.teacher_cases
        scores = self.pair.teacher_table.raw_scores(cases.case_repr, buffer=self.pair.buffer)
        added = self.pair.student.in_columns(cases.added)
        if added is not None:
            scores.scatter_add_(1, added.items, added.values.to(scores.dtype))
        for shares in cases.shares:
            mix_(scores, shares._replace(items=self.pair.student.item_table.columns_of(shares.items)))
        return scores
