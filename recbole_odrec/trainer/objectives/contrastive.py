"""The contrastive task: two recombined views of one session find each other in the batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recbole_odrec.losses import contrastive_loss
from recbole_odrec.parsing import key, require
from recbole_odrec.processes.shares import every_row
from recbole_odrec.trainer.objectives.objective import Step
from recbole_odrec.trainer.objectives.recombined import RecombinedObjective


class Contrastive(RecombinedObjective):
    """`contrastive_loss` between the views, both of the student's dimension."""

    name, views_like, splits_teacher = "contrastive", ("student", "student"), True

    @dataclass(frozen=True)
    class Settings:
        """Its keys."""

        contrastive_weight: float = key(0.2, "Weight of the contrastive task over recombined embeddings.")
        contrastive_temperature: float = key(0.2, "Temperature of the contrastive task.")

        def __post_init__(self) -> None:
            temperature = self.contrastive_temperature
            require(temperature > 0, "contrastive_temperature", temperature, "a number above 0")

    def forward(self, step: Step) -> dict[str, Tensor]:
        first, second = self.views(step)
        at = 0
        if step.share is not None:  # the other sessions of the batch are with other processes
            at, second = step.share.computed.start, every_row(second, step.share)
        loss = contrastive_loss(first, second, self.settings.contrastive_temperature, at)
        return {"contrastive": self.settings.contrastive_weight * loss}
