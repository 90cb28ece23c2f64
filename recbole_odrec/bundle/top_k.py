"""Exact top-k inside the graph, without sorting the catalogue.

The grid of cells is P rows of Q cells, in index order. The k best cells lie in the k rows with the largest maxima: k
cells outside row r come before every cell of r if each of k other rows has a maximum before r's. So: each row's maximum,
the k best rows, and the k best cells of those rows only. Ties go to the lower index throughout, which keeps the argument
valid for them: the chosen rows are put back into ascending order before the last step.

Dimension key: B sessions, P rows, Q cells a row, X cells to leave out.
"""

from __future__ import annotations

import numpy as np

from recbole_odrec.bundle.graph import Graph


def leave_out(graph: Graph, grid: str, shape: tuple[int, int], cells: str, is_out: str, lowest: str) -> str:
    """Puts the lowest value into some cells.

    Args:
        graph: written to.
        grid: scores [B, P, Q], float32 or int32.
        shape: (P, Q).
        cells: int64 [B, X]; a cell may stand in it more than once, with the same `is_out`.
        is_out: bool [B, X], which of them count.
        lowest: scalar of the grid's type.

    Returns:
        [B, P, Q].
    """
    p, q = shape
    flat = graph.reshape(grid, 0, p * q)
    kept = graph.op("GatherElements", flat, cells, axis=1)
    flat = graph.op("ScatterElements", flat, cells, graph.op("Where", is_out, lowest, kept), axis=1)
    return graph.reshape(flat, 0, p, q)


def best_cells(graph: Graph, grid: str, shape: tuple[int, int], k: int) -> tuple[str, str]:
    """The k best cells of each session.

    Args:
        graph: written to.
        grid: scores [B, P, Q], float32 or int32.
        shape: (P, Q), P * Q >= k.
        k: how many.

    Returns:
        Names of the values [B, k], descending, and of their cells, int64 [B, k].
    """
    p, q = shape
    if p <= k:
        return tuple(graph.op("TopK", graph.reshape(grid, 0, p * q), graph.const([k]), n_outputs=2, axis=1))
    row_best = graph.op("ReduceMax", grid, axes=[2], keepdims=0)  # [B, P]
    _, rows = graph.op("TopK", row_best, graph.const([k]), n_outputs=2, axis=1)  # [B, k]
    rows = ascending(graph, rows, k)
    chosen = graph.op("GatherND", grid, graph.op("Unsqueeze", rows, graph.const([2])), batch_dims=1)  # [B, k, Q]
    values, places = graph.op("TopK", graph.reshape(chosen, 0, k * q), graph.const([k]), n_outputs=2, axis=1)
    width = graph.const(q)
    row = graph.op("GatherElements", rows, graph.op("Div", places, width), axis=1)
    return values, graph.op("Add", graph.op("Mul", row, width), graph.op("Mod", places, width))


def ascending(graph: Graph, numbers: str, count: int) -> str:
    """int64 [B, count] sorted within each session."""
    return graph.op("TopK", numbers, graph.const([count]), n_outputs=2, axis=1, largest=0)[0]


LOWEST_FLOAT = (-np.inf, np.float32)
LOWEST_INT = (np.iinfo(np.int32).min, np.int32)
