"""Matrices of a file that the first process has read: they travel when they are asked for, whole or by rows.

Dimension key: N rows of all, n of a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed

from recbole_odrec.processes.group import is_first, n_processes, rank


class AtFirst:
    """A matrix that the first process has; the others know its shape and type, and ask for what they need of it.

    Args:
        values: [N, ..], on the CPU.
    """

    def __init__(self, values: Tensor) -> None:
        self.shape, self.dtype, self._values = values.shape, values.dtype, values

    def __getstate__(self) -> dict[str, Any]:
        """What the other processes get of it."""
        return {**vars(self), "_values": None}

    def taken(self, bounds: Sequence[int] | None = None) -> Tensor:
        """All rows in every process, or each one's own [n, ..]; all must ask at the same time.

        Args:
            bounds: rows at which the parts of all processes begin, and N.
        """
        if bounds is None:
            whole = self._values if is_first() else torch.empty(self.shape, dtype=self.dtype)
            distributed.broadcast(whole, src=0)
            return whole
        if not is_first():
            own = torch.empty(bounds[rank() + 1] - bounds[rank()], *self.shape[1:], dtype=self.dtype)
            distributed.recv(own, src=0)
            return own
        for number, (start, stop) in enumerate(pairwise(bounds)):
            if number:
                distributed.send(self._values[start:stop].contiguous(), dst=number)
        return self._values[: bounds[1]].clone()  # not a view, which would keep the whole


def kept_at_first(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it comes out of a file, with an `AtFirst` in place of each matrix with a row an item (`n_items`)."""
    return state if n_processes() == 1 else _kept(state, state.get("n_items"))


def _kept(state: Any, n_rows: Any) -> Any:
    if isinstance(state, dict):
        return {name: _kept(value, n_rows) for name, value in state.items()}
    return AtFirst(state) if isinstance(state, Tensor) and state.dim() > 1 and len(state) == n_rows else state


def own_part(values: Any, bounds: Sequence[int] | None) -> Any:
    """Of a matrix out of a file this process's rows, or all of them without `bounds`; anything else as it is."""
    if isinstance(values, AtFirst):
        return values.taken(bounds if bounds is not None and bounds[-1] == values.shape[0] else None)
    return values
