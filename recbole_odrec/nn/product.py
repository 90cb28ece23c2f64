"""The product of queries with the catalogue in training: low precision if asked for, written into memory kept for it.

At 512 queries and 41 thousand items a score matrix is larger than any cache, and asking the system for a new one each
step costs about as much as half of the product itself.

Dimension key: B rows, K inner side, N columns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_quick_in_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster there than in float32: it has instructions for them.

    A processor without emulates them, twenty to sixty times slower than float32 (AVX2, 512 x 128 by 37 thousand).
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # PyTorch says it of itself in no public way; one that does not say so is taken for one without.
    asked = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return device.type == "cpu" and any(is_supported() for is_supported in asked if is_supported)


class ScoreBuffer:
    """Memory for one score matrix, kept from step to step.

    What was written before is lost with the next `take`: one buffer serves one product a training step, whose backward
    pass is over before the next.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def take(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """An uninitialised [rows, columns] of the data type and device of `like`."""
        size, memory = rows * columns, self._memory
        if memory is None or memory.numel() < size or (memory.dtype, memory.device) != (like.dtype, like.device):
            self._memory = memory = like.new_empty(size)
        return memory[:size].view(rows, columns)


class _Product(torch.autograd.Function):
    """left @ right.T into a buffer; as `torch.mm`, whose `out` has no gradient."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, out: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        torch.mm(left, right.T, out=out)  # [B, K] x [K, N] -> [B, N]
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        left, right = ctx.saved_tensors
        to_left = gradient @ right if ctx.needs_input_grad[0] else None  # [B, N] x [N, K] -> [B, K]
        to_right = gradient.T @ left if ctx.needs_input_grad[1] else None  # [N, B] x [B, K] -> [N, K]
        return to_left, to_right, None


def product(left: Tensor, right: Tensor, buffer: ScoreBuffer | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """left [B, K] @ right [N, K].T -> [B, N].

    Args:
        left, right: the operands.
        buffer: where the result goes; new memory when None.
        dtype: precision of operands and result; the larger one of theirs when None. Sums are float32 at least.
    """
    if dtype is None:  # where autocast has made one operand smaller, the larger one's
        dtype = torch.promote_types(left.dtype, right.dtype)
    left, right = left.to(dtype), right.to(dtype)
    if buffer is None:
        return left @ right.T
    return _Product.apply(left, right, buffer.take(len(left), len(right), left))
