"""A full table in the graph.

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included).
"""

from __future__ import annotations

import numpy as np

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.part_graphs import TableGraph, table_graph
from recbole_odrec.bundle.precision import Precision
from recbole_odrec.nn import DenseEmbedding


class DenseTable(TableGraph):
    """A full table [N, D], scored by one product.

    Args:
        weight: [N, D] float32.
        scale: constant factor of every score.
        is_normalized: score with rows of length one (CORE), embed with the rows as they are.
    """

    def __init__(self, weight: np.ndarray, scale: float = 1.0, is_normalized: bool = False) -> None:
        super().__init__(len(weight), weight.nbytes + (4 * len(weight) if is_normalized else 0))
        self.weight, self.scale, self.is_normalized = weight, scale, is_normalized

    def store(self, graph: Graph) -> None:
        """Puts the table into the graph."""
        self.name = graph.weight("item_table", self.weight)

    def rows(self, graph: Graph, item_seq: str) -> str:
        """int64 [B, L] -> [B, L, D]."""
        return graph.op("Gather", self.name, item_seq)

    def scores(self, graph: Graph, query: str) -> str:
        """[B, D] -> [B, 1, N]."""
        scores = graph.op("Gemm", query, self.name, transB=1, alpha=self.scale)  # [B, D] x [D, N] -> [B, N]
        if self.is_normalized:
            lengths = np.linalg.norm(self.weight, axis=1).clip(min=1e-12)
            scores = graph.op("Mul", scores, graph.weight("item_scale", (1 / lengths).astype(np.float32)))
        return graph.reshape(scores, 0, 1, self.n_items)


@table_graph.register
def _(table: DenseEmbedding, precision: Precision) -> TableGraph:
    return DenseTable(table.to_matrix().detach().cpu().numpy())
