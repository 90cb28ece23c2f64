"""Predictive task: a recombined view alone must predict the next item.

Dimension key: B sessions, D embedding, N items.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from recbole_odrec.losses.catalogue import catalogue_loss


def predictive_loss(
    view: Tensor,
    scores: Callable[[Tensor], Tensor],
    pos_items: Tensor,
    n_items: int | None = None,
    zero_item: int | None = None,
) -> Tensor:
    """Cross-entropy of the next item under a normalised view (paper section 3.3).

        -1/B * sum_b log softmax(scores(v_b / |v_b|))[pos_b]

    v_1 is scored against the student's table, v_2 against the teacher's: pass that table's `scores`.

    Args:
        view: recombined view [B, D] of the table's dimension.
        scores: [B, D] -> [B, M], new memory that the loss may use up.
        pos_items: next item of each session, ids [B].
        n_items, zero_item: as in `catalogue_loss`.

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
    return catalogue_loss(scores(F.normalize(view, dim=-1)), pos_items, n_items, zero_item).total
