"""Bundles with random weights, at any number of items: what a device pays does not depend on what was learnt."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recbole_odrec.bundle import manifest as bundle_files
from recbole_odrec.bundle.build import build_session_model
from recbole_odrec.bundle.export import describe
from recbole_odrec.bundle.precision import Precision
from recbole_odrec.errors import InfeasibleRateError
from recbole_odrec.nn import (
    DenseEmbedding,
    FollowerScores,
    LastStateReadout,
    ProductCodesEmbedding,
    RepeatScores,
    SelfAttentionEncoder,
    SemiTensorTrainEmbedding,
    SoftAttentionReadout,
)
from recbole_odrec.nn.tables import RoundedEmbedding
from recbole_odrec.nn.tables.rounded import RoundedSettings

# The networks of properties/model/*.yaml, with the rank of the paper's Tmall table at every size.
HIDDEN_SIZE, MAX_LENGTH, TT_RANKS, STP_FACTOR = 128, 50, 60, 2
RATE, BITS, N_FOLLOWERS = 30, 4, 2  # of the default recipe
N_CODES = 8  # what codes with as many followers have at that rate, for 12 thousand items and for 10 million


def write_random_bundle(
    folder: Path,
    model: str,
    n_items: int,
    precision: Precision,
    topk: int = 20,
    hidden_size: int = HIDDEN_SIZE,
    user_state: Mapping[str, Any] | None = None,
) -> float:
    """Writes a bundle of a student or a teacher that was never trained.

    Args:
        folder: to make; one that is there is replaced.
        model: `student` or `teacher` as in the paper; `rounded`, the default recipe's student, of few columns of 4
            bits and followers, that scores its session's items apart; or `codes`, the same of product codes.
        n_items: items, padding not counted; their tokens are their numbers.
        precision: of the weights.
        topk: k.
        hidden_size: D.
        user_state: weights of what is known of a user, for a bundle that takes it.

    Returns:
        Compression rate of the item table, followers not counted.
    """
    torch.manual_seed(0)
    if model == "student":
        table = SemiTensorTrainEmbedding(n_items + 1, hidden_size, tt_ranks=TT_RANKS, stp_factor=STP_FACTOR)
    elif model == "codes":
        table = ProductCodesEmbedding(n_items + 1, hidden_size, N_CODES)
    elif model == "rounded":
        table = _rounded(n_items + 1, hidden_size)
    else:
        table = DenseEmbedding(n_items + 1, hidden_size)
    encoder, readout = SelfAttentionEncoder(hidden_size, MAX_LENGTH), SoftAttentionReadout(hidden_size)
    repeat = followers = None
    if model in ("codes", "rounded"):
        readout, repeat = LastStateReadout(), RepeatScores(hidden_size, MAX_LENGTH)
        torch.nn.init.normal_(repeat.query.weight)
        followers = FollowerScores(n_items + 1, N_FOLLOWERS, gain=1.0)
        ids = torch.randint(1, n_items + 1, followers.items.shape, dtype=torch.int32)
        followers.remember(ids, torch.rand(ids.shape))
    user = {"user_state": {**user_state, "size": hidden_size}} if user_state else {}
    size = hidden_size if user else 0
    graph = build_session_model(table, encoder, readout, topk, precision, repeat, followers, size)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / bundle_files.MODEL).write_bytes(graph.SerializeToString())
    with (folder / bundle_files.ITEMS).open("w", encoding="utf-8") as file:
        file.writelines(f"{item}\n" for item in range(1, n_items + 1))
    values = {"model": model, "precision": precision, "n_items": n_items, "max_length": MAX_LENGTH, "topk": topk}
    bundle_files.write_manifest(folder, {**values, **user, **describe(graph)})
    return table.compression_rate


def _rounded(n_items: int, hidden_size: int) -> RoundedEmbedding:
    """What the rate leaves beside followers, or the fewest columns; of small blank bundles as many as there can be."""
    rate = RATE if hidden_size == HIDDEN_SIZE else 1
    try:
        return RoundedEmbedding.from_settings(RoundedSettings(rate, BITS, N_FOLLOWERS), n_items, hidden_size, 0.02)
    except InfeasibleRateError:
        return RoundedEmbedding(n_items, hidden_size, 8 // BITS, BITS)
