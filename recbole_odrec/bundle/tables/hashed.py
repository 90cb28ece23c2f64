"""Rows that items share, in the graph.

Dimension key: B sessions, L positions, D embedding, R remainders, Q quotients.
"""

from __future__ import annotations

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.part_graphs import TableGraph, table_graph
from recbole_odrec.bundle.precision import Precision
from recbole_odrec.nn.tables.hashed import HashedEmbedding


class HashedTable(TableGraph):
    """Rows of remainders, by rows of quotients where there are any; scores stand in a grid of both.

    Args:
        table: the trained module.
    """

    def __init__(self, table: HashedEmbedding) -> None:
        super().__init__(table.n_items, table.n_bytes)
        self.parts = {name: part.detach().cpu().numpy() for name, part in table.named_parameters()}
        self.shape = (table.n_quotients, len(table.remainders))

    def store(self, graph: Graph) -> None:
        """Puts both tables into the graph."""
        self.names = {name: graph.weight(f"item_table.{name}", part) for name, part in self.parts.items()}

    def rows(self, graph: Graph, item_seq: str) -> str:
        """int64 [B, L] -> [B, L, D]."""
        n_remainders = graph.const(self.shape[1])
        rows = graph.op("Gather", self.names["remainders"], graph.op("Mod", item_seq, n_remainders))
        if "quotients" not in self.names:
            return rows
        return graph.op(
            "Mul", rows, graph.op("Gather", self.names["quotients"], graph.op("Div", item_seq, n_remainders))
        )

    def scores(self, graph: Graph, query: str) -> str:
        """[B, D] -> [B, Q, R]."""
        dim = self.parts["remainders"].shape[1]
        if "quotients" in self.names:
            query = graph.op("Mul", graph.reshape(query, -1, 1, dim), self.names["quotients"])
            query = graph.reshape(query, -1, dim)  # [B Q, D]
        scores = graph.op("Gemm", query, self.names["remainders"], transB=1)
        if "quotients" in self.names:
            return graph.reshape(scores, -1, *self.shape)
        return graph.op("Tile", graph.reshape(scores, 0, 1, -1), graph.const([1, self.shape[0], 1]))


@table_graph.register
def _(table: HashedEmbedding, precision: Precision) -> TableGraph:
    return HashedTable(table)
