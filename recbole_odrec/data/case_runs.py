"""Training cases as runs: consecutive prefixes of one session, without an entry a case.

Dimension key: R runs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recbole_odrec.data.session_file import SessionPart

_BLOCK = 1 << 15  # runs looked at together


class CaseRuns:
    """Runs given by three arrays.

    Args:
        starts: position in `tokens` of the session's first item, int [R].
        first, last: end of the first and of the last prefix, one past its last item, int [R].
    """

    def __init__(self, starts: np.ndarray, first: np.ndarray, last: np.ndarray) -> None:
        self._arrays = starts, first, last

    def __len__(self) -> int:
        return len(self._arrays[0])

    def take(self, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start, first and last end of some runs: int64."""
        starts, first, last = (values[runs].astype(np.int64) for values in self._arrays)
        return starts, first, last

    def blocks(self) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
        """All runs, many at a time: their numbers and what `take` gives."""
        for start in range(0, len(self), _BLOCK):
            runs = np.arange(start, min(start + _BLOCK, len(self)))
            yield runs, self.take(runs)


class SessionRuns(CaseRuns):
    """A run a session, worked out from where the sessions start."""

    def __init__(self, part: SessionPart) -> None:
        self._part = part

    def __len__(self) -> int:
        return self._part.n_sessions

    def take(self, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        starts = self._part.starts[runs].astype(np.int64)
        return starts, starts + self._part.given_of(runs), self._part.starts[runs + 1].astype(np.int64) - 1
