"""The loss over the catalogue from queries and an item table: over whole score matrices, or by tiles.

Dimension key: B rows, D embedding, N items.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_odrec.losses.added import AddedScores
from recbole_odrec.losses.catalogue import CatalogueLoss, catalogue_loss
from recbole_odrec.losses.score_memory import ScoreMemory
from recbole_odrec.losses.tiles import TeacherScores, tiled_catalogue_loss
from recbole_odrec.nn import ItemTable
from recbole_odrec.nn.product import ScoreBuffer


def table_loss(
    query: Tensor,
    table: ItemTable,
    pos_items: Tensor,
    memory: ScoreMemory | None = None,
    buffer: ScoreBuffer | None = None,
    dtype: torch.dtype | None = None,
    teacher: TeacherScores | None = None,
    kd_weight: float = 0.0,
    temperature: float = 1.0,
    added: AddedScores | None = None,
    columns: slice | None = None,
) -> CatalogueLoss:
    """`catalogue_loss` of a table's scores.

    Args:
        query: [B, D].
        table: the student's.
        pos_items: column of each row's next item [B].
        memory: what scores may take; whole matrices when None.
        buffer: for a whole matrix of them.
        dtype: precision of the products.
        teacher, kd_weight, temperature, added, columns: as in `tiled_catalogue_loss`.
    """
    columns = columns or table.columns
    matrices = 1 if teacher is None else 2
    tile = None if memory is None else memory.tile(table, len(query), matrices, query.device, columns)
    if columns is not None and memory is None:
        tile = table.n_items  # all of a process's columns at once
    if tile is not None:
        taught = {"teacher": teacher, "kd_weight": kd_weight, "temperature": temperature}
        return tiled_catalogue_loss(query, table, pos_items, tile, **taught, added=added, dtype=dtype, columns=columns)
    teacher_scores = None if teacher is None else teacher(None)
    scores = table.raw_scores(query, dtype, buffer)
    return catalogue_loss(
        scores, pos_items, table.n_items, table.zero_item, teacher_scores, kd_weight, temperature, added
    )
