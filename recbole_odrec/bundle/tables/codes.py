"""Product codes in the graph.

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included), M codebooks, K entries of each,
W = D / M, P x Q grid of cells, for many items in tiles of `height` rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from recbole_odrec.bundle.graph import FLOAT, INT32, UINT16, Graph
from recbole_odrec.bundle.part_graphs import TableGraph, table_graph
from recbole_odrec.bundle.precision import Precision, quantize_rows
from recbole_odrec.bundle.top_k import Rows, filled, first, gather_rows
from recbole_odrec.nn import ProductCodesEmbedding

_ROW = 1024  # Q, for many items
_TILE = 64  # rows at a time: their scores stay in a core's own cache while they add up


class CodesTable(TableGraph):
    """Product codes: a session meets each codebook once, an item's score is a sum of looked-up products.

    The codebooks are stored as the 8-bit integers that training has seen, whatever the precision of the rest.

    Args:
        table: the trained module.
    """

    def __init__(self, table: ProductCodesEmbedding) -> None:
        super().__init__(table.n_items, table.n_bytes)
        self.n_codes = table.n_codes
        self.codes = table.codes.cpu().numpy().T.copy()  # [M, N]
        self.books = table.rounded_codebooks().detach().cpu().numpy()  # [M, K, W]
        # Two codebooks make one table of K x K sums, which saves every other look-up: worth it for as many items.
        self.n_joined = 2 if self.n_items > self.books.shape[1] ** 2 else 1
        self.height = 0
        if self.n_joined > 1:  # in rows, whose maxima spare `best_cells` the most of the scores
            self.shape = (-(-self.n_items // _ROW), _ROW)
            self.height = -(-self.shape[0] // -(-self.shape[0] // _TILE))  # rows of a tile

    def store(self, graph: Graph) -> None:
        """Puts codes and codebooks into the graph."""
        integers, scale = quantize_rows(self.books)
        books = graph.op("Cast", graph.weight("codebooks", integers), to=1)
        self.books_name = graph.op("Mul", books, graph.weight("codebooks.scale", scale))  # [M, K, W]
        self.codes_name = graph.weight("codes", self.codes)

    def rows(self, graph: Graph, item_seq: str) -> str:
        """int64 [B, L] -> [B, L, D]; padding gets some row, which no causal encoder looks at."""
        codes = graph.op("Cast", graph.op("Gather", self.codes_name, item_seq, axis=1), to=7)  # [M, B, L]
        entries = self.books.shape[1]
        first = graph.reshape(graph.op("Mul", graph.const_range(self.n_codes), graph.const(entries)), -1, 1, 1)
        flat = graph.reshape(self.books_name, -1, self.books.shape[2])  # [M K, W]
        parts = graph.op("Gather", flat, graph.op("Add", codes, first))  # [M, B, L, W]
        parts = graph.op("Transpose", parts, perm=[1, 2, 0, 3])
        return graph.reshape(parts, 0, 0, -1)

    def scores(self, graph: Graph, query: str) -> str:
        """[B, D] -> [B, 1, N], of few items."""
        return graph.reshape(self._each(graph, query), 0, 1, self.n_items)

    def best(self, graph: Graph, query: str, out: str, n_out: str, k: int) -> tuple[str, str]:
        """As of any table; of many items, the maxima of rows are taken while their scores are at hand."""
        if self.n_joined == 1:
            return super().best(graph, query, out, n_out, k)
        grid, maxima = self._each(graph, query)  # [B, tiles, height, Q], [B, tiles, height]
        # The number of items is read from the codes: a table that has grown is the same graph.
        n_items = graph.reshape(graph.dim(self.codes_name, 1), 1)
        n_others, end = filled(graph, n_items, _ROW)
        grid = graph.reshape(grid, 0, -1, _ROW)

        def cells_at(rows: str) -> str:
            return first(graph, graph.reshape(gather_rows(graph, grid, rows), 0, -1), end)

        rows = Rows(first(graph, graph.reshape(maxima, 0, -1), n_others), cells_at)
        return self.best_of(graph, rows, out, n_out, k)

    def _each(self, graph: Graph, query: str) -> Any:
        """Scores of each session [B, N], or of many items [B, tiles, height, Q] and the maxima of rows."""
        parts = graph.op("Transpose", graph.reshape(query, 0, self.n_codes, -1), perm=[1, 2, 0])  # [M, W, B]
        products = graph.op("Transpose", graph.op("MatMul", self.books_name, parts), perm=[2, 0, 1])  # [B, M, K]
        joined = [range(m, min(m + self.n_joined, self.n_codes)) for m in range(0, self.n_codes, self.n_joined)]
        places = [self._places(graph, books) for books in joined]

        def scores(sums: Sequence[str], places: Sequence[str]) -> str:
            # GatherElements: several times as fast as Gather, which copies number by number.
            looked_up = [graph.op("GatherElements", *pair) for pair in zip(sums, places, strict=True)]
            return reduce(lambda some, more: graph.op("Add", some, more), looked_up)

        def of_a_session(row: str) -> list[str]:  # [M, K]
            sums = [self._sums(graph, row, books) for books in joined]
            if self.n_joined == 1:
                return [scores(sums, places)]

            def of_a_tile(*tile: str) -> list[str]:
                grid = scores(sums, [graph.op("Cast", place, to=INT32) for place in tile])
                grid = graph.reshape(grid, self.height, _ROW)
                return [grid, graph.op("ReduceMax", grid, axes=[1], keepdims=0)]

            return graph.each([(place, UINT16, [self.height * _ROW]) for place in places], of_a_tile)

        return graph.each([(products, FLOAT, self.books.shape[:2])], of_a_session)

    def _sums(self, graph: Graph, products: str, books: range) -> str:
        """Sums of these codebooks' products, [M, K] -> [K] or [K K]."""
        sums = ""
        for m in books:
            book = graph.op("Gather", products, graph.const(m))
            sums = graph.op("Add", graph.reshape(sums, -1, 1), book) if sums else book
        return graph.reshape(sums, -1) if len(books) > 1 else sums

    def _places(self, graph: Graph, books: range) -> str:
        """Where in these sums each item finds its own, worked out once, when ONNX Runtime loads it.

        int32 [N]; of many items uint16 [tiles, height Q], for this much is read for every answer.
        """
        place = ""
        for m in books:
            code = graph.op("Cast", graph.op("Gather", self.codes_name, graph.const(m)), to=INT32)
            above = graph.op("Mul", place, graph.const(self.books.shape[1], np.int32)) if place else ""
            place = graph.op("Add", above, code) if above else code
        if self.n_joined == 1:
            return place
        size = self.height * _ROW
        n_empty = graph.op("Mod", graph.op("Neg", graph.op("Shape", place)), graph.const([size]))
        behind = graph.op("Concat", graph.const([0]), n_empty, axis=0)
        return graph.reshape(graph.op("Cast", graph.op("Pad", place, behind), to=UINT16), -1, size)


@table_graph.register
def _(table: ProductCodesEmbedding, precision: Precision) -> TableGraph:
    return CodesTable(table)
