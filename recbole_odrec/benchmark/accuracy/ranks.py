"""Metrics from the rank of each test case's target, and differences between two models with their uncertainty.

Cases of one session are alike, so sessions are what is drawn anew, never cases.

Dimension key: S seeds, C cases, U sessions, B draws, M metrics.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

CUTOFFS = (5, 10, 20)
METRICS = tuple(f"{name}@{k}" for name in ("recall", "mrr", "ndcg") for k in CUTOFFS)
_BLOCK = 500  # draws worked out together


class Difference(NamedTuple):
    """How much better the first of two models is, in the metric's own unit.

    Attributes:
        mean: first - second, over all cases and seeds.
        low, high: 95 % interval of draws of sessions.
        p_worse: share of draws in which the first is worse.
    """

    mean: float
    low: float
    high: float
    p_worse: float


def case_values(ranks: np.ndarray, metric: str) -> np.ndarray:
    """Value of a metric for each case with one target.

    Args:
        ranks: place of the target from 1, 0 beyond the largest cut-off; any shape.
        metric: recall@K, mrr@K or ndcg@K.
    """
    name, cutoff = metric.split("@")
    is_hit = (ranks > 0) & (ranks <= int(cutoff))
    place = np.where(is_hit, ranks, 1)
    gain = {"recall": np.ones_like(place, dtype=float), "mrr": 1 / place, "ndcg": 1 / np.log2(place + 1)}[name]
    return gain * is_hit


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    cases_of_session: np.ndarray,
    metrics: Sequence[str] = METRICS,
    draws: int = 10_000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Draws sessions with replacement and looks at the same cases under both models, their seeds averaged.

    Args:
        first, second: ranks [S, C], seeds of either model.
        cases_of_session: number of cases of each session, in the order of the cases: int [U], sum C.
        metrics: as in `case_values`.
        draws: B.
        seed: of the draws.

    Returns:
        The difference in each metric.

    Raises:
        ValueError: sessions that do not add up to the cases, or two models that were not run on the same ones.
    """
    if first.shape[1] != second.shape[1] or cases_of_session.sum() != first.shape[1]:
        raise ValueError(
            f"{first.shape[1]} and {second.shape[1]} cases in sessions of {cases_of_session.sum()}: expected the same."
        )
    gains = np.stack([case_values(first, m).mean(0) - case_values(second, m).mean(0) for m in metrics])  # [M, C]
    starts = np.cumsum(cases_of_session) - cases_of_session
    of_sessions = np.vstack([np.add.reduceat(gains, starts, axis=1), cases_of_session]).T  # [U, M + 1]
    drawn = np.vstack([times.astype(float) @ of_sessions for times in _draws(len(starts), draws, seed)])  # [B, M + 1]
    means = drawn[:, :-1] / drawn[:, -1:]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    found = zip(metrics, gains.mean(1), low, high, (means < 0).mean(0), strict=True)
    return {metric: Difference(*map(float, values)) for metric, *values in found}


@lru_cache(maxsize=2)  # every pair of models of a data set is looked at under the same draws
def _draws(n_sessions: int, draws: int, seed: int) -> list[np.ndarray]:
    """How often each draw takes each session: blocks of uint8 [up to `_BLOCK`, U], B in all."""
    generator, blocks = np.random.default_rng(seed), []
    for start in range(0, draws, _BLOCK):
        rows = min(_BLOCK, draws - start)
        drawn = generator.integers(n_sessions, size=(rows, n_sessions)) + n_sessions * np.arange(rows)[:, None]
        blocks.append(np.bincount(drawn.ravel(), minlength=rows * n_sessions).reshape(rows, -1).astype(np.uint8))
    return blocks


def half_width(ranks: np.ndarray, cases_of_session: np.ndarray, metric: str) -> float:
    """Half of the 95 % interval of a model's metric over sessions drawn anew, its seeds averaged.

    Args: as in `paired_bootstrap`; for many sessions its interval is this one, without drawing.
    """
    gains = case_values(ranks, metric).mean(0)  # [C]
    starts = np.cumsum(cases_of_session) - cases_of_session
    rest = np.add.reduceat(gains, starts) - gains.mean() * cases_of_session  # [U], adds up to 0
    return 1.96 * float(np.sqrt(np.square(rest).sum())) / len(gains)


def repeated_targets(sessions: Sequence[np.ndarray], n_given: int | np.ndarray, longest: int) -> np.ndarray:
    """Which cases have a target that stands in the history already, as far back as a model looks.

    Args:
        sessions: item ids of each session; its items from position `n_given` on are targets.
        n_given: items of each session that are no target, one number or one a session.
        longest: the most recent items that a model sees.

    Returns:
        bool [C], sessions one after the other.
    """
    return np.array(
        [
            session[end] in session[max(0, end - longest) : end]
            for session, given in zip(sessions, np.broadcast_to(n_given, len(sessions)), strict=True)
            for end in range(given, len(session))
        ]
    )


def pack(numbers: np.ndarray) -> str:
    """Whole numbers from 0 to 65,535 as text for a JSON file."""
    return base64.b64encode(zlib.compress(numbers.astype("<u2").tobytes(), 9)).decode()


def unpack(text: str) -> np.ndarray:
    """What `pack` was given: int64 [n]."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<u2").astype(np.int64)
