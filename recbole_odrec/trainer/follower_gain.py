"""How much a model's followers count: chosen on validation, since training cases were counted in them."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator.collector import DataStruct
from recbole.utils import calculate_valid_score
from torch import Tensor

from recbole_odrec.errors import UserError
from recbole_odrec.nn.followers import FollowerScores
from recbole_odrec.nn.tables.split import split_tables, whole_rows
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.topk_collector import TopKCollector

# What is tried, until two in a row are worse than the best before them.
GAINS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 16.0, 23.0, 32.0)


def chooses_gain(config: Config) -> bool:
    """Whether the run has followers whose gain is not given: an update's is that of the student out there."""
    return bool(config["n_followers"]) and config["follower_gain"] == "auto" and not config["update_from"]


def check_gain(config: Config, valid_data: Any) -> None:
    """Refuses to choose where there is nothing to choose on.

    Raises:
        UserError: followers without a gain, and no validation cases.
    """
    if chooses_gain(config) and (config["refit_epochs"] or not valid_data):
        raise UserError(
            "follower_gain=auto is chosen on validation cases, which this run has none of: give a number, such as the "
            "follower_gain in the result.json of a run with them."
        )


def choose_gain(trainer: Any, valid_data: Any, show_progress: bool = False) -> None:
    """Gives the best epoch's weights the gain that validates best, 0 for no use of followers; its file too.

    Args:
        trainer: of our own models, after its last epoch; its score and metrics become those of the gain.
        valid_data: the run's validation cases.
        show_progress: progress bars.
    """
    trainer.load_best()
    model, without = trainer.model, trainer.best_valid_score
    best, n_worse = 0.0, 0
    for gain, result in _results(trainer, valid_data, show_progress):
        score = calculate_valid_score(result, trainer.valid_metric)
        if score > trainer.best_valid_score if trainer.valid_metric_bigger else score < trainer.best_valid_score:
            trainer.best_valid_score, trainer.best_valid_result, best, n_worse = score, result, gain, 0
        else:
            n_worse += 1
        if n_worse == 2:
            break
    model.followers.gain.fill_(best)
    state = checkpoint.load(trainer.best_file, in_parts=True)
    checkpoint.save(trainer.best_file, {**state, "state_dict": whole_rows(model)})
    reason = (
        f"{best:g}, chosen on validation: {trainer.valid_metric} {float(without):.4f} without followers, "
        f"{float(trainer.best_valid_score):.4f} with them"
    )
    model.decided["follower_gain"] = reason
    trainer.logger.info(f"{trainer.phase}: follower_gain {reason}")


def _results(trainer: Any, valid_data: Any, show_progress: bool) -> Iterator[tuple[float, Any]]:
    """Each gain with its metrics: of one pass where a process ranks the whole catalogue, else of a pass each."""
    model, followers, own = trainer.model, trainer.model.followers, trainer.eval_collector
    of_lists = isinstance(valid_data, FullSortEvalDataLoader) and own.ranks_alone
    # Metrics of items see what fills a list that is longer than what is left to rank.
    if not of_lists or own.register.need("rec.items") or split_tables(model):
        for gain in GAINS:
            followers.gain.fill_(gain)
            yield gain, trainer.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
        return
    followers.gain.fill_(1.0)
    model.followers, trainer.eval_collector = None, (collector := GainCollector(own, followers, model.ITEM_SEQ))
    try:
        trainer.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
    finally:
        model.followers, trainer.eval_collector = followers, own
    for gain, collected in zip(GAINS, collector.of_gains(), strict=True):
        yield gain, trainer.evaluator.evaluate(collected)


class GainCollector(TopKCollector):
    """Of scores without followers, collects what would be ranked with them, for every gain, in place of what is.

    A list with followers is made of the best without them and of the followers themselves: a few dozen items a row.

    Args:
        like: the trainer's own, which stays as it is.
        followers: what would be added, at gain 1.
        sequences: field of the sessions.
    """

    def __init__(self, like: TopKCollector, followers: FollowerScores, sequences: str) -> None:
        self.__dict__.update(deepcopy(like).__dict__)
        self._each = [deepcopy(like) for _ in GAINS]
        self._followers, self._sequences = followers, sequences

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        n_ranked, n_items = max(self.topk), scores_tensor.shape[1]
        targets = positive_u, positive_i
        best, ranked = scores_tensor.topk(n_ranked, dim=1)
        self.collect_ranked(best, ranked, n_items, *targets)
        item_seq = interaction[self._sequences].to(scores_tensor.device)
        added = self._followers(item_seq, ((item_seq != 0).sum(1) - 1).clamp(min=0))
        items = torch.cat([ranked, added[0]], dim=1).sort(dim=1).values
        is_again = torch.zeros_like(items, dtype=torch.bool)
        is_again[:, 1:] = items[:, 1:] == items[:, :-1]
        without = scores_tensor.gather(1, items).masked_fill_(is_again, -torch.inf)
        more = torch.zeros_like(scores_tensor).scatter_add_(1, *added).gather(1, items)
        for gain, collector in zip(GAINS, self._each, strict=True):
            best, place = (without + gain * more).topk(n_ranked, dim=1)
            collector.collect_ranked(best, items.gather(1, place), n_items, *targets)

    def of_gains(self) -> Iterator[DataStruct]:
        """What was collected with each of `GAINS`."""
        for collector in self._each:
            collector.order, collector.is_shared = self.order, self.is_shared
            yield collector.get_data_struct()
