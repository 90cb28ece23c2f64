"""Does the bundle recommend what PyTorch does? Asked on every test case before a bundle is written.

Dimension key: B sessions, L positions, N items, K the bundle's `topk`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from recbole_odrec.bundle.precision import Precision
from recbole_odrec.bundle.source import Source
from recbole_odrec.errors import UserError

SCORE_TOLERANCE = 1e-4  # largest difference of a score, of its size where that is above 1
TIE_TOLERANCE = 1e-5  # scores this near, of the session's largest, are equal within float32's rounding
LARGEST_NDCG_LOSS = 0.01  # share of the test NDCG that fewer bits may cost
_NUMBERS_AT_ONCE = 8_000_000

Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # item_seq [B, L] -> ids, scores [B, K]


@dataclass
class Expected:
    """What PyTorch answers to every test case.

    Attributes:
        batches: histories, int64 [B, L] each, in the bundle's ids.
        targets: next item of each case.
        ids, scores: the K best, [cases, K].
        score_of: PyTorch's own scores of any items: (number of the first case, ids [B, K]) -> [B, K].
    """

    batches: list[np.ndarray]
    targets: np.ndarray
    ids: np.ndarray
    scores: np.ndarray
    score_of: Callable[[int, np.ndarray], np.ndarray]


@dataclass
class Parity:
    """A bundle against PyTorch in float32, on the test set.

    Attributes:
        cases: test cases compared.
        k: length of the lists.
        identical_lists: cases whose K items agree, in order.
        tied_lists: cases that differ only in the order of items whose scores are equal within rounding.
        overlap: mean share of the K items that agree.
        largest_score_difference: over items that both name at the same place.
        ndcg_pytorch, ndcg_bundle: NDCG@min(10, K) of the test set.
        ndcg_loss_error: standard error of `ndcg_loss`, over cases: on a small test set one item that changes places
            with its neighbour can be a per cent.
    """

    cases: int
    k: int
    identical_lists: int
    tied_lists: int
    overlap: float
    largest_score_difference: float
    ndcg_pytorch: float
    ndcg_bundle: float
    ndcg_loss_error: float

    @property
    def ndcg_loss(self) -> float:
        """Share of PyTorch's NDCG that is lost; negative for a gain."""
        return (self.ndcg_pytorch - self.ndcg_bundle) / self.ndcg_pytorch if self.ndcg_pytorch else 0.0

    def as_dict(self) -> dict[str, float]:
        """JSON types."""
        return {**asdict(self), "ndcg_loss": self.ndcg_loss}


@torch.no_grad()
def expect(source: Source, k: int) -> Expected:
    """PyTorch's answers to the test set.

    Raises:
        UserError: there is no test case.
    """
    n_cases, n_items = len(source.test), len(source.tokens)
    if not n_cases:
        raise UserError(f"{source.config['dataset']} has no test case to check the bundle with.")
    field, old_ids = source.test.item_list_field, np.argsort(source.new_ids)
    step = max(1, _NUMBERS_AT_ONCE // n_items)
    targets = source.new_ids[source.test.inter_feat[source.test.iid_field].numpy()]

    @torch.no_grad()
    def scores_of_rows(start: int, stop: int) -> np.ndarray:
        rows = source.test[torch.arange(start, stop)]
        scores = source.model.full_sort_predict(rows).view(stop - start, n_items)
        scores[:, 0] = -torch.inf
        return scores[:, torch.from_numpy(old_ids)].numpy()  # columns in the bundle's ids

    def score_of(start: int, wanted: np.ndarray) -> np.ndarray:
        return np.take_along_axis(scores_of_rows(start, start + len(wanted)), wanted, axis=1)

    batches, ids, values = [], [], []
    for start in range(0, n_cases, step):
        stop = min(start + step, n_cases)
        batches.append(source.new_ids[source.test[torch.arange(start, stop)][field].numpy()])
        best = torch.from_numpy(scores_of_rows(start, stop)).topk(k)
        ids.append(best.indices.numpy())
        values.append(best.values.numpy())
    return Expected(batches, targets, np.concatenate(ids), np.concatenate(values), score_of)


def compare(expected: Expected, run: Run) -> Parity:
    """Runs the bundle's model over the same histories."""
    n_cases, k = expected.ids.shape
    identical = tied = start = 0
    overlap = largest = 0.0
    ids = np.zeros_like(expected.ids)
    for batch in expected.batches:
        part = slice(start, start + len(batch))
        ids[part], scores = run(batch)
        wanted, wanted_scores = expected.ids[part], expected.scores[part]
        is_same = ids[part] == wanted
        largest = float(np.maximum(largest, _largest_difference(scores, wanted_scores)))  # NaN stays NaN
        differing = np.flatnonzero(~is_same.all(1))
        identical += len(batch) - len(differing)
        if len(differing):
            own = expected.score_of(start, ids[part])[differing]
            size = np.abs(wanted_scores[differing]).max(1, keepdims=True)
            tied += int((np.abs(own - wanted_scores[differing]) <= TIE_TOLERANCE * size).all(1).sum())
        overlap += sum(len(set(a) & set(b)) for a, b in zip(ids[part].tolist(), wanted.tolist(), strict=True)) / k
        start += len(batch)
    before, after = (_ndcg(lists[:, : min(10, k)], expected.targets) for lists in (expected.ids, ids))
    error = float((before - after).std() / np.sqrt(n_cases) / max(before.mean(), 1e-30))
    return Parity(
        n_cases, k, identical, tied, overlap / n_cases, largest, float(before.mean()), float(after.mean()), error
    )


def require_parity(parity: Parity, precision: Precision, max_ndcg_loss: float = LARGEST_NDCG_LOSS) -> None:
    """Refuses a model that does not recommend what PyTorch does.

    Raises:
        UserError: how far it is from it.
    """
    if precision == "fp32":
        differing = parity.cases - parity.identical_lists - parity.tied_lists
        if differing or not parity.largest_score_difference <= SCORE_TOLERANCE:
            raise UserError(
                f"the exported model differs from PyTorch: {differing} of {parity.cases} lists beyond ties, scores by "
                f"up to {parity.largest_score_difference:.2g} (allowed is {SCORE_TOLERANCE:g}); nothing written."
            )
    elif not parity.ndcg_loss <= max_ndcg_loss:
        raise UserError(
            f"{precision} loses {100 * parity.ndcg_loss:.2f} % of the test NDCG@{min(10, parity.k)} (standard error "
            f"{100 * parity.ndcg_loss_error:.2f} over {parity.cases} cases, overlap@{parity.k} {parity.overlap:.4f}), "
            f"allowed is {100 * max_ndcg_loss:g} %; nothing written: take a higher precision, or give --max_ndcg_loss=."
        )


def _largest_difference(scores: np.ndarray, expected: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):  # -inf against -inf: places that no item fills
        difference = np.abs(scores - expected) / np.maximum(1, np.abs(expected))
    difference[(scores == expected)] = 0
    return float(difference.max())


def _ndcg(ids: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """NDCG of each list: ids [cases, k], one relevant item each -> [cases]."""
    places = np.arange(2, ids.shape[1] + 2)
    return ((ids == targets[:, None]) / np.log2(places)).sum(1)
