"""Predictive task: a recombined view alone must predict the next item.

Dimension key: B sessions, D embedding, N items.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_odrec.losses.score_memory import ScoreMemory
from recbole_odrec.losses.table_loss import table_loss
from recbole_odrec.nn import ItemTable
from recbole_odrec.nn.product import ScoreBuffer


def predictive_loss(
    view: Tensor,
    table: ItemTable,
    pos_items: Tensor,
    memory: ScoreMemory | None = None,
    buffer: ScoreBuffer | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Cross-entropy of the next item under a normalised view (paper section 3.3).

        -1/B * sum_b log softmax(scores(v_b / |v_b|))[pos_b]

    v_1 is scored against the student's table, v_2 against the teacher's.

    Args:
        view: recombined view [B, D] of the table's dimension.
        table: of the items.
        pos_items: column of each session's next item [B].
        memory, buffer, dtype: as in `table_loss`.

    Returns:
        Scalar.

    Example:
        >>> import torch
        >>> from recbole_odrec.nn import FrozenTable
        >>> table, view = FrozenTable(torch.eye(3)), torch.eye(3)[:2]
        >>> right, wrong = torch.tensor([0, 1]), torch.tensor([1, 2])
        >>> predictive_loss(view, table, right) < predictive_loss(view, table, wrong)
        tensor(True)
    """
    return table_loss(F.normalize(view, dim=-1), table, pos_items, memory, buffer, dtype).total
