"""Predictive task: a recombined view alone must predict the next item.

Dimension key: B sessions, D embedding, N items.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def predictive_loss(view: Tensor, scores: Callable[[Tensor], Tensor], pos_items: Tensor) -> Tensor:
    """Cross-entropy of the next item under a normalised view (paper section 3.3).

        -1/B * sum_b log softmax(scores(v_b / |v_b|))[pos_b]

    v_1 is scored against the student's table, v_2 against the teacher's: pass that table's `scores`.

    Args:
        view: recombined view [B, D] of the table's dimension.
        scores: [B, D] -> [B, N].
        pos_items: next item of each session, ids [B].

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> table = torch.eye(3)
        >>> right, wrong = torch.tensor([0, 1]), torch.tensor([1, 2])
        >>> view = torch.eye(3)[:2]
        >>> predictive_loss(view, lambda v: v @ table.T, right) < predictive_loss(view, lambda v: v @ table.T, wrong)
        tensor(True)
    """
    return F.cross_entropy(scores(F.normalize(view, dim=-1)), pos_items)
