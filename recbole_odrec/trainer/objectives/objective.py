"""What an objective is: a weighted part of the loss, or several, with the keys and the parameters that belong to it.

    class LongRows(Objective):
        name = "long_rows"

        @dataclass(frozen=True)
        class Settings:
            long_rows_weight: float = key(0.01, "Weight of the squared length of the items' rows.")

        def forward(self, step: Step) -> dict[str, Tensor]:
            return {"long_rows": self.settings.long_rows_weight * step.cases.item_repr.square().mean()}

One of ours is a file in here and a line in `OBJECTIVES`; your own is named by `objectives: [my_module:LongRows]`.

Dimension key: B sessions, C training cases, D_s / D_t dimensions of student / teacher, N items.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_odrec.data.head_tail import head_items
from recbole_odrec.errors import UserError
from recbole_odrec.losses import Recombination, RecombinedParts
from recbole_odrec.model.session_recommender import SessionRecommender, TrainingCases
from recbole_odrec.nn import FrozenTable
from recbole_odrec.nn.product import ScoreBuffer
from recbole_odrec.processes.shares import Share


class Pair:
    """Student and teacher, and what objectives share of them; nothing is made before it is asked for.

    Attributes:
        student: the model in training.
        dataset: the training data, from `fit` on.
        buffer: memory for one [C, N] of scores: what it held is lost when the next objective uses it.
    """

    def __init__(self, student: SessionRecommender, teacher: Any = None) -> None:
        self.student, self._teacher = student, teacher
        self.dataset: Dataset | None = None
        self.buffer = ScoreBuffer()

    @property
    def teacher(self) -> Any:
        """The frozen teacher.

        Raises:
            UserError: there is none, for no objective has said that it needs one.
        """
        if self._teacher is None:
            raise UserError("an objective asks for a teacher, and there is none: let its `needs_teacher` return True.")
        return self._teacher

    @cached_property
    def teacher_table(self) -> FrozenTable:
        """The teacher's items at the precision of training, in the columns of the student's raw scores."""
        table = self.teacher.item_table.frozen(self.student.score_dtype)
        table = table.to(next(self.student.parameters()).device)  # what counts keeps its own on the CPU
        return table.in_columns_of(self.student.item_table)

    @cached_property
    def is_head(self) -> Tensor:
        """Which items are head items: bool [N]."""
        return head_items(self.dataset).to(next(self.student.parameters()).device)

    @cached_property
    def recombination(self) -> Recombination:
        """What pools and recombines the parts of sessions, trained by all objectives over recombined views together."""
        return Recombination(self.student.hidden_size, self.teacher.hidden_size)


class Step:
    """A batch of training, and what objectives share of it; nothing is made before it is asked for.

    Attributes:
        share: which part of the batch this process has, where there are several.
    """

    def __init__(self, pair: Pair, interaction: Interaction) -> None:
        self.pair, self.interaction = pair, interaction
        self.share: Share | None = getattr(interaction, "share", None)

    @cached_property
    def cases(self) -> TrainingCases:
        """The batch as the student encodes it."""
        return self.pair.student.training_cases(self.interaction)

    @cached_property
    def teacher_cases(self) -> TrainingCases:
        """The batch as the teacher encodes it, without gradient."""
        with torch.no_grad():
            return self.pair.teacher.training_cases(self.interaction)

    @cached_property
    def recombined(self) -> RecombinedParts:
        """Head and tail parts of both networks' items, recombined."""
        item_seq = self.interaction[self.pair.student.ITEM_SEQ]  # [B, L]
        ours, theirs = self.cases.item_repr, self.teacher_cases.item_repr
        return self.pair.recombination(ours, theirs, is_head=self.pair.is_head[item_seq], is_valid=item_seq != 0)


class Objective(nn.Module, ABC):
    """A part of what training minimises; its parameters train beside the student's and are thrown away afterwards.

    Class attributes:
        name: what its part is called in logs and results.
        Settings: a frozen dataclass of its keys (`parsing.key`), `<name>_weight` among them.
        averaged_over: what its parts are means over, the batch's `rows` (sessions) or its `cases`: of several
            processes, each gives the mean over its share.
        splits_teacher: whether it does with a teacher of which each process has some rows (`Pair.teacher_table` with
            `columns`); one that does not has it whole.

    Args:
        settings: the configuration's values of those keys.
        pair: student and teacher.
    """

    name: ClassVar[str]
    Settings: ClassVar[type]
    averaged_over: ClassVar[str] = "rows"
    splits_teacher: ClassVar[bool] = False

    def __init__(self, settings: Any, pair: Pair) -> None:
        super().__init__()
        self.settings, self.pair = settings, pair

    @classmethod
    def weights(cls, settings: Any) -> dict[str, float]:
        """Its parts and their weights, at least 0; `forward` leaves out what weighs 0."""
        return {cls.name: getattr(settings, f"{cls.name}_weight")}

    @classmethod
    def needs_teacher(cls, settings: Any) -> bool:
        """Whether it looks at the teacher; without anyone who does there is none."""
        return False

    @classmethod
    def needs_embeddings(cls, settings: Any) -> bool:
        """Whether it looks at the teacher's item embeddings or session vectors, which not every teacher has."""
        return False

    @abstractmethod
    def forward(self, step: Step) -> dict[str, Tensor]:
        """The parts of weight above 0, each multiplied by its weight: scalars."""
