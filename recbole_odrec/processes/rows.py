"""Rows of a matrix split over the processes: who has which, how others come by them, and the whole for a file.

Dimension key: N rows of all, n of this process, D columns, U different rows asked for, A asked of this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, distributed

from recbole_odrec.processes.group import is_first, n_processes

_BLOCK = 1 << 24  # numbers that travel at a time on the way into a file


def rows_of(table: Tensor, ids: Tensor, bounds: Sequence[int], padded: bool = True) -> Tensor:
    """Rows of the whole matrix, each from the process that has it: [..] -> [.., D].

    Every process asks at the same time, each for any rows. The gradient goes to the owners, which add up what all
    processes send.

    Args:
        table: this process's rows [n, D].
        ids: rows of the whole, int64.
        bounds: rows at which the parts of all processes begin, and N.
        padded: row 0 stands for padding, whose gradient goes nowhere.
    """
    return _Rows.apply(table, ids, bounds, padded)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, bounds: Sequence[int], padded: bool) -> Tensor:
        wanted, place = ids.unique(return_inverse=True)  # sorted: [U]
        ends = torch.searchsorted(wanted, torch.tensor(bounds[1:], device=ids.device))
        n_wanted = ends.diff(prepend=ends.new_zeros(1))  # of each process
        n_asked = torch.empty_like(n_wanted)
        distributed.all_to_all_single(n_asked, n_wanted)
        wants, asks = n_wanted.tolist(), n_asked.tolist()
        asked = _travel(wanted, wants, asks) - bounds[distributed.get_rank()]  # [A]
        found = _travel(table[asked], asks, wants)  # [U, D]
        ctx.shape, ctx.place, ctx.asked, ctx.sizes = table.shape, place, asked, (wants, asks)
        ctx.has_padding = padded and bool(len(wanted) and wanted[0] == 0)
        return found[place]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wants, asks = ctx.sizes
        of_wanted = gradient.new_zeros(sum(wants), gradient.shape[-1])
        of_wanted.index_add_(0, ctx.place.flatten(), gradient.flatten(0, -2))
        if ctx.has_padding:
            of_wanted[0] = 0
        of_table = gradient.new_zeros(ctx.shape)
        return of_table.index_add_(0, ctx.asked, _travel(of_wanted, wants, asks)), None, None, None


def _travel(values: Tensor, sent: list[int], received: list[int]) -> Tensor:
    """So many rows to each process, and so many from each."""
    found = values.new_empty(sum(received), *values.shape[1:])
    distributed.all_to_all_single(found, values.contiguous(), received, sent)
    return found


def log_sum_of_all(log_sum: Tensor) -> Tensor:
    """log of the sum of exp over the processes; what travels is the largest, and sums of exponentials."""
    largest = log_sum.clone()
    distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    total = (log_sum - largest).exp_()
    distributed.all_reduce(total)
    return largest + total.log_()


def best_of_all(scores: Tensor, k: int, bounds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The k best columns of rows whose columns are split over the processes, and their scores, best first.

    Args:
        scores: this process's columns [B, n]; rows are the same everywhere.
        k: at most N.
        bounds: as in `rows_of`.

    Returns:
        scores and columns of the whole [B, k].
    """
    values, columns = scores.topk(min(k, scores.shape[1]), dim=1)
    padded = scores.new_full((len(scores), k), -torch.inf), columns.new_zeros(len(scores), k)
    for found, own in zip(padded, (values, columns + bounds[distributed.get_rank()]), strict=True):
        found[:, : own.shape[1]] = own
    all_values, all_columns = (_side_by_side(found) for found in padded)
    best, place = all_values.topk(k, dim=1)
    return best, all_columns.gather(1, place)


def _side_by_side(values: Tensor) -> Tensor:
    found = [torch.empty_like(values) for _ in range(n_processes())]
    distributed.all_gather(found, values)
    return torch.cat(found, 1)


def whole_in_all(rows: Tensor, bounds: Sequence[int]) -> Tensor:
    """All rows, in every process [N, D]."""
    whole = rows.new_empty(bounds[-1], *rows.shape[1:])
    _fill(whole, rows, bounds)
    return whole


def whole_in_first(rows: Tensor, bounds: Sequence[int]) -> Tensor:
    """All rows, on the CPU of the first process [N, D]; its own in any other [n, D].

    They travel some at a time, so that only the first process ever holds more than its own.
    """
    whole = torch.empty(bounds[-1], *rows.shape[1:], dtype=rows.dtype) if is_first() else None
    _fill(whole, rows, bounds)
    return rows if whole is None else whole


def _fill(whole: Tensor | None, rows: Tensor, bounds: Sequence[int]) -> None:
    """Puts all rows into this memory, where there is some."""
    step = max(1, _BLOCK // max(rows[:1].numel(), 1))
    for number, (start, stop) in enumerate(pairwise(bounds)):
        for first in range(start, stop, step):
            last = min(first + step, stop)
            if number == distributed.get_rank():
                block = rows[first - start : last - start].detach().contiguous()
            else:
                block = rows.new_empty(last - first, *rows.shape[1:])
            distributed.broadcast(block, src=number)
            if whole is not None:
                whole[first:last] = block.to(whole.device)
