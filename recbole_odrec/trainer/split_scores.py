"""Evaluation where each process scores its own items: lists are ranked together, and scores stay where they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from recbole_odrec.nn.tables.split import SplitEmbedding
from recbole_odrec.processes.rows import best_of_all


class SplitScores(NamedTuple):
    """Scores of a batch, of which each process has columns of its own [B, n].

    Attributes:
        own: this process's.
        table: whose they are.
    """

    own: Tensor
    table: SplitEmbedding

    @property
    def shape(self) -> tuple[int, int]:
        """[B, N] of all processes together."""
        return len(self.own), self.table.n_items

    def topk(self, k: int, dim: int) -> tuple[Tensor, Tensor]:
        """As of the whole matrix, in all processes: scores and columns [B, k]."""
        return best_of_all(self.own, k, self.table.bounds)


def split_batch(trainer: Any, table: SplitEmbedding, batch: tuple) -> tuple:
    """As RecBole's `_full_sort_batch_eval`, with the scores of this process's items: padding and what is left out."""
    interaction, left_out, rows, items = batch
    scores, columns = trainer.model.full_sort_predict(interaction.to(trainer.device)), table.columns
    if not columns.start:
        scores[:, 0] = -torch.inf
    if left_out is not None:
        of_rows, of_items = (torch.as_tensor(index, device=scores.device) for index in left_out)
        is_own = (of_items >= columns.start) & (of_items < columns.stop)
        scores[of_rows[is_own], of_items[is_own] - columns.start] = -torch.inf
    return interaction, SplitScores(scores, table), rows, items
