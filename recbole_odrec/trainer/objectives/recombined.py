"""Objectives over recombined embeddings of student and teacher (paper, section 3.3)."""

from __future__ import annotations

from typing import Any, ClassVar

from recbole_odrec.losses import RecombinationHead, RecombinedViews
from recbole_odrec.trainer.objectives.objective import Objective, Pair, Step


class RecombinedObjective(Objective):
    """Two views of each whole session; all who inherit share the pooled parts, and each has MLPs of its own.

    Class attribute `views_like`: whose dimension each view has, that of what it is compared with.
    """

    views_like: ClassVar[tuple[str, str]]

    def __init__(self, settings: Any, pair: Pair) -> None:
        super().__init__(settings, pair)
        self.recombination = pair.recombination  # trains and is stored with each of them
        dims = {"student": pair.student.hidden_size, "teacher": pair.teacher.hidden_size}
        self.head = RecombinationHead(*dims.values(), *(dims[network] for network in self.views_like))

    @classmethod
    def needs_teacher(cls, settings: Any) -> bool:
        return True

    @classmethod
    def needs_embeddings(cls, settings: Any) -> bool:
        return True

    def views(self, step: Step) -> RecombinedViews:
        """v_1 [B, D_1] and v_2 [B, D_2]."""
        return self.head(step.recombined, step.cases.session_repr, step.teacher_cases.session_repr)
