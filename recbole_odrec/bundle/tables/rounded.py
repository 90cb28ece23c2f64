"""Few columns of 8 or 4 bits and their projection, in the graph.

Of many items the integers stay integers: a session's query, projected and with the steps in it, gets 8 bits, and their
products say which rows of items can hold the best. Those few are scored in float32, exactly: how far an 8-bit query can
be off is known, and every row within it is taken (`Rows.slack`).

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included), C columns stored, S bytes of an
item (C, or C / 2), P x Q grid of cells, R rows of it, T cells of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recbole_odrec.bundle.graph import FLOAT, INT8, INT32, Graph
from recbole_odrec.bundle.part_graphs import TableGraph, table_graph
from recbole_odrec.bundle.precision import Precision, quantize_rows
from recbole_odrec.bundle.top_k import Rows, filled, first
from recbole_odrec.four_bits import ZERO_OF_4_BITS, in_halves
from recbole_odrec.nn.tables.rounded import RoundedEmbedding

_FEWEST = 2**16  # items that are many
_ROW = 128  # Q, of many items
_TILE = 2**18  # cells whose products are there at a time: a megabyte, which a core's own cache holds
# Queries of 8 bits, but 7 for integers of 8: on processors whose 8-bit products add up in 16 bits, nothing saturates.
_HALF_RANGE = {4: 127, 8: 63}


class RoundedTable(TableGraph):
    """The integers that training has seen, whatever the precision of the rest; a query is projected, not the rows.

    Args:
        table: the trained module.
    """

    def __init__(self, table: RoundedEmbedding) -> None:
        super().__init__(table.n_items, table.n_bytes)
        self.bits = table.bits
        self.integers = table.integers(table.weight).cpu().numpy().astype(np.int8)  # [N, C]
        self.steps, self.projection = (
            part.detach().cpu().numpy() for part in (table.steps(), table.rounded_projection())
        )

    def store(self, graph: Graph) -> None:
        """Puts integers, steps and projection into the graph; two columns of 4 bits share a byte."""
        self.bytes_name = graph.weight("item_table", self.integers if self.bits == 8 else in_halves(self.integers))
        self.steps_name = graph.weight("item_table.step", self.steps)
        integers, scale = quantize_rows(self.projection)
        projection = graph.op("Cast", graph.weight("item_table.projection", integers), to=FLOAT)
        self.projection_name = graph.op("Mul", projection, graph.weight("item_table.projection.scale", scale))
        self._ready(graph)

    def _ready(self, graph: Graph) -> None:
        """What is worked out of that once, when ONNX Runtime loads it."""
        self.columns_name = self._columns(graph, self.bytes_name)  # [N, C]

    def rows(self, graph: Graph, item_seq: str) -> str:
        """int64 [B, L] -> [B, L, D]."""
        return graph.op("MatMul", graph.op("Gather", self.columns_name, item_seq), self.projection_name)

    def scores(self, graph: Graph, query: str) -> str:
        """[B, D] -> [B, 1, N]."""
        query = graph.op("Gemm", query, self.projection_name, transB=1)  # [B, C]
        return graph.reshape(graph.op("Gemm", query, self.columns_name, transB=1), 0, 1, self.n_items)

    def _columns(self, graph: Graph, stored: str) -> str:
        """Bytes [.., S] -> what the projection takes, float32 [.., C]."""
        return graph.op("Mul", self._floats(graph, stored), self.steps_name)

    def _floats(self, graph: Graph, stored: str) -> str:
        """Bytes [.., S] -> integers in float32 [.., C]."""
        integers = self._integers(graph, stored)
        if self.bits == 8:
            return graph.op("Cast", integers, to=FLOAT)
        return graph.op("DequantizeLinear", integers, graph.number(1), graph.const(ZERO_OF_4_BITS, np.uint8))

    def _integers(self, graph: Graph, stored: str, axis: int = -1) -> str:
        """Bytes [.., S] -> integers [.., C]; of 4 bits uint8, and `ZERO_OF_4_BITS` too high."""
        if self.bits == 8:
            return stored
        four = graph.const(4, np.uint8)
        high = graph.op("BitShift", stored, four, direction="RIGHT")
        low = graph.op("BitShift", graph.op("BitShift", stored, four, direction="LEFT"), four, direction="RIGHT")
        return graph.op("Concat", high, low, axis=axis)


class ManyRoundedTable(RoundedTable):
    """The same table of many items, which stay the bytes that are stored, and integers beside them."""

    def __init__(self, table: RoundedEmbedding) -> None:
        super().__init__(table)
        self.shape = (-(-self.n_items // _ROW), _ROW)

    def _ready(self, graph: Graph) -> None:
        self.n_items_name = graph.reshape(graph.dim(self.bytes_name, 0), 1)  # a table that has grown is the same graph

    def rows(self, graph: Graph, item_seq: str) -> str:
        """int64 [B, L] -> [B, L, D]."""
        stored = graph.op("Gather", self.bytes_name, item_seq)
        return graph.op("MatMul", self._columns(graph, stored), self.projection_name)

    def best(self, graph: Graph, query: str, out: str, n_out: str, k: int) -> tuple[str, str]:
        """As of any table; the integers say which rows of the grid are scored in float32."""
        query = graph.op("Gemm", query, self.projection_name, transB=1)
        query = graph.op("Mul", query, self.steps_name)  # [B, C]
        n_others, end = filled(graph, self.n_items_name, _ROW)
        last_item = graph.op("Sub", self.n_items_name, graph.const([1]))

        def cells_at(rows: str) -> str:
            cells = graph.op("Mul", graph.op("Unsqueeze", rows, graph.const([2])), graph.const(_ROW))
            cells = graph.op("Add", cells, graph.const_range(_ROW))  # [B, R, Q]
            cells = graph.reshape(graph.op("Min", cells, last_item), 0, -1)
            integers = self._floats(graph, graph.op("Gather", self.bytes_name, cells))  # [B, R Q, C]
            scores = graph.op("MatMul", integers, graph.op("Unsqueeze", query, graph.const([2])))
            return first(graph, graph.reshape(scores, 0, -1), end)

        half, tiles = _HALF_RANGE[self.bits], self._tiles(graph)
        largest = graph.op("ReduceMax", graph.op("Abs", query), axes=[1])
        largest = graph.op("Max", largest, graph.number(1e-30))
        rounded, rest = self._in_8_bits(graph, graph.op("Mul", query, graph.op("Div", graph.number(half), largest)))

        def finer() -> tuple[str, str]:
            """With what the first 8 bits leave of the query in 8 more, of steps so many times smaller."""
            times = 2 * half
            second, left = self._in_8_bits(graph, graph.op("Mul", rest, graph.number(times)))
            maxima = self._maxima(graph, tiles, rounded, second, graph.const(times, np.int32))
            return first(graph, maxima, n_others), self._slack(graph, left, 2 + self.integers.shape[1])

        maxima = first(graph, self._maxima(graph, tiles, rounded), n_others)
        rows = Rows(maxima, cells_at, self._slack(graph, rest, 2), finer)
        return self.best_of(graph, rows, out, n_out, k)

    def _in_8_bits(self, graph: Graph, query: str) -> tuple[str, str]:
        """[B, C], at most `_HALF_RANGE` in size -> the nearest whole numbers, uint8, and what they lack."""
        zero = self._zero(graph)
        rounded = graph.op("QuantizeLinear", query, graph.number(1), zero)
        return rounded, graph.op("Sub", query, graph.op("DequantizeLinear", rounded, graph.number(1), zero))

    def _zero(self, graph: Graph) -> str:
        return graph.const(_HALF_RANGE[self.bits] + 1, np.uint8)

    def _slack(self, graph: Graph, error: str, of_floats: float) -> str:
        """Twice what products can be off that lack so much of the query, [B, C] -> int32 [B, 1]."""
        most = graph.op("ReduceSum", graph.op("Abs", error), graph.const([1]))  # a step of the table each
        most = graph.op("Mul", most, graph.number(2 * (2 ** (self.bits - 1) - 1)))
        return graph.op("Cast", graph.op("Add", most, graph.number(of_floats)), to=INT32)  # float32 rounds, too

    def _maxima(
        self, graph: Graph, tiles: Sequence[str], rounded: str, second: str | None = None, times: str = ""
    ) -> str:
        """Of the grid's rows, by a query [B, C] in 8 bits, or in so many times it and a second one: int32 [B, P]."""
        zeros = [self._zero(graph)] + ([graph.const(ZERO_OF_4_BITS, np.int8)] if self.bits == 4 else [])
        maxima = []
        for tile in tiles:
            products = graph.op("MatMulInteger", rounded, tile, *zeros)  # [B, C] x [C, T] -> [B, T]
            if second is not None:
                products = graph.op("Mul", products, times)
                products = graph.op("Add", products, graph.op("MatMulInteger", second, tile, *zeros))
            maxima.append(graph.op("ReduceMax", graph.reshape(products, 0, -1, _ROW), axes=[2], keepdims=0))
        return graph.op("Concat", *maxima, axis=1)

    def _tiles(self, graph: Graph) -> list[str]:
        """The integers column by column, int8 [C, T] each, worked out once, when ONNX Runtime loads it.

        The last one has the rest, however many there are, and what its last row lacks.
        """
        n_tiles = -(-self.n_items // _TILE)
        n_empty = graph.op("Mod", graph.op("Neg", self.n_items_name), graph.const([_ROW]))
        tiles = []
        for start in range(0, n_tiles * _TILE, _TILE):
            is_last = start + _TILE >= n_tiles * _TILE
            end = np.iinfo(np.int64).max if is_last else start + _TILE
            tile = graph.op("Slice", self.bytes_name, graph.const([start]), graph.const([end]), graph.const([0]))
            tile = graph.op("Transpose", tile, perm=[1, 0])  # [S, T]
            if is_last:
                behind = graph.op("Concat", graph.const([0, 0, 0]), n_empty, axis=0)
                tile = graph.op("Pad", tile, behind)
            tiles.append(graph.op("Cast", self._integers(graph, tile, 0), to=INT8))
        return tiles


@table_graph.register
def _(table: RoundedEmbedding, precision: Precision) -> TableGraph:
    return ManyRoundedTable(table) if table.n_items > _FEWEST else RoundedTable(table)
