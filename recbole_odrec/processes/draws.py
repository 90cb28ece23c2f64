"""Dropout of a share as it would be in the whole batch: every process draws for all rows and takes those of its own.

So the numbers that a case meets, and the state of the generators afterwards, are those of one process, however many
there are. What is drawn costs each process as much as it costs one.

Dimension key: B rows of a batch, b of a share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_odrec.processes.shares import Share

_dropout, _attention = F.dropout, F.scaled_dot_product_attention


@contextmanager
def drawn_for_all(share: Share | None) -> Iterator[None]:
    """Inside, PyTorch's dropout takes the first dimension of its input for the rows of this share; without one, no."""
    if share is None:
        yield
        return

    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        rows = share.computed
        if not training or not p or len(input) != rows.stop - rows.start:
            return _dropout(input, p, training, inplace)
        return input * _dropout(_ones_of_all(input, share.all_rows), p, True)[rows]

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **others: Any,
    ) -> Tensor:
        if not dropout_p or others.get("scale") is not None or others.get("enable_gqa"):
            return _attention(query, key, value, attn_mask, dropout_p, is_causal, **others)
        return _plain_attention(query, key, value, attn_mask, is_causal, lambda weight: dropout(weight, dropout_p))

    F.dropout, F.scaled_dot_product_attention = dropout, attention
    try:
        yield
    finally:
        F.dropout, F.scaled_dot_product_attention = _dropout, _attention


def _ones_of_all(like: Tensor, n_rows: int) -> Tensor:
    """Ones [B, ..] that lie in memory as the whole batch would, for that is the order in which numbers are drawn."""
    order = sorted(range(like.dim()), key=lambda dim: (-like.stride(dim), dim == 0))
    sizes = [n_rows, *like.shape[1:]]
    back = sorted(range(like.dim()), key=order.__getitem__)
    return like.new_ones([sizes[dim] for dim in order]).permute(back)


def _plain_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool, dropout: Callable[[Tensor], Tensor]
) -> Tensor:
    """softmax(query key.T / sqrt(D)) value with dropout of the weights, [.., L, D], as PyTorch has it on a CPU."""
    scale = math.sqrt(1 / math.sqrt(query.shape[-1]))
    scores = (query * scale) @ (key * scale).transpose(-2, -1)  # [.., L, L]
    if is_causal:
        scores = scores.masked_fill(torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1), -math.inf)
    elif mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return dropout(scores.softmax(-1)) @ value
