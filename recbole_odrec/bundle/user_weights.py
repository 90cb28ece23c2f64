"""How much an earlier session counts: the weights of a user's state, learnt on validation cases of users with a past.

A device knows the session that is going on; what its user did before, the state alone tells. So each user's history is
cut into sessions, the model is shown the last one, and the earlier ones go into a state, as they would on a device.

Dimension key: B cases of a batch, D embedding, N items, W choices of weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_odrec.bundle.source import Source
from recbole_odrec.bundle.user_state import LARGEST_SIZE
from recbole_odrec.data.session_dataset import HISTORY_END, SESSION_START, SessionDataset
from recbole_odrec.errors import UserError
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.nn.whole_numbers import numbers_of

K = 20  # of the NDCG by which weights are chosen
_VECTOR_WEIGHTS, _DECAYS = (0.05, 0.1, 0.2, 0.35, 0.5), (0.7, 0.9, 1.0)
_SEEN_WEIGHTS = (0.0, -1.0, -4.0, -16.0, -64.0, 1.0, 4.0)  # the least leaves out what was seen
_MOST_CASES = 4000
_NUMBERS_AT_ONCE = 4_000_000
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


class UserWeights(NamedTuple):
    """See `bundle.user_state`."""

    vector_weight: float = 0.0
    decay: float = 1.0
    seen_weight: float = 0.0


class UserCase(NamedTuple):
    """The session that goes on, those before it, the oldest first, and the next item; RecBole's ids."""

    session: np.ndarray
    past: list[np.ndarray]
    target: int


def learn_user_weights(source: Source, rule: str) -> dict[str, Any]:
    """Chooses weights by validation NDCG@20: of what was seen the best, then of the vector; what does not pay gets 0.

    Args:
        source: a model of ours with its data.
        rule: where a session ends, see `cutter`.

    Returns:
        The manifest's `user_state`: the weights, `size` of the vector and its `space`, `sessions` (the rule) and
        what was measured.

    Raises:
        UserError: another rule, a model that takes no user, or data without users with earlier sessions.
    """
    if not isinstance(source.model, SessionRecommender) or source.model.hidden_size > LARGEST_SIZE:
        raise UserError(
            f"--user_state is for ODRec and our teachers with hidden_size up to {LARGEST_SIZE}: export without it."
        )
    cases = [case for case in user_cases(source, 1, rule) if case.past]
    if not cases:
        raise UserError(
            f"--user_state={rule}: no user of {source.config['dataset']} has an earlier session by that rule; give a "
            "shorter time, such as 30m, or for data without times a number of items, such as 3."
        )
    cases = [cases[case] for case in np.random.default_rng(0).permutation(len(cases))[:_MOST_CASES]]
    by_seen = [UserWeights(seen_weight=seen) for seen in _SEEN_WEIGHTS]
    ndcg = ndcg_of(source, cases, by_seen).mean(1)
    before, seen = float(ndcg[0]), by_seen[int(ndcg.argmax())].seen_weight  # of equal ones the first
    by_vector = [UserWeights(*chosen, seen) for chosen in [(0.0, 1.0), *product(_VECTOR_WEIGHTS, _DECAYS)]]
    of_case = ndcg_of(source, cases, by_vector)
    # What came before a validation case has been trained on, which flatters the vector: of the weights within two
    # standard errors of the best the smallest.
    ndcg, highest = of_case.mean(1), int(of_case.mean(1).argmax())
    error = 2 * (of_case[highest] - of_case[0]).std() / np.sqrt(len(cases))
    near = [at for at in range(len(by_vector)) if ndcg[at] >= ndcg[highest] - error]
    best = min(near, key=lambda at: (by_vector[at].vector_weight, -ndcg[at]))
    measured = {"cases": len(cases), f"ndcg@{K}": before, f"ndcg@{K}_with_state": float(ndcg[best])}
    of_vector = {"size": source.model.hidden_size, "space": _space(source.model)}
    return {**by_vector[best]._asdict(), **of_vector, "sessions": rule, "valid": measured}


def _space(model: torch.nn.Module) -> str:
    """Names what sessions become vectors in, by all weights but those that `update_from` and `add-items` change."""
    digest = hashlib.sha256()
    numbers = numbers_of(model.item_table)
    moving = [] if numbers is None else [f"item_table.{name}" for name in numbers.moving]
    for name, weight in model.state_dict().items():
        if name not in moving and not name.startswith("followers."):
            digest.update(name.encode() + weight.cpu().numpy().tobytes())
    for weight in [] if numbers is None else numbers.meaning():
        digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def cutter(rule: str) -> Callable[[np.ndarray], np.ndarray]:
    """From the times of events, NaN where unknown, to where sessions begin, the first event left out.

    Args:
        rule: `30m`, `6h`, `1d`: after so long a pause; `3`: after so many items, counted from the end.

    Raises:
        UserError: another word.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd]?)", rule)
    if found is None:
        raise UserError(f"--user_state={rule!r:.20}, expected a pause such as 30m, 6h or 1d, or a number of items.")
    number, unit = int(found[1]), found[2]
    if not unit:
        return lambda times: np.arange(len(times) % number or number, len(times), number)
    return lambda times: np.flatnonzero(np.diff(times) > number * _SECONDS[unit]) + 1


def user_cases(source: Source, split: int, rule: str) -> list[UserCase]:
    """Cases of validation (1) or test (2); without those whose next item opens a session: there is nothing to go by."""
    cut, part, found = cutter(rule), source.data[split], []
    times = _times(source.data)
    starts, ends = (part.inter_feat[name].numpy() for name in (SESSION_START, HISTORY_END))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        items = part.tokens[start:end].astype(np.int64)
        when = times[start : end + 1] if rule[-1] in _SECONDS else items  # a pause may lie before the target
        sessions = np.split(items, cut(when))
        if len(sessions[-1]):
            found.append(UserCase(sessions[-1], sessions[:-1], int(part.tokens[end])))
    return found


def _times(data: Sequence[SessionDataset]) -> np.ndarray:
    """Time of each event; unknown of those that are never a next item: a user's first."""
    times = np.full(len(data[0].tokens), np.nan)
    for part in data:
        if part.time_field in part.inter_feat:
            times[part.inter_feat[HISTORY_END].numpy()] = part.inter_feat[part.time_field].numpy()
    return times


@torch.no_grad()
def ndcg_of(source: Source, cases: Sequence[UserCase], choices: Sequence[UserWeights]) -> np.ndarray:
    """NDCG@20 of each case with each choice of weights, [W, cases]; items of the session itself are left out."""
    model = source.model
    found = np.zeros((len(choices), len(cases)))
    step = max(1, _NUMBERS_AT_ONCE // model.n_items)
    for start in range(0, len(cases), step):
        some = cases[start : start + step]
        scores = _session_scores(source, [case.session for case in some])  # [B, N]
        counts = torch.zeros(len(some), model.n_items)
        for row, case in enumerate(some):
            counts[row] = torch.bincount(torch.from_numpy(_seen(case)), minlength=model.n_items)
            scores[row, torch.from_numpy(case.session)] = -torch.inf
        seen, targets = torch.log2(1 + counts), torch.tensor([case.target for case in some])
        vectors = _session_vectors(source, some)
        of_decay = {
            decay: model.item_table.scores(torch.stack([_mean(rows, decay) for rows in vectors]))
            for decay in {choice.decay for choice in choices if choice.vector_weight}
        }
        for number, (weight, decay, seen_weight) in enumerate(choices):
            total = scores + seen_weight * seen if seen_weight else scores
            total = total + weight * of_decay[decay] if weight else total
            found[number, start : start + step] = _ndcg(total, targets).numpy()
    return found


def _seen(case: UserCase) -> np.ndarray:
    """Items of earlier sessions, each once a session."""
    return np.concatenate([np.zeros(0, np.int64), *map(np.unique, case.past)])


def _batch(source: Source, sessions: Sequence[np.ndarray]) -> Tensor:
    longest = int(source.config["MAX_ITEM_LIST_LENGTH"])
    rows = [torch.from_numpy(session[-longest:]) for session in sessions]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def _session_scores(source: Source, sessions: Sequence[np.ndarray]) -> Tensor:
    model, item_seq = source.model, _batch(source, sessions)
    batch = Interaction({model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: (item_seq != 0).sum(1)})
    scores = model.full_sort_predict(batch).view(len(sessions), -1).clone()
    scores[:, 0] = -torch.inf
    return scores


def _session_vectors(source: Source, cases: Sequence[UserCase]) -> Sequence[Tensor]:
    """Representations of each case's earlier sessions, [sessions, D]."""
    past = [session for case in cases for session in case.past]
    if not past:
        return [torch.zeros(0, source.model.hidden_size)] * len(cases)
    vectors = torch.cat([source.model(_batch(source, past[at : at + 512])) for at in range(0, len(past), 512)])
    return vectors.split([len(case.past) for case in cases])


def _mean(vectors: Tensor, decay: float) -> Tensor:
    """Of sessions, the oldest first: [sessions, D] -> [D], 0 without any."""
    weights = decay ** torch.arange(len(vectors) - 1, -1, -1.0)
    return weights @ vectors / weights.sum().clamp_min(1)


def _ndcg(scores: Tensor, targets: Tensor) -> Tensor:
    own = scores.gather(1, targets[:, None])
    is_before = (scores > own) | ((scores == own) & (torch.arange(scores.shape[1]) < targets[:, None]))
    rank = is_before.sum(1)
    return torch.where(rank < K, 1 / torch.log2(rank + 2.0), torch.zeros(()))
