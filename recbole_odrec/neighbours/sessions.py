"""Training data as neighbourhood models count them: sessions, which of their items are targets, and what repeats.

Dimension key: S sessions, P items of all sessions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbole_odrec.data.session_dataset import HISTORY_END, SessionDataset


class TrainingSessions(NamedTuple):
    """Sessions, oldest first where their times are known, in the order of the file otherwise.

    Attributes:
        tokens: items of all sessions, one after the other, int64 [P].
        starts: session s is tokens[starts[s]:starts[s + 1]], int64 [S + 1].
        is_target: whether an item is the next item of a training case; the others are only ever history, bool [P].
    """

    tokens: np.ndarray
    starts: np.ndarray
    is_target: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Items of each session, int64 [S]."""
        return np.diff(self.starts)

    @property
    def session_of(self) -> np.ndarray:
        """The session in which each item stands, int64 [P]."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)


def training_sessions(dataset: SessionDataset) -> TrainingSessions:
    """The sessions of a training split, from its first item to its last target.

    Where a row is a prefix (`convert --expand`), each row comes as a session of one target (`whole`), cut to
    MAX_ITEM_LIST_LENGTH as RecBole reads such files.
    """
    blocks = [block for _, block in dataset.case_runs().blocks()]
    starts, first, last = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    order = _by_time(dataset, last)
    starts, first, last = starts[order], first[order], last[order]
    bounds = np.concatenate([[0], np.cumsum(last + 1 - starts)])
    positions = np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], last + 1 - starts)
    is_target = positions >= np.repeat(first, last + 1 - starts)
    return TrainingSessions(dataset.tokens[positions].astype(np.int64), bounds, is_target)


def _by_time(dataset: SessionDataset, last: np.ndarray) -> np.ndarray:
    """Order of sessions by the time of their last item, where the rows have times."""
    if dataset.time_field not in dataset.inter_feat:
        return np.arange(len(last))
    rows = dataset.inter_feat
    times = np.zeros(len(dataset.tokens))
    times[rows[HISTORY_END].numpy()] = rows[dataset.time_field].numpy()
    return np.argsort(times[last], kind="stable")


def whole(sessions: TrainingSessions) -> TrainingSessions:
    """Without sessions that another one continues: of rows that are prefixes, the longest of each session is left.

    Only sessions of one target can be such rows. Found by a hash of 64 bits of each session with and without its last
    item.
    """
    is_row = np.add.reduceat(sessions.is_target, sessions.starts[:-1], dtype=np.int64) == 1
    if not is_row.all():  # whole sessions already
        return sessions
    rng = np.random.default_rng(0)
    n_places = int(sessions.lengths.max(initial=0))
    of_items = rng.integers(1, 2**63, int(sessions.tokens.max(initial=0)) + 1, dtype=np.uint64)
    of_places = rng.integers(1, 2**63, n_places, dtype=np.uint64) | np.uint64(1)
    places = np.arange(len(sessions.tokens)) - np.repeat(sessions.starts[:-1], sessions.lengths)
    hashes = of_items[sessions.tokens] * of_places[places]  # sums and products modulo 2^64
    all_of_it = np.add.reduceat(hashes, sessions.starts[:-1])
    without_last = all_of_it - hashes[sessions.starts[1:] - 1]
    return kept(sessions, ~np.isin(all_of_it, without_last))


def kept(sessions: TrainingSessions, is_kept: np.ndarray) -> TrainingSessions:
    """Some of the sessions: bool [S]."""
    lengths = sessions.lengths
    of_items = np.repeat(is_kept, lengths)
    starts = np.concatenate([[0], np.cumsum(lengths[is_kept])])
    return TrainingSessions(sessions.tokens[of_items], starts, sessions.is_target[of_items])


def once_each(sessions: TrainingSessions) -> TrainingSessions:
    """Every session with each of its items once, where it stands last."""
    is_last = ~_has_same(sessions, later=True)
    starts = np.concatenate([[0], np.cumsum(is_last)])[sessions.starts]
    return TrainingSessions(sessions.tokens[is_last], starts, sessions.is_target[is_last])


def repeated_share(sessions: TrainingSessions) -> float:
    """Share of the targets that stand in their own history."""
    return float(_has_same(sessions, later=False)[sessions.is_target].mean())


def _has_same(sessions: TrainingSessions, later: bool) -> np.ndarray:
    """Whether the same item stands in the session before, or after, each item: bool [P]."""
    session_of = sessions.session_of
    order = np.lexsort((sessions.tokens, session_of))  # stable: positions of an item in a session ascend
    is_same = (np.diff(sessions.tokens[order]) == 0) & (np.diff(session_of[order]) == 0)
    found = np.zeros(len(order), bool)
    found[order[:-1] if later else order[1:]] = is_same
    return found
