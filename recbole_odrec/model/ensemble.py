"""Several teachers as one, which scores by the weighted mean of their scores.

Dimension key: B sessions, L positions, C training cases, D_i embedding of teacher i, N items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_odrec.losses import AddedScores, ItemShares, mix_, shares_within, total_of_mixture
from recbole_odrec.model.candidates import scores_at
from recbole_odrec.model.session_recommender import TrainingCases
from recbole_odrec.nn.tables.split import side_by_side
from recbole_odrec.processes.rows import log_sum_of_all


class TeacherEnsemble(nn.Module):
    """Teachers side by side: what they disagree about is mostly chance, which a student need not learn.

        scores = sum_i w_i q_i . E_i = [q_1 ..] . [w_1 E_1 ..]

    So it is a teacher like any other, as wide as all of them together. Those without embeddings, which give
    probabilities of a few items (`shares`), have their part w of the whole in the mixture of probabilities:

        p = (1 - w) softmax(mean score of the others) + w * shares

    Where all are of that kind, the popularity that they smooth with stands in for the others' scores.

    Args:
        members: two teachers or more, each with `training_cases`, `item_table` and `full_sort_predict`
            (`SessionRecommender`, `ProductTeacher` or `NeighbourModel`), over the same items.
        weights: of each one's scores, above 0; divided by their sum. All alike when None.
        starts_from: place of the one that a student starts from.

    Attributes:
        start: that one.
        gives_embeddings: whether any of them has some.
        hidden_size: sum of the D_i of those that the mean score is of.
        item_table: their weighted rows side by side, [N, sum of D_i].
    """

    members: Any  # nn.ModuleList forgets what is in it

    def __init__(self, members: Sequence[Any], weights: Sequence[float] | None = None, starts_from: int = 0) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.starts_from = starts_from
        weights = weights or [1.0] * len(members)
        self.weights = [weight / sum(weights) for weight in weights]
        pairs = list(zip(self.weights, members, strict=True))
        self.gives_embeddings = any(member.gives_embeddings for member in members)
        scored = [pair for pair in pairs if pair[1].gives_embeddings] or pairs
        total = sum(weight for weight, _ in scored)
        self._scored = [(weight / total, member) for weight, member in scored]
        self._mixed = [(weight, member) for weight, member in pairs if not member.gives_embeddings]
        self.hidden_size = sum(member.hidden_size for _, member in self._scored)
        self.item_table = side_by_side([(weight, member.item_table.frozen()) for weight, member in self._scored])

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
        parts = [member.training_cases(interaction) for _, member in self._scored]
        weights = [weight for weight, _ in self._scored]
        added = [(w, part.added) for w, part in zip(weights, parts, strict=True) if part.added is not None]
        mean = None
        if added:  # to the positions of a session, the same for all members
            mean = AddedScores(added[0][1].items, _sum(weight * values for weight, (_, values) in added))
        return TrainingCases(
            torch.cat([part.case_repr for part in parts], dim=-1),
            parts[0].pos_items,
            torch.cat([part.session_repr for part in parts], dim=-1),
            torch.cat([part.item_repr for part in parts], dim=-1),
            mean,
            self._weighted(member.training_cases(interaction).shares for _, member in self._mixed),
        )

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of every item: [B, N]; where rows of tables are split, of the columns that are this process's."""
        if not self._mixed:
            return self._mean([self._scores_of(member, interaction) for member in self.members])
        first = self._mixed[0][1]
        item_seq = interaction[first.ITEM_SEQ]
        if self.gives_embeddings:
            scores = _sum(weight * self._scores_of(member, interaction) for weight, member in self._scored)
        else:
            scores = self.item_table.weight.sum(1).to(item_seq.device).repeat(len(item_seq), 1)
        columns = self.item_table.columns
        total = None if columns is None else log_sum_of_all(scores.logsumexp(1))
        for shares in self._weighted((member.shares(item_seq),) for _, member in self._mixed):
            if columns is None or total is None:
                mix_(scores, shares)
            else:
                mix_(scores, shares_within(shares, columns), total)
                total = total_of_mixture(total, shares)
        return scores

    def _scores_of(self, member: Any, interaction: Interaction) -> Tensor:
        scores, columns = member.full_sort_predict(interaction).view(len(interaction), -1), self.item_table.columns
        return scores if columns is None or member.item_table.columns is not None else scores[:, columns]

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of one candidate item a row: [B]."""
        if not self._mixed:
            return self._mean([member.predict(interaction) for member in self.members])
        rows = torch.arange(len(interaction)).to(self.item_table.weight.device)
        items = interaction[self._mixed[0][1].ITEM_ID]
        return scores_at(self.full_sort_predict(interaction), rows, items, self.item_table.columns)

    def _mean(self, scores: list[Tensor]) -> Tensor:
        return _sum(weight * of_one for weight, of_one in zip(self.weights, scores, strict=True))

    def _weighted(self, found: Iterable[tuple[ItemShares, ...]]) -> tuple[ItemShares, ...]:
        """Each member's shares with the weight that gives it its part of the whole, mixed in one after the other."""
        pairs = [(weight, shares) for (weight, _), (shares,) in zip(self._mixed, found, strict=True)]
        before = 1 - sum(weight * shares.weight for weight, shares in pairs)
        mixed = []
        for weight, shares in pairs:
            own = weight * shares.weight
            before += own
            mixed.append(shares._replace(weight=own / before))
        return tuple(mixed)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return sum(parts)  # pyright: ignore[reportReturnType]  # never of none
