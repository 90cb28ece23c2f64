"""Collects what metrics need of a batch, without the position matrix that RecBole lays beside the scores."""

from __future__ import annotations

import torch
from recbole.evaluator import Collector
from recbole.evaluator.collector import DataStruct
from torch import Tensor

from recbole_odrec.errors import UserError
from recbole_odrec.processes.shares import gathered_rows
from recbole_odrec.trainer.split_scores import SplitScores

# What RecBole collects row by row; the rest is of the data and stays from one evaluation to the next.
_OF_ROWS = ("rec.topk", "rec.items", "rec.meanrank", "rec.score", "data.label")


class TopKCollector(Collector):
    """RecBole's collector; metrics that only look at ranked lists cost O(rows x k) beside the scores.

    RecBole marks the targets in a second matrix of the scores' shape. Here the ranked items themselves are looked up
    among the targets: the same numbers, for any number of targets a row.

    Attributes:
        order: int64 [rows], which of all rows each one collected is; None where they come in their order. Results are
            handed out in order.
        is_shared: whether each process has collected rows of its own; every process then hands out all of them.
    """

    order: Tensor | None = None
    is_shared = False

    @property
    def ranks_alone(self) -> bool:
        """Whether the metrics need nothing but ranked lists."""
        return not any(map(self.register.need, ("rec.meanrank", "rec.score", "data.label")))

    def eval_batch_collect(
        self, scores_tensor: Tensor | SplitScores, interaction: object, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        if not self.ranks_alone:
            if isinstance(scores_tensor, SplitScores):
                raise UserError("split_table=True ranks lists alone: set it False, or leave other metrics out.")
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            return
        best, ranked = scores_tensor.topk(max(self.topk), dim=1)  # [B, k]
        self.collect_ranked(best, ranked, scores_tensor.shape[1], positive_u, positive_i)

    def collect_ranked(
        self, best: Tensor, ranked: Tensor, n_items: int, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """Collects the best scores and their items, both [B, k], of a catalogue of so many; targets as RecBole's."""
        n_rows = len(ranked)
        if self.register.need("rec.items"):
            self.data_struct.update_tensor("rec.items", ranked)
        if self.register.need("rec.topk"):
            wanted = torch.arange(n_rows, device=ranked.device).unsqueeze(1) * n_items + ranked
            targets = (positive_u * n_items + positive_i).to(ranked.device).sort().values
            is_target = targets[torch.searchsorted(targets, wanted).clamp(max=len(targets) - 1)] == wanted
            is_target &= best > -torch.inf  # what is left out fills a list that is longer than the rest
            # One that is given twice counts once; as a sum, for which nobody has to wait.
            is_new = torch.ones_like(targets, dtype=torch.int32)
            is_new[1:] = targets[1:] != targets[:-1]
            n_targets = is_new.new_zeros(n_rows).scatter_add_(0, targets // n_items, is_new).unsqueeze(1)
            self.data_struct.update_tensor("rec.topk", torch.cat([is_target.int(), n_targets], dim=1))

    def get_data_struct(self) -> DataStruct:
        """Everything collected, on the CPU; RecBole would move the counters of the data too, which are on no device."""
        collected = DataStruct()
        for name, value in [*self.data_struct._data_dict.items()]:
            if name in _OF_ROWS:
                del self.data_struct[name]
                value = gathered_rows(value.cpu()) if self.is_shared else value.cpu()
                value = value if self.order is None else value[torch.argsort(self.order)]
            collected.set(name, value)
        return collected
