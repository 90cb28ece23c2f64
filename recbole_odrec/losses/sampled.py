"""Cross-entropy against a sample of the catalogue, for a table whose every row is too much for a step.

Dimension key: B rows, D embedding, N items, K drawn.
"""

from __future__ import annotations

import math
import random

import torch
from torch import Tensor

from recbole_odrec.losses.added import AddedScores
from recbole_odrec.nn import ItemTable


def sampled_loss(
    query: Tensor,
    table: ItemTable,
    pos_items: Tensor,
    n_drawn: int,
    added: AddedScores | None = None,
    dtype: torch.dtype | None = None,
    of_all: tuple[Tensor, int] | None = None,
) -> Tensor:
    """Cross-entropy of the next item with the softmax's normaliser estimated from `n_drawn` items.

        -s_pos + log(exp(s_pos) + N / K sum over the items drawn, but pos, of exp(s_n))

    The items are drawn without replacement, all alike and the same for all rows, so each is in with probability K / N:
    the sum's expectation is that of the whole catalogue (the correction of Bengio and Senecal 2008 by log Q). With
    K = N the loss is the whole one.

    Args:
        query: [B, D].
        table: scores by it.
        pos_items: columns of the next items [B].
        n_drawn: K; all where there are no more.
        added: by columns.
        dtype: of the products; sums are float32 at least.
        of_all: of several processes, columns of the next items of all, and where those of `pos_items` begin: so all
            draw alike, and ask for the rows of a split table at once. The mean stays one over these rows.

    Returns:
        Scalar, averaged over rows.
    """
    n_items, n_rows = table.n_items, len(query)
    n_drawn, seed = min(n_drawn, n_items), int(torch.randint(2**62, ()))
    drawn = torch.tensor(sorted(random.Random(seed).sample(range(n_items), n_drawn)), device=query.device)
    every_pos, first = of_all or (pos_items, 0)
    columns = torch.cat([drawn, every_pos])
    scores = table.tile_scores(query, columns, table.tile_of(table.trained(), columns), dtype)  # [B, K + B of all]
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if table.zero_item is not None:
        scores = scores.masked_fill(columns == table.zero_item, 0)
    place_of_pos = n_drawn + (first + torch.arange(n_rows, device=query.device)).clamp(max=len(every_pos) - 1)
    of_drawn, of_pos = scores[:, :n_drawn], scores.gather(1, place_of_pos.unsqueeze(1)).squeeze(1)
    if added is not None:
        place = torch.searchsorted(drawn, added.items).clamp(max=n_drawn - 1)
        values = added.values.to(scores.dtype)
        of_drawn = of_drawn.scatter_add(1, place, values * (drawn[place] == added.items))
        of_pos = of_pos + (values * (added.items == pos_items.unsqueeze(1))).sum(1)
    others = of_drawn.masked_fill(drawn == pos_items.unsqueeze(1), -torch.inf) + math.log(n_items / n_drawn)
    return (torch.cat([of_pos.unsqueeze(1), others], 1).logsumexp(1) - of_pos).sum() / n_rows
