"""The followers that a network keeps for each item (`nn.followers`), counted as `ItemTransitions` counts."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.sparse import diags
from torch import Tensor

from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.neighbours.item_transitions import ItemTransitions
from recbole_odrec.neighbours.pairs import followers, normalised, of_sum_1, strongest
from recbole_odrec.neighbours.sessions import training_sessions

# A run builds its student twice: once to see that it can, once to train it.
_counted: WeakKeyDictionary[SessionDataset, dict[int, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


def keep_followers(model: Any, dataset: SessionDataset) -> None:
    """Gives a model that is to be trained the followers of its training data; nothing to one that keeps none."""
    if (followers := getattr(model, "followers", None)) is not None:
        followers.remember(*strongest_followers(dataset, *followers.items.shape))


def strongest_followers(dataset: SessionDataset, n_items: int, n_followers: int) -> tuple[Tensor, Tensor]:
    """Followers of each item, strongest first, and their shares of all that follows it; an item is not its own.

    Returns:
        int64 [N, F] and float64 [N, F], 0 where an item has fewer.
    """
    known = _counted.setdefault(dataset, {})
    if n_followers not in known:
        known[n_followers] = _count(dataset, n_items, n_followers)
    return known[n_followers]


def _count(dataset: SessionDataset, n_items: int, n_followers: int) -> tuple[Tensor, Tensor]:
    asked = ItemTransitions.Settings()
    counts = followers(training_sessions(dataset), n_items, asked.max_distance, asked.backward)
    counts = (counts - diags(counts.diagonal())).tocsr()
    counts.eliminate_zeros()
    shares = strongest(of_sum_1(normalised(counts, asked.out_power, asked.in_power)), n_followers)
    rows = np.repeat(np.arange(n_items), np.diff(shares.indptr))
    order = np.lexsort((shares.indices, -shares.data, rows))
    place = np.arange(len(order)) - shares.indptr[rows]
    items, kept = np.zeros((n_items, n_followers), np.int64), np.zeros((n_items, n_followers))
    items[rows, place], kept[rows, place] = shares.indices[order], shares.data[order]
    return torch.as_tensor(items), torch.as_tensor(kept)
