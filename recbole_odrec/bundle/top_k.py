"""Exact top-k inside the graph, without sorting the catalogue or copying its scores.

The grid of cells is P rows of Q cells, in index order. The k best cells lie in the k rows with the largest maxima: a
cell outside these rows comes after k others, one in each of them. So: each row's maximum, the k best rows, and the k
best cells of those rows only. Ties go to the lower index throughout, which keeps the argument valid for them: the
chosen rows are put back into ascending order before the last step.

What must not be served (padding, items seen) is not taken out of the grid: as many more cells are fetched, and it is
left out of these.

Dimension key: B sessions, P rows, Q cells a row, N cells that hold an item or padding, C cells fetched, X cells to
leave out.
"""

from __future__ import annotations

import numpy as np

from recbole_odrec.bundle.graph import Graph

LOWEST_FLOAT = (-np.inf, np.float32)
LOWEST_INT = (np.iinfo(np.int32).min, np.int32)


def best_cells(
    graph: Graph, grid: str, shape: tuple[int, int], n_cells: int, count: str, lowest: str
) -> tuple[str, str]:
    """The best cells of each session.

    Args:
        graph: written to.
        grid: scores [B, P, Q], float32 or int32.
        shape: (P, Q), (P - 1) * Q < N <= P * Q.
        n_cells: N; the cells behind them hold nothing and are never among the best.
        count: how many, int64 scalar; at most N are given.
        lowest: scalar of the grid's type, below every score.

    Returns:
        Names of the values [B, C], descending, and of their cells, int64 [B, C].
    """
    p, q = shape
    count = graph.reshape(graph.op("Min", count, graph.const(n_cells)), 1)
    if p == 1:
        flat = graph.reshape(grid, 0, q)
        flat = graph.op("Slice", flat, *(graph.const([n]) for n in (0, n_cells, 1))) if n_cells < q else flat
        return tuple(graph.op("TopK", flat, count, n_outputs=2, axis=1))
    rows = _best_rows(graph, grid, shape, n_cells, count)  # [B, <= C]
    chosen = graph.op("GatherND", grid, graph.op("Unsqueeze", rows, graph.const([2])), batch_dims=1)  # [B, <= C, Q]
    if n_cells < p * q:
        chosen = _without_empty_cells(graph, chosen, rows, shape, n_cells, lowest)
    values, places = graph.op("TopK", graph.reshape(chosen, 0, -1), count, n_outputs=2, axis=1)
    row = graph.op("GatherElements", rows, graph.op("Div", places, graph.const(q)), axis=1)
    return values, graph.op("Add", graph.op("Mul", row, graph.const(q)), graph.op("Mod", places, graph.const(q)))


def leave_out(graph: Graph, values: str, cells: str, out: str, lowest: str) -> str:
    """The lowest value in place of those of some cells.

    Args:
        graph: written to.
        values, cells: [B, C], as `best_cells` gives them.
        out: int64 [B, X], cells not to be served.
        lowest: scalar of the values' type.
    """
    is_same = graph.op(
        "Equal", graph.op("Unsqueeze", cells, graph.const([2])), graph.op("Unsqueeze", out, graph.const([1]))
    )
    hits = graph.op("ReduceMax", graph.op("Cast", is_same, to=6), axes=[2], keepdims=0)  # int32 [B, C]
    return graph.op("Where", graph.op("Cast", hits, to=9), lowest, values)


def ascending(graph: Graph, numbers: str) -> str:
    """int64 [B, C] sorted within each session."""
    count = graph.reshape(graph.dim(numbers, 1), 1)
    return graph.op("TopK", numbers, count, n_outputs=2, axis=1, largest=0)[0]


def _best_rows(graph: Graph, grid: str, shape: tuple[int, int], n_cells: int, count: str) -> str:
    """Rows with the largest maxima, ascending: as many as asked for, or all."""
    p, q = shape
    row_best = graph.op("ReduceMax", grid, axes=[2], keepdims=0)  # [B, P]
    if n_cells < p * q:  # the last row's maximum, over the cells that hold something
        starts, stops, axes = [p - 1, 0], [p, q - (p * q - n_cells)], [1, 2]
        last = graph.op("Slice", grid, *(graph.const(values) for values in (starts, stops, axes)))
        last = graph.op("ReduceMax", last, axes=[2], keepdims=0)  # [B, 1]
        others = graph.op("Slice", row_best, graph.const([0]), graph.const([p - 1]), graph.const([1]))
        row_best = graph.op("Concat", others, last, axis=1)
    count = graph.op("Min", count, graph.reshape(graph.dim(row_best, 1), 1))
    return ascending(graph, graph.op("TopK", row_best, count, n_outputs=2, axis=1)[1])


def _without_empty_cells(
    graph: Graph, chosen: str, rows: str, shape: tuple[int, int], n_cells: int, lowest: str
) -> str:
    """The lowest value in the cells behind the last item: they lie in the last row, which stands last if chosen."""
    q, ends = shape[1], [np.iinfo(np.int64).max]
    others = graph.op("Slice", chosen, graph.const([0]), graph.const([-1]), graph.const([1]))
    last = graph.op("Slice", chosen, graph.const([-1]), graph.const(ends), graph.const([1]))  # [B, 1, Q]
    row = graph.op("Slice", rows, graph.const([-1]), graph.const(ends), graph.const([1]))  # [B, 1]
    cells = graph.op("Add", graph.op("Mul", row, graph.const(q)), graph.const_range(q))  # [B, Q]
    is_full = graph.op("Unsqueeze", graph.op("Less", cells, graph.const(n_cells)), graph.const([1]))
    return graph.op("Concat", others, graph.op("Where", is_full, last, lowest), axis=1)
