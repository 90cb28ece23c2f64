"""The predictive task: each recombined view alone must predict the next item."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from recbole_odrec.losses import at_once, predictive_loss
from recbole_odrec.parsing import key
from recbole_odrec.processes.shares import every_case, gathered_rows
from recbole_odrec.trainer.objectives.objective import Step
from recbole_odrec.trainer.objectives.recombined import RecombinedObjective


class Predictive(RecombinedObjective):
    """`predictive_loss` of one view against the student's item table, and of the other against the teacher's."""

    name, views_like, splits_teacher = "predictive", ("student", "teacher"), True

    @dataclass(frozen=True)
    class Settings:
        """Its keys."""

        predictive_weight: float = key(0.001, "Weight of the predictive task over recombined embeddings.")

    def forward(self, step: Step) -> dict[str, Tensor]:
        student, buffer, (first, second) = self.pair.student, self.pair.buffer, self.views(step)
        table, theirs, memory = student.item_table, self.pair.teacher_table, student.score_memory
        pos_items = table.columns_of(step.interaction[student.POS_ITEM_ID])
        loss = partial(predictive_loss, memory=memory, buffer=buffer)
        ours = partial(loss, table=table, pos_items=pos_items, dtype=student.score_dtype)
        of_ours = at_once(ours, first, table.trained())
        if theirs.columns is not None and step.share is not None:  # each process scores its columns for all sessions
            n_own = step.share.n_rows
            of_theirs = loss(every_case(second, n_own), theirs, gathered_rows(pos_items[:n_own]))
        else:
            of_theirs = at_once(partial(loss, table=theirs, pos_items=pos_items), second)
        return {"predictive": self.settings.predictive_weight * (of_ours + of_theirs)}
