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
        pair, (first, second) = self.pair, self.views(step)
        table, pos_items = pair.student.item_table, step.interaction[pair.student.POS_ITEM_ID]
        loss = partial(predictive_loss, pos_items=pair.student.columns_of(pos_items))
        ours = partial(table.raw_scores, dtype=pair.student.score_dtype, buffer=pair.buffer)
        theirs = partial(pair.teacher_table.raw_scores, buffer=pair.buffer)
        of_first = at_once(partial(loss, scores=ours, **pair.columns), first, table.parameters())
        of_second = at_once(partial(loss, scores=theirs), second)
        return {"predictive": self.settings.predictive_weight * (of_first + of_second)}
