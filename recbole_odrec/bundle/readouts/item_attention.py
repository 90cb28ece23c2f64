"""The mixture of a session's items in the graph.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

import numpy as np

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.layers import SessionEnd, linear
from recbole_odrec.bundle.part_graphs import read_out
from recbole_odrec.nn import ItemAttentionReadout


@read_out.register
def _(readout: ItemAttentionReadout, graph: Graph, hidden: str, item_seq: str, rows: str) -> str:
    end = SessionEnd(graph, hidden, item_seq)
    logit = end.match(readout, "readout")
    weight = graph.op("Softmax", graph.op("Where", end.is_behind, graph.number(-np.inf), logit), axis=-1)  # [B, L]
    mixed = graph.op("MatMul", graph.op("Unsqueeze", weight, graph.const([1])), rows)  # [B, 1, L] x [B, L, D]
    session = graph.op("Squeeze", mixed, graph.const([1]))
    session = graph.op("Add", session, linear(graph, end.state, "readout.state", readout.state))
    size = graph.op("Max", graph.op("ReduceL2", session, axes=[1], keepdims=1), graph.number(1e-12))
    return graph.op("Mul", graph.op("Div", session, size), graph.number(readout.log_scale.exp().item()))
