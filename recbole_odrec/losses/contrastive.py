"""Contrastive task: two recombined views of one session find each other in the batch.

Dimension key: B sessions, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive_loss(first: Tensor, second: Tensor, temperature: float = 0.2, at: int = 0) -> Tensor:
    """InfoNCE between two views, the other sessions of the batch as negatives (paper section 3.3).

        -1/B * sum_b log( exp(cos(v1_b, v2_b) / T) / sum_c exp(cos(v1_b, v2_c) / T) )

    A batch of one session has no negatives: its loss is 0.

    Args:
        first, second: views v1, v2 [B, D] of the same sessions, row by row; `second` may have those of more sessions.
        temperature: T > 0 (`contrastive_temperature`).
        at: the row of `second` that goes with the first row of `first`.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes that do not fit or a temperature that is not positive.

    Example:
        >>> import torch
        >>> views = torch.eye(3)
        >>> contrastive_loss(views, views) < contrastive_loss(views, views.roll(1, 0))
        tensor(True)
    """
    if first.shape[1] != second.shape[1] or at + len(first) > len(second):
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise ValueError(f"views of shape {shapes}: they must agree, from row {at} of the second one.")
    if not temperature > 0:
        raise ValueError(f"contrastive_temperature={temperature}, expected a number above 0.")
    cosine = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T  # [B, D] x [D, C] -> [B, C]
    return F.cross_entropy(cosine / temperature, torch.arange(at, at + len(first), device=first.device))
