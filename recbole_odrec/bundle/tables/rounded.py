"""Few columns of 8 or 4 bits and their projection, in the graph.

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included), C columns stored.
"""

from __future__ import annotations

import numpy as np

from recbole_odrec.bundle.graph import INT32, Graph
from recbole_odrec.bundle.part_graphs import TableGraph, table_graph
from recbole_odrec.bundle.precision import Precision, quantize_rows
from recbole_odrec.nn.tables.rounded import RoundedEmbedding


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
        if self.bits == 8:
            integers = graph.weight("item_table", self.integers)
        else:
            high, low = np.split((self.integers + 8).astype(np.uint8), 2, axis=1)
            both = graph.op("Cast", graph.weight("item_table", high * 16 + low), to=INT32)
            halves = [graph.op(kind, both, graph.const(16, np.int32)) for kind in ("Div", "Mod")]
            integers = graph.op("Sub", graph.op("Concat", *halves, axis=1), graph.const(8, np.int32))
        integers = graph.op("Cast", integers, to=1)
        self.name = graph.op("Mul", integers, graph.weight("item_table.step", self.steps))  # [N, C]
        integers, scale = quantize_rows(self.projection)
        projection = graph.op("Cast", graph.weight("item_table.projection", integers), to=1)
        self.projection_name = graph.op("Mul", projection, graph.weight("item_table.projection.scale", scale))

    def rows(self, graph: Graph, item_seq: str) -> str:
        """int64 [B, L] -> [B, L, D]."""
        return graph.op("MatMul", graph.op("Gather", self.name, item_seq), self.projection_name)

    def scores(self, graph: Graph, query: str) -> str:
        """[B, D] -> [B, 1, N]."""
        query = graph.op("Gemm", query, self.projection_name, transB=1)  # [B, C]
        return graph.reshape(graph.op("Gemm", query, self.name, transB=1), 0, 1, self.n_items)


@table_graph.register
def _(table: RoundedEmbedding, precision: Precision) -> TableGraph:
    return RoundedTable(table)
