"""Objectives over recombined embeddings of student and teacher (paper, section 3.3)."""

from __future__ import annotations

from typing import Any

from recbole_odrec.losses import Recombination, RecombinationHead, RecombinedViews
from recbole_odrec.trainer.objectives.objective import Objective, Pair, Step


class RecombinedObjective(Objective):
    """Two views of each whole session; those who inherit share the pooled parts and have MLPs of their own."""

    def __init__(self, settings: Any, pair: Pair) -> None:
        super().__init__(settings, pair)
        student_dim, teacher_dim = pair.student.hidden_size, pair.teacher.hidden_size
        self.recombination = pair.once(Recombination, lambda: Recombination(student_dim, teacher_dim))
        self.head = RecombinationHead(student_dim, teacher_dim, *self.view_dims(student_dim, teacher_dim))

    @staticmethod
    def view_dims(student_dim: int, teacher_dim: int) -> tuple[int, int]:
        """Dimensions of both views: those of what they are compared with."""
        raise NotImplementedError

    @classmethod
    def needs_teacher(cls, settings: Any) -> bool:
        return True

    def views(self, step: Step) -> RecombinedViews:
        """v_1 [B, D_1] and v_2 [B, D_2]."""
        item_seq = step.interaction[self.pair.student.ITEM_SEQ]  # [B, L]
        cases, teacher_cases = step.cases, step.teacher_cases
        parts = step.once(
            Recombination,
            lambda: self.recombination(
                cases.item_repr, teacher_cases.item_repr, is_head=self.pair.is_head[item_seq], is_valid=item_seq != 0
            ),
        )
        return self.head(parts, cases.session_repr, teacher_cases.session_repr)
