"""The predictive task: each recombined view alone must predict the next item."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from recbole_odrec.losses import at_once, predictive_loss
from recbole_odrec.parsing import key
from recbole_odrec.trainer.objectives.objective import Step
from recbole_odrec.trainer.objectives.recombined import RecombinedObjective


class Predictive(RecombinedObjective):
    """`predictive_loss` of one view against the student's item table, and of the other against the teacher's."""

    name, views_like = "predictive", ("student", "teacher")

    @dataclass(frozen=True)
    class Settings:
        """Its keys."""

        predictive_weight: float = key(0.001, "Weight of the predictive task over recombined embeddings.")

    def forward(self, step: Step) -> dict[str, Tensor]:
        student, buffer, (first, second) = self.pair.student, self.pair.buffer, self.views(step)
        table, theirs, memory = student.item_table, self.pair.teacher_table, student.score_memory
        loss = partial(predictive_loss, pos_items=table.columns_of(step.interaction[student.POS_ITEM_ID]))
        loss = partial(loss, memory=memory, buffer=buffer)
        of_ours = at_once(partial(loss, table=table, dtype=student.score_dtype), first, table.trained())
        of_both = of_ours + at_once(partial(loss, table=theirs), second)
        return {"predictive": self.settings.predictive_weight * of_both}
