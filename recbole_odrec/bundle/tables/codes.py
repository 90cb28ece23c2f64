"""Product codes in the graph.

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included), M codebooks, K entries of each,
W = D / M.
"""

from __future__ import annotations

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.part_graphs import TableGraph, table_graph
from recbole_odrec.bundle.precision import Precision, quantize_rows
from recbole_odrec.nn import ProductCodesEmbedding


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
        """[B, D] -> [B, 1, N]."""
        parts = graph.op("Transpose", graph.reshape(query, 0, self.n_codes, -1), perm=[1, 2, 0])  # [M, W, B]
        products = graph.op("Transpose", graph.op("MatMul", self.books_name, parts), perm=[0, 2, 1])  # [M, B, K]
        scores = ""
        for m in range(self.n_codes):
            book = graph.op("Gather", products, graph.const(m))  # [B, K]
            code = graph.op("Cast", graph.op("Gather", self.codes_name, graph.const(m)), to=6)  # int32 [N]
            looked_up = graph.op("Gather", book, code, axis=1)  # [B, N]
            scores = graph.op("Add", scores, looked_up) if m else looked_up
        return graph.reshape(scores, 0, 1, self.n_items)


@table_graph.register
def _(table: ProductCodesEmbedding, precision: Precision) -> TableGraph:
    return CodesTable(table)
