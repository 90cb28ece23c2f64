"""A data set, split and in loaders, checked before anything is built or written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recbole.config import Config
from recbole.data import data_preparation
from recbole.data.dataset import Dataset
from recbole.evaluator.register import metrics_dict
from recbole.utils import init_seed

from recbole_odrec.data.eval_loader import bounded
from recbole_odrec.data.seen_items import seen_items
from recbole_odrec.data.table_reader import one_line
from recbole_odrec.data.unlisted import unlisted
from recbole_odrec.errors import UserError


@unlisted()
def prepare(config: Config, make_dataset: Callable[[Config], Dataset], tests: bool) -> tuple[Any, Any, Any]:
    """RecBole's loaders of the three parts, those of evaluation with batches of bounded size.

    None for validation in a refit, and for the test unless `tests`.

    Raises:
        UserError: data that cannot be read or split, a part without a case, fewer items than the largest cut-off.
    """
    init_seed(config["seed"], config["reproducibility"])
    try:
        dataset = make_dataset(config)
        train_data, valid_data, test_data = data_preparation(config, dataset)
    except UserError:
        raise
    except Exception as error:  # RecBole's data code raises a dozen types, and memory may not suffice
        raise UserError(
            f"dataset `{config['dataset']}` could not be prepared: {type(error).__name__}, {one_line(error)}"
        ) from error
    _check_catalogue(config, dataset.item_num - 1)
    parts = {"training": train_data, "validation": valid_data, "test": test_data}
    _check_parts(config, {name: len(part._dataset) for name, part in parts.items()}, tests)
    seen = [None] * 3
    if config["exclude_seen"] and train_data.is_sequential:  # RecBole's other models leave them out in any case
        seen = seen_items(config, [part._dataset for part in parts.values()])
    valid_data = bounded(None if config["refit_epochs"] else valid_data, seen[1])
    return train_data, valid_data, bounded(test_data if tests else None, seen[2])


def _check_catalogue(config: Config, n_items: int) -> None:
    """A list of the best K needs K items."""
    ranks = [name for name in config["metrics"] if "rec.topk" in metrics_dict[name.lower()].metric_need]
    if ranks and max(config["topk"]) > n_items:
        raise UserError(
            f"topk={config['topk']}, and dataset `{config['dataset']}` has {n_items:,} items: give topk up to "
            f"{n_items}, and a valid_metric among them."
        )


def _check_parts(config: Config, n_cases: dict[str, int], tests: bool) -> None:
    (kind, how), *_ = config["eval_args"]["split"].items()
    leaves_out_validation = how == "test_only" if kind == "LS" else how[1] == 0
    may_be_empty = {
        "training": False,
        "validation": bool(config["refit_epochs"]) or leaves_out_validation,
        "test": not tests,
    }
    for name, n in n_cases.items():
        if not n and not may_be_empty[name]:
            found = ", ".join(f"{n:,} for {name}" for name, n in n_cases.items())
            split = {kind: how}
            raise UserError(
                f"dataset `{config['dataset']}` has no case for {name} ({found}) after the split {split}: give "
                "eval_args a split that leaves some, or users of more interactions (the first of each is history)."
            )
