"""The predictive task: each recombined view alone must predict the next item."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from recbole_odrec.losses import at_once, predictive_loss
from recbole_odrec.nn import ItemTable
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
        student, pair, (first, second) = self.pair.student, self.pair, self.views(step)
        pos_items = student.item_table.columns_of(step.interaction[student.POS_ITEM_ID])
        loss = partial(predictive_loss, memory=student.score_memory, buffer=pair.buffer)

        def against(table: ItemTable, view: Tensor, dtype: torch.dtype | None = None) -> Tensor:
            if table.columns is None or step.share is None:
                return at_once(partial(loss, table=table, pos_items=pos_items, dtype=dtype), view, table.trained())
            n_own = step.share.n_rows  # each process scores its columns for all sessions
            return loss(every_case(view, n_own), table, gathered_rows(pos_items[:n_own]), dtype=dtype)

        of_ours, of_theirs = (
            against(student.item_table, first, student.score_dtype),
            against(pair.teacher_table, second),
        )
        return {"predictive": self.settings.predictive_weight * (of_ours + of_theirs)}
