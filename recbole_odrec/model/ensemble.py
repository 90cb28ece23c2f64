"""Several teachers as one, which scores by the weighted mean of their scores.

Dimension key: B sessions, L positions, C training cases, D_i embedding of teacher i, N items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_odrec.losses import AddedScores
from recbole_odrec.model.session_recommender import TrainingCases
from recbole_odrec.nn import FrozenTable


class TeacherEnsemble(nn.Module):
    """Teachers side by side: what they disagree about is mostly chance, which a student need not learn.

        scores = sum_i w_i q_i . E_i = [q_1 ..] . [w_1 E_1 ..]

    So it is a teacher like any other, as wide as all of them together.

    Args:
        members: two teachers or more, each with `training_cases`, `item_table` and `full_sort_predict`
            (`SessionRecommender` or `ProductTeacher`), over the same items.
        weights: of each one's scores, above 0; divided by their sum. All alike when None.
        starts_from: place of the one that a student starts from.

    Attributes:
        start: that one.
        hidden_size: sum of the D_i.
        item_table: their weighted rows side by side, [N, sum of D_i].
    """

    members: Any  # nn.ModuleList forgets what is in it

    def __init__(self, members: Sequence[Any], weights: Sequence[float] | None = None, starts_from: int = 0) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.starts_from = starts_from
        self.hidden_size = sum(member.hidden_size for member in members)
        weights = weights or [1.0] * len(members)
        self.weights = [weight / sum(weights) for weight in weights]
        tables = [member.item_table.frozen() for member in members]
        rows = [weight * table.scale * table.weight for weight, table in zip(self.weights, tables, strict=True)]
        self.item_table = FrozenTable(torch.cat(rows, dim=1))

    @property
    def reads_any_width(self) -> bool:
        """Whether a session scores alike however far it is padded."""
        return all(getattr(member, "reads_any_width", False) for member in self.members)

    @property
    def start(self) -> nn.Module:
        """The member that a student starts from."""
        return self.members[self.starts_from]

    def training_cases(self, interaction: Interaction) -> TrainingCases:
        """As `SessionRecommender.training_cases`, representations side by side."""
        parts = [member.training_cases(interaction) for member in self.members]
        added = [(w, part.added) for w, part in zip(self.weights, parts, strict=True) if part.added is not None]
        mean = None
        if added:  # to the positions of a session, the same for all members
            mean = AddedScores(added[0][1].items, _sum(weight * values for weight, (_, values) in added))
        return TrainingCases(
            torch.cat([part.case_repr for part in parts], dim=-1),
            parts[0].pos_items,
            torch.cat([part.session_repr for part in parts], dim=-1),
            torch.cat([part.item_repr for part in parts], dim=-1),
            mean,
        )

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of every item: [B, N]."""
        return self._mean([member.full_sort_predict(interaction).view(len(interaction), -1) for member in self.members])

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of one candidate item a row: [B]."""
        return self._mean([member.predict(interaction) for member in self.members])

    def _mean(self, scores: list[Tensor]) -> Tensor:
        return _sum(weight * of_one for weight, of_one in zip(self.weights, scores, strict=True))


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return sum(parts)  # pyright: ignore[reportReturnType]  # never of none
