"""RecBole's evaluation, once more by kind of target and by length of history, with the rank of every case.

RecBole's own `Trainer.evaluate` does the work and keeps its numbers; this only looks at what it collected.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.trainer import Trainer
from torch import Tensor

# Items of a history: first and last number that counts.
LENGTHS = {"1-5": (1, 5), "6-10": (6, 10), "11-20": (11, 20), "21+": (21, 10**9)}


class GroupedEvaluator(Evaluator):
    """Evaluates all cases, as RecBole does, and then each group of them.

    Args:
        config: RecBole configuration.
        groups: name -> bool [number of cases], in the loader's order.

    Attributes:
        group_results: name -> metrics, after `evaluate`; None for a group without cases.
        ranks: place of each case's target among the best, from 1; 0 beyond the largest cut-off. int [number of cases].
    """

    def __init__(self, config: Config, groups: dict[str, Tensor]) -> None:
        super().__init__(config)
        self.groups = groups
        self.group_results: dict[str, OrderedDict[str, float] | None] = {}
        self.ranks = np.zeros(0, np.int16)

    def evaluate(self, dataobject: DataStruct) -> OrderedDict[str, float]:
        ranked = dataobject.get("rec.topk")
        hits = ranked[:, :-1].numpy()
        self.ranks = np.where(hits.any(1), hits.argmax(1) + 1, 0).astype(np.int16)
        for name, is_member in self.groups.items():
            if not is_member.any():
                self.group_results[name] = None
                continue
            part = DataStruct()
            part.set("rec.topk", ranked[is_member])
            self.group_results[name] = super().evaluate(part)
        return super().evaluate(dataobject)


def evaluate(
    trainer: Trainer, eval_data: Any, is_head: Tensor | None = None, show_progress: bool = False
) -> dict[str, Any]:
    """Metrics of the trainer's model as it stands.

    Args:
        trainer: any RecBole trainer; its model is evaluated with the weights it has.
        eval_data: RecBole evaluation loader.
        is_head: bool [N] of `data.head_tail.head_items`; None leaves the groups out.
        show_progress: progress bar.

    Returns:
        {"all": metrics}, and where a case has one target and every metric is a top-k metric also
        "head", "tail": metrics or None;  "lengths": {"1-5": metrics or None, ..} by items of the history;
        "cases": number of cases of each group;  "ranks": int [cases], as in `GroupedEvaluator`.
    """
    results: dict[str, Any] = {}
    one_target = isinstance(eval_data, FullSortEvalDataLoader) and eval_data.is_sequential
    if is_head is None or not one_target or not _only_topk(trainer):
        results["all"] = _plain(trainer.evaluate(eval_data, load_best_model=False, show_progress=show_progress))
        return results
    dataset = eval_data._dataset
    targets_head = is_head[dataset.inter_feat[dataset.iid_field]]
    length = dataset.inter_feat[dataset.item_list_length_field]
    groups = {"head": targets_head, "tail": ~targets_head}
    groups.update({name: (length >= first) & (length <= last) for name, (first, last) in LENGTHS.items()})
    before, trainer.evaluator = trainer.evaluator, GroupedEvaluator(trainer.config, groups)
    try:
        results["all"] = _plain(trainer.evaluate(eval_data, load_best_model=False, show_progress=show_progress))
        metrics = {name: _plain(group) for name, group in trainer.evaluator.group_results.items()}
        results["ranks"] = trainer.evaluator.ranks
    finally:
        trainer.evaluator = before
    results["lengths"] = {name: metrics.pop(name) for name in LENGTHS}
    results.update(metrics)
    results["cases"] = {name: int(is_member.sum()) for name, is_member in groups.items()}
    return results


def _only_topk(trainer: Trainer) -> bool:
    needs = {need for metric in trainer.evaluator.metric_class.values() for need in metric.metric_need}
    return needs == {"rec.topk"}


def _plain(metrics: dict[str, Any] | None) -> dict[str, float] | None:
    return None if metrics is None else {name: float(value) for name, value in metrics.items()}
