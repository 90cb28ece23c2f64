"""Which windows hold the training cases of a block of sessions: worked out, not stored.

Dimension key: R runs, W windows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbole_odrec.data.case_runs import CaseRuns


class SessionBlock(NamedTuple):
    """Sessions that are in memory together.

    Attributes:
        tokens: int32 item ids, one session after the other.
        runs: the training cases in them.
    """

    tokens: np.ndarray
    runs: CaseRuns


class WindowPlan:
    """Windows over a block, each case in exactly one: window r is the first of run r, only long runs have further ones.

    Args:
        block: the sessions.
        longest: the most items of a window.

    Attributes:
        n_cases: training cases.
        n_windows: windows that hold them.
    """

    def __init__(self, block: SessionBlock, longest: int) -> None:
        self.tokens, self.runs = block
        self._longest, self.n_cases, self._first_is_empty = longest, 0, False
        step = max(longest // 2, 1)
        further: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for runs, (starts, first, last) in self.runs.blocks():
            self.n_cases += int((last - first).sum()) + len(runs)
            self._first_is_empty |= bool((first - starts > longest).any())
            # Which window of its session a case falls into: window 0 takes prefixes up to the maximum, each further
            # one the next `step` prefixes.
            turns = np.maximum(-(-(last - starts - longest) // step), 0)
            at = np.repeat(np.arange(len(runs)), turns)
            turn = np.arange(len(at)) - np.repeat(np.cumsum(turns) - turns, turns)
            window_first = starts[at] + longest + turn * step + 1
            window_last = np.minimum(window_first + step - 1, last[at])
            window_first = np.maximum(window_first, first[at])
            has_cases = window_first <= window_last
            further.append((runs[at][has_cases], window_first[has_cases], window_last[has_cases]))
        self._further = tuple(map(np.concatenate, zip(*further, strict=True)))
        self.n_windows = len(self.runs) + len(self._further[0])

    def cases_of(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each window: start, end of its first and of its last prefix (positions in `tokens`), int64 [W]."""
        is_further = windows >= len(self.runs)
        run, window_first, window_last = self._further
        further = windows[is_further] - len(self.runs)
        runs = windows.copy()
        runs[is_further] = run[further]
        start, first, last = self.runs.take(runs)
        last = np.minimum(last, start + self._longest)
        first[is_further], last[is_further] = window_first[further], window_last[further]
        return np.maximum(start, last - self._longest), first, last

    def with_cases(self, windows: np.ndarray) -> np.ndarray:
        """Those of the windows that hold a case: the first one of a run may not, where much of it is history alone."""
        if not self._first_is_empty:
            return windows
        _, first, last = self.cases_of(windows)
        return windows[last >= first]

    def before(self, windows: np.ndarray, block: SessionBlock) -> SessionBlock:
        """These windows as sessions of their own, window w as run w, with the sessions of a block behind them."""
        if not len(windows):
            return block
        start, first, last = self.cases_of(windows)
        lengths = last + 1 - start  # the next item of the last prefix included
        moved = np.cumsum(lengths) - lengths
        tokens = self.tokens[np.repeat(start - moved, lengths) + np.arange(lengths.sum())]
        runs = block.runs.take(np.arange(len(block.runs)))
        mine = moved, moved + first - start, moved + last - start
        joined = (np.concatenate([m, t + len(tokens)]).astype(np.int32) for m, t in zip(mine, runs, strict=True))
        return SessionBlock(np.concatenate([tokens, block.tokens]), CaseRuns(*joined))
