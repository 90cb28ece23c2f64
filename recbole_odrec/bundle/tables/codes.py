"""Product codes in the graph.

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included), M codebooks, K entries of each,
W = D / M, P x Q grid of cells.
"""

from __future__ import annotations

import numpy as np

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.part_graphs import TableGraph, table_graph
from recbole_odrec.bundle.precision import Precision, quantize_rows
from recbole_odrec.nn import ProductCodesEmbedding

_ROW = 1024  # Q, for many items


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
        if self.n_joined > 1:  # in rows, whose maxima spare `best_cells` the most of the scores
            self.shape = (-(-self.n_items // _ROW), _ROW)
            self.n_items = self.shape[0] * _ROW  # the last cells have no item, and a score of -inf

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
        """[B, D] -> [B, P, Q]."""
        parts = graph.op("Transpose", graph.reshape(query, 0, self.n_codes, -1), perm=[1, 2, 0])  # [M, W, B]
        products = graph.op("Transpose", graph.op("MatMul", self.books_name, parts), perm=[2, 0, 1])  # [B, M, K]
        joined = [range(m, min(m + self.n_joined, self.n_codes)) for m in range(0, self.n_codes, self.n_joined)]
        cells = [self._cells(graph, books) for books in joined]

        def of_a_session(row: str) -> str:  # [M, K] -> [P Q]
            scores = ""
            for books, cell in zip(joined, cells, strict=True):
                # GatherElements: several times as fast as Gather, which copies number by number.
                looked_up = graph.op("GatherElements", self._sums(graph, row, books), cell)
                scores = graph.op("Add", scores, looked_up) if scores else looked_up
            return scores

        scores = graph.each(products, self.books.shape[:2], of_a_session)
        return graph.reshape(scores, 0, *((1, self.n_items) if self.n_joined == 1 else (-1, _ROW)))

    def _sums(self, graph: Graph, products: str, books: range) -> str:
        """Sums of these codebooks' products, [M, K] -> [K] or [K K]; behind those of the first in a grid, -inf."""
        sums = ""
        for m in books:
            book = graph.op("Gather", products, graph.const(m))
            sums = graph.op("Add", graph.reshape(sums, -1, 1), book) if sums else book
        if self.n_joined == 1:
            return sums
        sums = graph.reshape(sums, -1)
        return sums if books[0] else graph.op("Concat", sums, graph.const([-np.inf], np.float32), axis=0)

    def _cells(self, graph: Graph, books: range) -> str:
        """Where in these sums each item finds its own, int32 [P Q]: worked out once, when ONNX Runtime loads it."""
        place, n_sums = "", 1
        for m in books:
            code = graph.op("Cast", graph.op("Gather", self.codes_name, graph.const(m)), to=6)
            entries = self.books.shape[1]
            above = graph.op("Mul", place, graph.const(entries, np.int32)) if place else ""
            place, n_sums = graph.op("Add", above, code) if above else code, n_sums * entries
        if self.n_joined == 1:
            return place
        n_empty = graph.op("Mod", graph.op("Neg", graph.op("Shape", place)), graph.const([_ROW]))
        behind = graph.op("Concat", graph.const([0]), n_empty, axis=0)
        return graph.op("Pad", place, behind, graph.const(0 if books[0] else n_sums, np.int32))


@table_graph.register
def _(table: ProductCodesEmbedding, precision: Precision) -> TableGraph:
    return CodesTable(table)
