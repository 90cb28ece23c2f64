"""Exact top-k inside the graph, without sorting the catalogue or copying its scores.

The grid of cells is P rows of Q cells, in index order. The k best cells lie in the last row or in those k of the others
with the largest maxima: a cell outside these comes after k others, one in each of them. So: each row's maximum, the k
best rows and the last one, and the k best cells of those rows only. Ties go to the lower index throughout, which keeps
the argument valid for them: the chosen rows are put back into ascending order before the last step.

The last row alone may have cells that hold nothing. It is always among the chosen ones, behind the others, where its
empty cells are cut off.

What must not be served (padding, items seen) is not taken out of the grid: as many more cells are fetched, and it is
left out of these.

Dimension key: B sessions, P rows, Q cells a row, N cells that hold an item or padding, C cells fetched, X cells to
leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from recbole_odrec.bundle.graph import INT64, Graph

LOWEST_FLOAT = (-np.inf, np.float32)
# Where maxima are off, rows taken for each one asked for. Where more may be among the best, finer maxima say which:
# only of scores that are all but equal there are more by these, too.
_MOST_NEAR = 16


class Rows(NamedTuple):
    """A grid that need not be there as a whole.

    Attributes:
        maxima: of every row but the last, [B, P - 1].
        cells_at: numbers of R rows, int64 [B, R], the last row's behind the others -> their cells [B, R Q - empty].
        slack: of maxima that are off by e at most, 2 e in their type, [B, 1]. Each of the n best rows has a cell of at
            least the n-th maximum less e, so that no cell below that is among the n best: their rows' maxima are within
            2 e of the n-th.
        finer: maxima that are less off, and their slack, which are made where those leave too many rows near.
    """

    maxima: str
    cells_at: Callable[[str], str]
    slack: str = ""
    finer: Callable[[], tuple[str, str]] | None = None


def rows_of(graph: Graph, grid: str, n_empty: int) -> Rows:
    """Of a grid [B, P, Q] that is there, with so many empty cells."""
    maxima = first(graph, graph.op("ReduceMax", grid, axes=[2], keepdims=0), graph.const([-1]))
    return Rows(maxima, lambda rows: full(graph, gather_rows(graph, grid, rows), n_empty))


def gather_rows(graph: Graph, grid: str, rows: str) -> str:
    """[B, P, ..] at int64 [B, R] -> [B, R, ..]."""
    return graph.op("GatherND", grid, graph.op("Unsqueeze", rows, graph.const([2])), batch_dims=1)


def full(graph: Graph, cells: str, n_empty: int) -> str:
    """[B, R, Q] -> [B, R Q - empty]: without the empty cells at the end."""
    flat = graph.reshape(cells, 0, -1)
    return first(graph, flat, graph.const([-n_empty])) if n_empty else flat


def filled(graph: Graph, n_cells: str, q: int) -> tuple[str, str]:
    """Of cells in rows of q, so many that the graph alone knows it (int64 [1]): rows before the last one [1], and where
    the last one's cells end, counted from the end of a row [1], as `first` takes both."""
    last = graph.op("Sub", n_cells, graph.const([1]))
    n_others, in_last = (graph.op(kind, last, graph.const([q])) for kind in ("Div", "Mod"))
    behind = graph.op("Sub", in_last, graph.const([q - 1]))  # a negative number
    is_full = graph.op("Equal", behind, graph.const([0]))
    return n_others, graph.op("Where", is_full, graph.const([np.iinfo(np.int64).max]), behind)


def first(graph: Graph, values: str, end: str) -> str:
    """[B, n] -> [B, end]."""
    return graph.op("Slice", values, graph.const([0]), end, graph.const([1]))


def best_cells(graph: Graph, grid: str | Rows, shape: tuple[int, int], n_cells: int, count: str) -> tuple[str, str]:
    """The best cells of each session.

    Args:
        graph: written to.
        grid: scores [B, P, Q], float32 or int32; the whole grid where P is 1.
        shape: (P, Q), (P - 1) * Q < N <= P * Q.
        n_cells: N; the cells behind them hold nothing and are never among the best.
        count: how many, int64 scalar; at most N are given.

    Returns:
        Names of the values [B, C], descending, and of their cells, int64 [B, C].
    """
    p, q = shape
    count = graph.reshape(graph.op("Min", count, graph.const(n_cells)), 1)
    if p == 1 and isinstance(grid, str):
        return tuple(graph.op("TopK", full(graph, grid, q - n_cells), count, n_outputs=2))
    grid = grid if isinstance(grid, Rows) else rows_of(graph, grid, p * q - n_cells)
    last = graph.dim(grid.maxima, 1)
    n_rows = graph.op("Min", count, graph.reshape(last, 1))
    rows = _near_ones(graph, grid, n_rows) if grid.slack else _best_rows(graph, grid.maxima, n_rows)
    rows = graph.op("Pad", ascending(graph, rows), graph.const([0, 0, 0, 1]), last)  # [B, R + 1]
    values, places = graph.op("TopK", grid.cells_at(rows), count, n_outputs=2)
    row = graph.op("GatherElements", rows, graph.op("Div", places, graph.const(q)), axis=1)
    return values, graph.op("Add", graph.op("Mul", row, graph.const(q)), graph.op("Mod", places, graph.const(q)))


def _best_rows(graph: Graph, maxima: str, count: str) -> str:
    """[B, P - 1], int64 [1] -> [B, count]."""
    return graph.op("TopK", maxima, count, n_outputs=2)[1]


def _near_ones(graph: Graph, grid: Rows, count: str) -> str:
    """The rows whose maximum may be among so many best, int64 [1] -> [B, R]; of a batch as many as the most has."""

    def near(maxima: str, slack: str) -> str:
        best = graph.op("TopK", maxima, count, n_outputs=2)[0]
        least = graph.op("Sub", graph.op("ReduceMin", best, axes=[1]), slack)
        is_near = graph.op("Cast", graph.op("GreaterOrEqual", maxima, least), to=INT64)
        return graph.op("ReduceMax", graph.op("ReduceSum", is_near, graph.const([1])), axes=[0], keepdims=0)  # [1]

    def bounded(maxima: str, n_near: str) -> str:
        return _best_rows(graph, maxima, graph.op("Min", n_near, most))

    n_near, most = near(grid.maxima, grid.slack), graph.op("Mul", count, graph.const([_MOST_NEAR]))
    finer = grid.finer
    if finer is None:
        return bounded(grid.maxima, n_near)

    def by_finer_ones() -> str:
        maxima, slack = finer()
        return bounded(maxima, near(maxima, slack))

    is_crowded = graph.op("Greater", n_near, most)
    return graph.either(is_crowded, by_finer_ones, lambda: _best_rows(graph, grid.maxima, n_near))


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
