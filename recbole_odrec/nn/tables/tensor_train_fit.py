"""Cores that approximate a given table: truncated singular value decompositions, core by core (TT-SVD, Oseledets 2011).

Names as in `tensor_train`: D embedding, m cores, I_k / A_k item and (regrouped) embedding side of core k, R_k its inner
rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_odrec.nn.tables.planner import TensorTrainPlan


def grid_of_rows(rows: Tensor, cells: Tensor, plan: TensorTrainPlan) -> Tensor:
    """Rows [n, D] in their cells [n], zeros where there is none: [I_1 * .. * I_m, D]."""
    grid = rows.new_zeros(plan.n_cells, plan.embedding_dim)
    grid[cells.to(grid.device)] = rows
    return grid


def fit_cores(grid: Tensor, plan: TensorTrainPlan) -> list[Tensor]:
    """Cores of a plan for the rows of all its cells.

    For two cores this is the best approximation there is at these ranks, in this order of items.

    Args:
        grid: row of each cell [I_1 * .. * I_m, D], zeros where there is no item.
        plan: shapes and ranks.

    Returns:
        m cores [R_{k-1}, I_k, A_k, R_k], of the grid's dtype.
    """
    shapes = plan.core_shapes
    dims, m = [shape[2] for shape in shapes], len(shapes)
    grid = grid.view(plan.n_cells, plan.dim_shape[0], -1, plan.stp_factor).transpose(2, 3)
    grid = grid.reshape(*plan.item_shape, *dims)  # [I_1 .. I_m, A_1 .. A_m]
    rest = grid.permute(*(axis for k in range(m) for axis in (k, m + k)))  # [I_1, A_1, I_2, A_2, ..]
    scale = rest.new_ones(1)  # of the bond to the left: its singular values, shared evenly by both sides
    cores = []
    for left, items, core_dims, right in shapes[:-1]:
        u, s, v = torch.linalg.svd(rest.reshape(left * items * core_dims, -1), full_matrices=False)
        u, s, v = (_to_size(x, right, axis) for x, axis in ((u, 1), (s, 0), (v, 0)))
        root = s.sqrt()
        cores.append((u * root).view(left, items, core_dims, right) / scale.view(-1, 1, 1, 1))
        rest, scale = s.unsqueeze(1) * v, root.clamp(min=torch.finfo(s.dtype).tiny ** 0.5)
    return [*cores, rest.view(shapes[-1]) / scale.view(-1, 1, 1, 1)]


def grid_of_cores(cores: list[Tensor], plan: TensorTrainPlan) -> Tensor:
    """The other way round: rows of all cells [I_1 * .. * I_m, D]."""
    grid = cores[0].new_ones(1, 1, 1)  # [cells, dims, R]
    for core in cores:
        grid = torch.einsum("cdl,liar->cidar", grid, core)  # [cells, dims, R_{k-1}] x core -> [.., I_k, .., A_k, R_k]
        grid = grid.flatten(2, 3).flatten(0, 1)
    grid = grid.view(plan.n_cells, plan.dim_shape[0], plan.stp_factor, -1)
    return grid.transpose(2, 3).reshape(plan.n_cells, plan.embedding_dim)


def _to_size(values: Tensor, size: int, axis: int) -> Tensor:
    """The first `size` slices along an axis, zeros where there are fewer."""
    values = values.narrow(axis, 0, min(size, values.shape[axis]))
    missing = size - values.shape[axis]
    if not missing:
        return values
    shape = [missing if a == axis else side for a, side in enumerate(values.shape)]
    return torch.cat([values, values.new_zeros(shape)], dim=axis)
