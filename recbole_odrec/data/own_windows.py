"""Windows of the row groups that one process reads, put into batches that all processes fill together.

Of each batch a process fills the part that it has of all cases, so that all of them end with the same batch. Windows of
similar length meet in a batch, other processes' too: a pool of batches is the same in all, each sorts its own windows
of it by length, and all draw the same order of its batches.

Dimension key: W windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import torch

from recbole_odrec.data.length_buckets import SORTING_POOL
from recbole_odrec.data.window_plan import SessionBlock, WindowPlan

Planned = TypeVar("Planned", bound=tuple)  # a `WindowPlan` first


class OwnWindows:
    """One epoch of a process.

    Args:
        n_cases: of its row groups.
        n_batches: that all processes fill.
        own: generator of the order of its windows; None keeps them as they stand.
        alike: generator of the order of a pool's batches, the same in all processes; None likewise.
    """

    def __init__(
        self, n_cases: int, n_batches: int, own: torch.Generator | None, alike: torch.Generator | None
    ) -> None:
        self._n_cases, self._n_batches, self._own, self._alike = n_cases, n_batches, own, alike
        self._cases_done = self._batches_done = 0  # of the pools so far

    def batches(
        self, blocks: Iterable[SessionBlock], planned_of: Callable[[SessionBlock], Planned]
    ) -> Iterator[tuple[Planned, np.ndarray]]:
        """Of each batch its windows [W], none of some, and what was planned for the block that they are in.

        Windows of a pool that a block does not fill go over into the next one.
        """
        planned, waiting = None, np.zeros(0, np.int64)
        for block in blocks:
            planned = planned_of(block if planned is None else planned[0].before(waiting, block))
            plan, n_first = planned[0], len(waiting)
            waiting = np.arange(n_first)
            order = _order(plan.n_windows - n_first, self._own)
            n_pools = plan.n_cases * self._n_batches // (self._n_cases * SORTING_POOL)
            for some in np.array_split(order, max(n_pools, 1)):  # as many at a time as a pool takes, about
                waiting = np.concatenate([waiting, plan.with_cases(some.astype(np.int64) + n_first)])
                numbers = self._numbers(plan, waiting)
                while len(numbers) and numbers[-1] >= (end := self._batches_done + SORTING_POOL):
                    n_own = int(np.searchsorted(numbers, end))
                    yield from ((planned, windows) for windows in self._pool(plan, waiting[:n_own]))
                    waiting, numbers = waiting[n_own:], numbers[n_own:]
        while planned is not None and self._batches_done < self._n_batches:
            yield from ((planned, windows) for windows in self._pool(planned[0], waiting))
            waiting = waiting[:0]

    def _numbers(self, plan: WindowPlan, windows: np.ndarray) -> np.ndarray:
        """The batch that each window begins in, if these are the next ones."""
        _, first, last = plan.cases_of(windows)
        n_cases = last - first + 1
        return (self._cases_done + np.cumsum(n_cases) - n_cases) * self._n_batches // self._n_cases

    def _pool(self, plan: WindowPlan, windows: np.ndarray) -> Iterator[np.ndarray]:
        start, first, last = plan.cases_of(windows)
        done, end = self._batches_done, min(self._batches_done + SORTING_POOL, self._n_batches)
        # Shortest first, then longest first: as in one process, and for all processes alike.
        lengths = (last - start) * (-1 if done // SORTING_POOL % 2 else 1)
        windows = windows[np.argsort(lengths, kind="stable")]
        numbers = np.minimum(self._numbers(plan, windows), end - 1)
        self._cases_done, self._batches_done = self._cases_done + int((last - first + 1).sum()), end
        for number in _order(end - done, self._alike) + done:
            yield windows[slice(*np.searchsorted(numbers, [number, number + 1]))]


def _order(n: int, generator: torch.Generator | None) -> np.ndarray:
    """0 .. n - 1 in an order that is drawn, or as they stand: int32 [n]."""
    if generator is None:
        return np.arange(n, dtype=np.int32)
    return torch.randperm(n, generator=generator, dtype=torch.int32).numpy()
