"""Which cell of the grid each item takes: similar items next to each other, where they share cores.

Dimension key: N items, D embedding.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_odrec.nn.tables.planner import TensorTrainPlan
from recbole_odrec.nn.tables.tensor_train_fit import fit_cores, grid_of_cores, grid_of_rows

ITEM_ORDERS = ("none", "teacher", "assigned")
_SWEEPS = 40  # at rank 52 the cores keep 28 % of RetailRocket's table at first, 40 % after 20, 41 % after 40
_BLOCK = 1200  # items that may exchange cells at once: the assignment takes the cube of it


def checked_order(item_order: Sequence[int] | Tensor, n_items: int) -> Tensor:
    """A copy of an order, int64 [N].

    Raises:
        ValueError: not each of the first `n_items` cells once.
    """
    order = torch.as_tensor(item_order, dtype=torch.long).clone()
    if order.shape != (n_items,):
        raise ValueError(f"item_order has shape {tuple(order.shape)}, expected ({n_items},): a cell per item.")
    if order.min() < 0 or order.max() >= n_items or order.unique().numel() != n_items:
        raise ValueError(f"item_order must hold each of the cells 0 .. {n_items - 1} once.")
    return order


class CellOf:
    """Where an order has an item: read off once for each state of the order, for an accelerator is waited for.

    Args:
        item: its id.
    """

    def __init__(self, item: int | None) -> None:
        self.item, self._cell = item, item
        self._read: tuple[Tensor | None, int] = (None, 0)

    def __call__(self, order: Tensor | None) -> int | None:
        """The item's cell in an order [N], its id without one."""
        if order is None or self.item is None:
            return self.item
        if self._read[0] is not order or self._read[1] != order._version:
            self._read, self._cell = (order, order._version), int(order[self.item])
        return self._cell


def learn_order(rule: str, vectors: Tensor, plan: TensorTrainPlan) -> Tensor:
    """The cells of items that a teacher knows.

    Args:
        rule: one of `ITEM_ORDERS`; rows of another width than the plan's can only be laid side by side.
        vectors: the teacher's rows [N, any width].
        plan: of the cores.

    Returns:
        int64 [N], a permutation of 0 .. N - 1.
    """
    log, fits = logging.getLogger(), vectors.shape[1] == plan.embedding_dim
    if rule == "none":
        return torch.arange(len(vectors))
    if rule == "assigned" and fits:
        log.info(f"student: {len(vectors) - 1:,} items look for their cells (minutes for tens of thousands)")
        return order_by_assignment(vectors, plan)
    if rule == "assigned":
        log.warning(f"student: {vectors.shape[1]} columns cannot be assigned to its cells, similar items share a row")
    return order_by_similarity(vectors, plan.item_shape[-1])


def order_by_similarity(vectors: Tensor, row_length: int) -> Tensor:
    """Puts similar items into the same row of the grid (the cells that differ only in their last index).

    Recursive bisection: the items are sorted along their first principal direction and cut in two, at a multiple of
    the row length nearest to the middle, until a part fits into one row.

    Args:
        vectors: item vectors [N, D], for example a trained table; row 0 (padding) keeps cell 0.
        row_length: cells of a row, the last side of the grid.

    Returns:
        int64 [N]: cell of each item, a permutation of 0 .. N - 1.
    """
    vectors = vectors.detach().to(torch.float32).cpu()
    ordered: list[Tensor] = []
    pending = [torch.arange(1, len(vectors))]
    while pending:
        items = pending.pop()
        if len(items) > 1:
            items = items[_along_first_direction(vectors[items])]
        if len(items) <= row_length:
            ordered.append(items)
            continue
        half = max(1, round(len(items) / row_length / 2)) * row_length
        pending += [items[half:], items[:half]]  # the first half is taken first
    cells = torch.zeros(len(vectors), dtype=torch.long)
    if len(vectors) > 1:
        cells[torch.cat(ordered)] = torch.arange(1, len(vectors))
    return cells


def _along_first_direction(vectors: Tensor) -> Tensor:
    """Positions of the vectors sorted along their first principal direction; the sign is fixed, so it is repeatable."""
    centred = vectors - vectors.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending eigenvalues
    direction = directions[:, -1]
    direction = direction * direction[direction.abs().argmax()].sign()
    return torch.argsort(centred @ direction, stable=True)


def order_by_assignment(vectors: Tensor, plan: TensorTrainPlan) -> Tensor:
    """Puts each item where the cores come closest to its vector.

    Items and cores take turns, as points and centres do in k-means: the cores are fitted to the vectors in their
    cells (TT-SVD), then items exchange cells so that the squared distance to the cores' rows falls as far as it can,
    block by block of items (the linear assignment problem), blocks at random and of neighbours in turn. It starts from
    `order_by_similarity`; the same vectors give the same order.

    Args:
        vectors: item vectors [N, D], row 0 (padding) keeps cell 0.
        plan: of the cores; its D is that of the vectors.

    Returns:
        int64 [N]: cell of each item, a permutation of 0 .. N - 1.
    """
    from scipy.optimize import linear_sum_assignment  # late: only a fit needs it

    vectors = vectors.detach().to(torch.float32).cpu()
    cells = order_by_similarity(vectors, plan.item_shape[-1])
    generator = torch.Generator().manual_seed(0)
    for sweep in range(_SWEEPS):
        grid = grid_of_rows(vectors[1:], cells[1:], plan)
        rows = grid_of_cores(fit_cores(grid, plan), plan)
        key = torch.rand(len(vectors), generator=generator)
        if sweep % 2:
            key = vectors @ torch.randn(vectors.shape[1], generator=generator)
        for items in (1 + torch.argsort(key[1:])).split(_BLOCK):
            taken = cells[items]
            gain = vectors[items] @ rows[taken].T - rows[taken].square().sum(1) / 2  # half the squared distance saved
            chosen = torch.as_tensor(linear_sum_assignment(gain.numpy(), maximize=True)[1])
            cells[items] = taken[chosen]
    return cells
