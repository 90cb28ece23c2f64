"""Several teachers as one, which scores by the mean of their scores.

Dimension key: k teachers, B sessions, L positions, C training cases, D_i embedding of teacher i, N items.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_odrec.losses import AddedScores
from recbole_odrec.model.session_recommender import TrainingCases
from recbole_odrec.nn import FrozenTable


class TeacherEnsemble(nn.Module):
    """Teachers side by side: what they disagree about is mostly chance, which a student need not learn.

        scores = 1/k sum_i q_i . E_i = [q_1 .. q_k] . [E_1 .. E_k] / k

    So it is a teacher like any other, as wide as all of them together.

    Args:
        members: two teachers or more, each with `training_cases`, `item_table` and `full_sort_predict`
            (`SessionRecommender` or `ProductTeacher`), over the same items. The student starts from the first.

    Attributes:
        hidden_size: sum of the D_i.
        item_table: their rows side by side, [N, sum of D_i].
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.hidden_size = sum(member.hidden_size for member in members)
        tables = [member.item_table.frozen() for member in members]
        weight = torch.cat([table.scale / len(members) * table.weight for table in tables], dim=1)
        self.item_table = FrozenTable(weight)

    def training_cases(self, interaction: Interaction) -> TrainingCases:
        """As `SessionRecommender.training_cases`, representations side by side."""
        parts = [member.training_cases(interaction) for member in self.members]
        added = [part.added for part in parts if part.added is not None]
        if added:
            # What members add is a matter of the positions of a session, the same for all.
            values = sum(values for _, values in added) / len(parts)
            mean = AddedScores(added[0].items, values)
        return TrainingCases(
            torch.cat([part.case_repr for part in parts], dim=-1),
            parts[0].pos_items,
            torch.cat([part.session_repr for part in parts], dim=-1),
            torch.cat([part.item_repr for part in parts], dim=-1),
            mean if added else None,
        )

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of every item: [B, N]."""
        scores = [member.full_sort_predict(interaction).view(len(interaction), -1) for member in self.members]
        return torch.stack(scores).mean(0)
