"""Rows of a table at length one, some of their entries left out: one pass over the table, forward and backward.

`F.normalize(F.dropout(table))` goes over 20 MB a dozen times a step, and drawing a random number for each entry takes
as long as all of that; here blocks stay in the cache and each entry is left out by a random byte.

Dimension key: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

LEAST_LENGTH = 1e-3  # what a shorter row, such as the padding row, is divided by
# Numbers of a block: what stays in a processor's cache; on an accelerator, few large kernels.
_CPU_BLOCK, _DEVICE_BLOCK = 1 << 18, 1 << 26


def unit_rows(table: Tensor, kept: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Rows at length one, [N, D].

    Args:
        table: [N, D].
        kept: uint8 of the same shape, of which entries count: 0 or 1; all when None.
        dtype: of the result, the table's own when None.
    """
    return _UnitRows.apply(table, kept, dtype or table.dtype)


def kept_rows(table: Tensor, kept: Tensor | None, dropout: float) -> Tensor:
    """Rows of which some entries count, as much more as others are left out: [N, D].

    Args:
        table, kept: as of `unit_rows`.
        dropout: with which `kept` was drawn.
    """
    return table if kept is None else table * kept.to(table.dtype).mul_(256 / (256 - _dropped(dropout)))


def kept_entries(like: Tensor, dropout: float, draw: Callable[[int], Tensor] | None = None) -> Tensor | None:
    """Which entries of a table dropout leaves; each is left out with that probability, in steps of 1 / 256 below 1.

    Args:
        like: of the table's shape and device.
        dropout: in [0, 1); None is drawn for 0.
        draw: number of entries -> as many random bytes.

    Returns:
        uint8 [N, D], 0 or 1; None where all are left.
    """
    if not (dropped := _dropped(dropout)):
        return None
    drawn = random_words(-(-like.numel() // 8), like.device).view(torch.uint8) if draw is None else draw(like.numel())
    return drawn[: like.numel()].view(like.shape).ge_(dropped)


def random_words(n_words: int, device: torch.device) -> Tensor:
    """int64 [n], eight random bytes each: a number is drawn for eight entries, not for one."""
    return torch.empty(n_words, dtype=torch.int64, device=device).random_(-(2**63), None)


def _dropped(dropout: float) -> int:
    return min(255, round(256 * dropout))


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, kept: Tensor | None, dtype: torch.dtype) -> Tensor:
        out, factors = torch.empty_like(table, dtype=dtype), table.new_empty(len(table), 1)
        for rows in _blocks(table):
            block = table[rows].clone() if kept is None else table[rows] * kept[rows]
            lengths = torch.linalg.vector_norm(block, dim=1, keepdim=True)
            factors[rows] = lengths.clamp_(min=LEAST_LENGTH).reciprocal_()
            out[rows] = block.mul_(factors[rows])
        ctx.save_for_backward(table, factors)
        ctx.kept = kept
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        table, factors = ctx.saved_tensors
        to_table = torch.empty_like(table)
        for rows in _blocks(table):
            kept = None if ctx.kept is None else ctx.kept[rows]
            factor, of_rows = factors[rows], gradient[rows].to(table.dtype)
            unit = table[rows] * factor if kept is None else (table[rows] * kept).mul_(factor)
            # What points along a row changes its length alone; a row divided by a constant has no length to change.
            along = torch.linalg.vecdot(of_rows, unit).unsqueeze(1) * (factor * LEAST_LENGTH < 1)
            of_rows = torch.addcmul(of_rows, unit, along, value=-1).mul_(factor)
            to_table[rows] = of_rows if kept is None else of_rows.mul_(kept)
        return to_table, None, None


def _blocks(table: Tensor) -> Iterator[slice]:
    size = max(1, (_CPU_BLOCK if table.device.type == "cpu" else _DEVICE_BLOCK) // table.shape[1])
    return (slice(start, start + size) for start in range(0, len(table), size))
