"""A semi-tensor-product tensor train in the graph, rows and scores straight from its cores.

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included), m cores, I_k / A_k item and
embedding side of core k, R_k inner rank, t factor, P x Q grid of cells (Q = I_m), K = A_m R_{m-1}, k items asked for.
"""

from __future__ import annotations

from math import prod

import numpy as np

from recbole_odrec.bundle.graph import FLOAT, UINT8, Graph
from recbole_odrec.bundle.part_graphs import TableGraph, table_graph, the_k_best
from recbole_odrec.bundle.precision import Precision, quantize_rows
from recbole_odrec.bundle.top_k import (
    LOWEST_FLOAT,
    Rows,
    ascending,
    best_cells,
    first,
    full,
    gather_rows,
    leave_out,
)
from recbole_odrec.nn import SemiTensorTrainEmbedding

# The integer scan keeps this many candidates for each item asked for; they are scored again in float32.
_CANDIDATES = 2
# Queries of the integer scan have 7 bits: on processors whose 8-bit products add up in 16 bits, nothing saturates.
_HALF_RANGE, _ZERO = 63, 64
# Cells of a tile of the integer scan: a megabyte of products, which a core's own cache holds.
_TILE = 2**18


class TensorTrainTable(TableGraph):
    """A semi-tensor-product tensor train, from its cores alone (`nn.tensor_train` states the form).

    Each core is stored once, as the matrix [A_k R_{k-1}, R_k I_k] that scoring multiplies by; rows gather from the same
    matrix. Rows of cells that no item has are cut off the first core.

    Args:
        table: the trained module.
        is_integer: store the cores in 8 bits and score in 8-bit integers, then the best candidates again in float32.
    """

    def __init__(self, table: SemiTensorTrainEmbedding, is_integer: bool = False) -> None:
        plan, self.is_integer = table.plan, is_integer
        self.cores = [core.detach().numpy() for core in table.tt_cores]  # [R_{k-1}, I_k, A_k, R_k]
        self.cores[0] = self.cores[0][:, : -(-table.n_items // prod(plan.item_shape[1:]))]
        # No item order: the bundle's list of items stands in it. Integers have a scale for each row of their matrix.
        n_rows = sum(core.shape[0] * core.shape[2] for core in self.cores)
        numbers = sum(core.size for core in self.cores)
        super().__init__(table.n_items, numbers + 4 * n_rows if is_integer else 4 * numbers)
        if is_integer:
            self._balance()
        self.sides = [core.shape[1] for core in self.cores]
        self.dims = [core.shape[2] for core in self.cores]
        self.t, self.first_dim = plan.stp_factor, plan.dim_shape[0]
        self.embedding_dim = plan.embedding_dim
        self.shape = (-(-self.n_items // self.sides[-1]), self.sides[-1])  # P, Q: rows that hold an item

    def _balance(self) -> None:
        """Gives the components of each bond one size on its left, so that few bits hold the small ones as well.

        The size moves to the next core, whose rows have scales of their own; the table stays the same.
        """
        for k in range(len(self.cores) - 1):
            size = np.abs(self.cores[k]).max(axis=(0, 1, 2))  # [R_k]
            size = np.where(size > 0, size, 1)
            self.cores[k] = self.cores[k] / size
            self.cores[k + 1] = self.cores[k + 1] * size[:, None, None, None]

    def store(self, graph: Graph) -> None:
        """Puts the cores into the graph."""
        matrices = [
            core.transpose(2, 0, 3, 1).reshape(core.shape[2] * core.shape[0], -1) for core in self.cores
        ]  # [A_k R_{k-1}, R_k I_k]
        self.names, self.scales = [], []
        for k, matrix in enumerate(matrices):
            if self.is_integer:
                matrix, scale = quantize_rows(matrix)
                self.scales.append(graph.weight(f"core_{k}.scale", scale))  # [A_k R_{k-1}, 1]
            self.names.append(graph.weight(f"core_{k}", matrix))

    def rows(self, graph: Graph, item_seq: str) -> str:
        """int64 [B, L] -> [B, L, D]; padding gets some row, which no causal encoder looks at."""
        ids = graph.reshape(item_seq, -1)  # [n]
        stride, rows = prod(self.sides), ""
        for k, core in enumerate(self.cores):
            left, items, dims, right = core.shape
            stride //= items
            digit = graph.op("Div", ids, graph.const(stride)) if stride > 1 else ids
            digit = graph.op("Mod", digit, graph.const(items)) if k else digit
            slices = graph.reshape(self._slices(graph, k, digit), -1, left, dims * right)  # [n, R_{k-1}, A_k R_k]
            rows = graph.op("MatMul", rows, slices) if k else slices
            if k < len(self.cores) - 1:
                rows = graph.reshape(rows, 0, -1, right)  # [n, A_1 .. A_k, R_k]
        rows = graph.op("Transpose", graph.reshape(rows, 0, self.first_dim, self.t, -1), perm=[0, 1, 3, 2])
        shape = graph.op("Concat", graph.op("Shape", item_seq), graph.const([self.embedding_dim]), axis=0)
        return graph.op("Reshape", rows, shape)

    def scores(self, graph: Graph, query: str) -> str:
        """[B, D] -> [B, P, Q]."""
        state = graph.op("Transpose", self._contract(graph, query), perm=[0, 2, 1])
        return graph.op("MatMul", state, self.names[-1])  # [B, P, K] x [K, Q] -> [B, P, Q]

    def best(self, graph: Graph, query: str, out: str, n_out: str, k: int) -> tuple[str, str]:
        """As of any table; integers give candidates, which are scored again in float32."""
        if not self.is_integer:
            return super().best(graph, query, out, n_out, k)
        # [B, K, P] until it has 8 bits: a row of it has one scale, and so few bytes are quickly transposed.
        state = graph.op("Mul", graph.op("Cast", self._contract(graph, query), to=FLOAT), self.scales[-1])
        state = graph.op("Transpose", self._integers(graph, state, [1, 2]), perm=[0, 2, 1])  # uint8 [B, P, K]
        count = graph.op("Add", n_out, graph.const(_CANDIDATES * k))
        _, cells = best_cells(graph, self._rows_of(graph, state), self.shape, self.n_items, count)
        cells = ascending(graph, cells)  # so that ties go to the lower index
        products = graph.op("Mul", self.rows(graph, cells), graph.op("Unsqueeze", query, graph.const([1])))
        scores = graph.op("ReduceSum", products, graph.const([2]), keepdims=0)  # [B, C, D] -> [B, C]
        scores = leave_out(graph, scores, cells, out, graph.const(*LOWEST_FLOAT))
        return the_k_best(graph, scores, cells, k)

    # ------------------------------------------------------------------ steps

    def _contract(self, graph: Graph, query: str) -> str:
        """Meets the query with all cores but the last: [B, D] -> [B, K, P], int32 or float32, empty rows cut off."""
        # [B, J_1, rest, t] -> [B, rest, (J_1, t)]: the regrouped embedding with A_1 last.
        state = graph.op("Transpose", graph.reshape(query, 0, self.first_dim, -1, self.t), perm=[0, 2, 1, 3])
        rest, cells = prod(self.dims[1:]), 1
        state = graph.reshape(state, -1, cells, rest, self.dims[0])
        product = self._integer_product if self.is_integer else self._product
        for k, (core, dims) in enumerate(zip(self.cores[:-1], self.dims[1:], strict=True)):
            items, right = core.shape[1], core.shape[3]
            state = product(graph, state, k)  # [B, cells, rest, A_k R] x [A_k R, R_k I_k]
            rest //= dims
            state = graph.reshape(state, -1, cells, dims, rest, right, items)
            if k < len(self.cores) - 2:  # [B, cells, I_k, rest, (A_{k+1}, R_k)]
                state = graph.op("Transpose", state, perm=[0, 1, 5, 3, 2, 4])
                state = graph.reshape(state, -1, cells * items, rest, dims * right)
                state = graph.op("Cast", state, to=FLOAT) if self.is_integer else state
            elif k:
                state = graph.op("Transpose", state, perm=[0, 2, 3, 4, 1, 5])
            cells *= items
        state = graph.reshape(state, -1, self.dims[-1] * self.cores[-1].shape[0], cells)
        if self.shape[0] < cells:  # three cores and more: rows at the end may be empty
            state = graph.op("Slice", state, *(graph.const([n]) for n in (0, self.shape[0], 2)))
        return state

    def _rows_of(self, graph: Graph, state: str) -> str | Rows:
        """Products of the state, uint8 [B, P, K], with the last core, int32: many of them tile by tile.

        A tile's products need no memory of their own, and their maxima are taken before they leave the cache; those of
        the few rows that matter are worked out once more.
        """
        (p, q), core, zero = self.shape, self.names[-1], graph.const(_ZERO, np.uint8)
        n_tiles = -(-p * q // _TILE)
        if n_tiles == 1 or p == 1:
            return graph.op("MatMulInteger", state, core, zero)
        height, width = -(-p // n_tiles), self.dims[-1] * self.cores[-1].shape[0]  # of a tile of the state

        def maxima_of(tile: str) -> list[str]:
            return [graph.op("ReduceMax", graph.op("MatMulInteger", tile, core, zero), axes=[1], keepdims=0)]

        def cells_at(rows: str) -> str:
            chosen = graph.op("MatMulInteger", gather_rows(graph, state, rows), core, zero)
            return full(graph, chosen, p * q - self.n_items)

        behind = graph.const([0, 0, 0, 0, n_tiles * height - p, 0])
        tiles = graph.reshape(graph.op("Pad", state, behind), -1, height, width)  # [B tiles, ..]
        maxima = graph.reshape(graph.each([(tiles, UINT8, (height, width))], maxima_of), -1, n_tiles * height)
        return Rows(first(graph, maxima, graph.const([p - 1])), cells_at)

    def _product(self, graph: Graph, state: str, k: int) -> str:
        return graph.op("MatMul", state, self.names[k])

    def _integer_product(self, graph: Graph, state: str, k: int) -> str:
        """State [B, cells, rest, K] x core k [K, M] in 8-bit integers: int32, but for one factor a session.

        No ranking needs that factor. The scales of the core's rows go into the state, which is small.
        """
        state = self._integers(graph, graph.op("Mul", state, graph.reshape(self.scales[k], -1)), [1, 2, 3])
        return graph.op("MatMulInteger", state, self.names[k], graph.const(_ZERO, np.uint8))

    def _integers(self, graph: Graph, scaled: str, axes: list[int]) -> str:
        """Rounded so that a session's largest number is 63, or -63: uint8."""
        ends = graph.op("ReduceMax", scaled, axes=axes), graph.op("Neg", graph.op("ReduceMin", scaled, axes=axes))
        largest = graph.op("Max", *ends, graph.number(1e-30))
        steps = graph.op("Mul", scaled, graph.op("Div", graph.number(_HALF_RANGE), largest))
        return graph.op("QuantizeLinear", steps, graph.number(1), graph.const(_ZERO, np.uint8))

    def _slices(self, graph: Graph, k: int, digit: str) -> str:
        """Slices of a core for its grid indices: int64 [..] -> float32 [.., R_{k-1} A_k R_k].

        ONNX Runtime transposes the stored matrix once, when it loads, so that whole rows are gathered.
        """
        left, items, dims, right = self.cores[k].shape
        by_item = graph.op("Transpose", graph.reshape(self.names[k], dims, left, right, items), perm=[3, 1, 0, 2])
        gathered = graph.op("Gather", graph.reshape(by_item, items, -1), digit, axis=0)
        if not self.is_integer:
            return gathered
        # Each of the A_k R_{k-1} scales serves the R_k numbers of its row.
        scale = graph.op("Transpose", graph.reshape(self.scales[k], dims, left, 1), perm=[1, 0, 2])
        scale = graph.op("Expand", scale, graph.const([left, dims, right]))
        return graph.op("Mul", graph.op("Cast", gathered, to=1), graph.reshape(scale, -1))


@table_graph.register
def _(table: SemiTensorTrainEmbedding, precision: Precision) -> TableGraph:
    return TensorTrainTable(table, is_integer=precision == "int8")
