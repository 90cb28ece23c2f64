"""The best cells of a grid are those of a stable sort, wherever ties, empty cells and few rows lie."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from recbole_odrec.bundle.graph import INT32, INT64, Graph, value
from recbole_odrec.bundle.top_k import Rows, best_cells, first, full, gather_rows


def best_of(grid: np.ndarray, n_cells: int, count: int, as_rows: bool) -> tuple[np.ndarray, np.ndarray]:
    """[B, P, Q] -> values and cells, from the grid itself or from its rows and their maxima."""
    graph, (_, p, q) = Graph(), grid.shape
    maxima = first(graph, graph.op("ReduceMax", "grid", axes=[2], keepdims=0), graph.const([p - 1]))
    rows = Rows(maxima, lambda rows: full(graph, gather_rows(graph, "grid", rows), p * q - n_cells))
    names = best_cells(graph, rows if as_rows else "grid", (p, q), n_cells, graph.const(count))
    outputs = [value(name, kind, ["batch", "count"]) for name, kind in zip(names, (INT32, INT64), strict=True)]
    model = graph.model([value("grid", INT32, ["batch", p, q])], outputs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"grid": grid})


@pytest.mark.parametrize("n_values", [2, 5, 10_000])
@pytest.mark.parametrize(
    ("p", "q", "n_cells"), [(7, 5, 35), (7, 5, 31), (2, 9, 10), (30, 1, 30), (1, 12, 12), (1, 12, 7)]
)
def test_best_cells_are_those_of_a_stable_sort(p: int, q: int, n_cells: int, n_values: int) -> None:
    grid = np.random.default_rng(n_values).integers(0, n_values, (40, p, q)).astype(np.int32)
    flat = grid.reshape(40, -1)
    flat[:, n_cells:] = n_values + 1  # the largest numbers stand where nothing is
    expected = np.argsort(-flat[:, :n_cells], axis=1, kind="stable")
    for count in (1, 3, n_cells, n_cells + 4):
        for as_rows in (False, True)[:p]:
            values, cells = best_of(grid, n_cells, count, as_rows)
            np.testing.assert_array_equal(cells, expected[:, :count])
            np.testing.assert_array_equal(values, np.take_along_axis(flat, expected[:, :count], 1))


def test_maxima_that_are_off_lose_no_cell() -> None:
    """With a slack of twice what they are off; without, some are lost."""
    (p, q, n_cells), off, drawn = (60, 4, 238), 9, np.random.default_rng(0)
    grid = drawn.integers(0, 300, (40, p, q)).astype(np.int32)
    flat = grid.reshape(40, -1)[:, :n_cells]
    rough = grid[:, :-1].max(2) + drawn.integers(-off, off + 1, (40, p - 1)).astype(np.int32)

    def found(slack: int, count: int) -> np.ndarray:
        graph = Graph()
        every = graph.op("Expand", graph.const([[slack]], np.int32), graph.const([40, 1]))
        rows = Rows("maxima", lambda rows: full(graph, gather_rows(graph, "grid", rows), p * q - n_cells), every)
        _, cells = best_cells(graph, rows, (p, q), n_cells, graph.const(count))
        inputs = [value("grid", INT32, ["batch", p, q]), value("maxima", INT32, ["batch", p - 1])]
        model = graph.model(inputs, [value(cells, INT64, ["batch", "count"])]).SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return session.run(None, {"grid": grid, "maxima": rough})[0]

    for count in (1, 3, 20, 59, n_cells):
        expected = np.argsort(-flat, axis=1, kind="stable")[:, :count]
        np.testing.assert_array_equal(found(2 * off, count), expected)
        assert np.array_equal(found(0, count), expected) == (count >= 59), count
