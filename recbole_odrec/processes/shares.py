"""A process's share of a batch: consecutive rows, so that all shares in order are the batch.

Dimension key: B rows of a batch, b of a share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from recbole_odrec.errors import UserError
from recbole_odrec.processes.group import gathered, n_processes, rank


class Share(NamedTuple):
    """Which part of a batch this process has.

    A share without rows computes the batch's first row at no weight: every process does every step.

    Attributes:
        bounds: rows at which the shares of all processes begin, and B: [processes + 1].
        n_cases, all_cases: training cases of the share and of the batch.
    """

    bounds: Sequence[int]
    n_cases: int
    all_cases: int

    @property
    def own(self) -> slice:
        """Its rows of the batch, 0 or more."""
        return slice(self.bounds[rank()], self.bounds[rank() + 1])

    @property
    def computed(self) -> slice:
        """The rows that it computes, 1 or more."""
        return self.own if self.n_rows else slice(0, 1)

    @property
    def n_rows(self) -> int:
        return self.own.stop - self.own.start

    @property
    def all_rows(self) -> int:
        return self.bounds[-1]

    def part_of(self, averaged_over: str) -> float:
        """What a mean over the share's `rows` or `cases` counts in the mean over the batch's."""
        if averaged_over == "cases":
            return self.n_cases / self.all_cases
        return self.n_rows / self.all_rows


def bounds_of(n_rows: int, step: int = 1) -> list[int]:
    """Where the share of each process begins, a multiple of `step`, and where the last one ends."""
    n, n_steps = n_processes(), -(-n_rows // step)
    return [min(n_steps * number // n * step, n_rows) for number in range(n + 1)]


# ---------------------------------------------------------------------- what travels


def shares_beside_others(sizes: Sequence[tuple[int, int, int]]) -> Iterator[tuple[Share, int]]:
    """Shares of batches that no process has whole, and how wide the widest share of each is.

    Args:
        sizes: rows, width and cases of this process's share of each batch.
    """
    of_each = _gather(torch.tensor([sizes]), [1] * n_processes()).tolist()
    for own, *of_all in zip(sizes, *of_each, strict=True):
        rows, widths, cases = zip(*of_all, strict=True)
        yield Share([0, *accumulate(rows)], own[2], sum(cases)), max(widths)


def sum_gradients(parameters: Sequence[Tensor]) -> None:
    """The gradients of the whole batch in place of the share's, which are parts of a sum."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
        alike = [gradient for gradient in gradients if gradient.dtype == dtype]
        flat = torch.cat([gradient.flatten() for gradient in alike])
        distributed.all_reduce(flat)
        for gradient, summed in zip(alike, flat.split([gradient.numel() for gradient in alike]), strict=True):
            gradient.copy_(summed.view_as(gradient))


def clip_shared_(alike: Sequence[Tensor], own: Sequence[Tensor], max_norm: float, norm_type: float = 2.0) -> None:
    """As `torch.nn.utils.clip_grad_norm_`, over parameters of which each process has a part.

    Args:
        alike: parameters whose gradients all processes have.
        own: those that are a part of a larger one.
        max_norm, norm_type: of all gradients together.
    """
    alike, own = ([found.grad for found in parameters if found.grad is not None] for parameters in (alike, own))
    if norm_type == float("inf"):
        raise UserError("clip_grad_norm with norm_type: inf: split_table=True takes a finite one, such as 2.")
    powers = [sum(torch.linalg.vector_norm(one, norm_type) ** norm_type for one in part) for part in (alike, own)]
    of_own = summed(torch.as_tensor(powers[1], device=alike[0].device))
    factor = (max_norm / ((powers[0] + of_own) ** (1 / norm_type) + 1e-6)).clamp(max=1)
    for gradient in [*alike, *own]:
        gradient.mul_(factor)


def summed(values: Tensor) -> Tensor:
    """The sum over the processes, in new memory."""
    values = values.clone()
    distributed.all_reduce(values)
    return values


def first_ones(tensors: Sequence[Tensor]) -> None:
    """Every process gets what the first one has."""
    for tensor in tensors:
        if tensor.numel():
            distributed.broadcast(tensor.detach(), src=0)


def every_row(rows: Tensor, share: Share) -> Tensor:
    """The rows of all shares, with gradient: [b, ..] -> [B, ..]."""
    return _EveryRow.apply(rows, share)


def every_case(rows: Tensor, n_own: int) -> Tensor:
    """The first `n_own` rows of each process, for what gives all of them the gradient of all: [c, ..] -> [C, ..]."""
    return _EveryCase.apply(rows, n_own)


def gathered_rows(rows: Tensor) -> Tensor:
    """Rows of all processes, one process after the other, however many each has: [b, ..] -> [sum of b, ..]."""
    return _gather(rows, gathered(len(rows)))


def _gather(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """Padded to the longest share: what travels is of one size."""
    longest = max(sizes)
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(gathered, padded)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])


class _EveryRow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, share: Share) -> Tensor:
        ctx.share, ctx.n_computed = share, len(rows)
        sizes = [stop - start for start, stop in zip(share.bounds, share.bounds[1:], strict=False)]
        return _gather(rows[: share.n_rows], sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own = summed(gradient)[ctx.share.own]  # every process has made use of these rows
        return own if len(own) == ctx.n_computed else gradient.new_zeros(ctx.n_computed, *gradient.shape[1:]), None


class _EveryCase(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, n_own: int) -> Tensor:
        sizes = gathered(n_own)
        ctx.first, ctx.n_own, ctx.shape = sum(sizes[: rank()]), n_own, rows.shape
        return _gather(rows[:n_own], sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        of_rows = gradient.new_zeros(ctx.shape)
        of_rows[: ctx.n_own] = gradient[ctx.first : ctx.first + ctx.n_own]
        return of_rows, None
