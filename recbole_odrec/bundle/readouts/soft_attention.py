"""Soft attention in the graph.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.layers import linear
from recbole_odrec.bundle.part_graphs import read_out
from recbole_odrec.nn import SoftAttentionReadout


@read_out.register
def _(readout: SoftAttentionReadout, graph: Graph, hidden: str, item_seq: str, rows: str) -> str:
    mask = graph.op("Cast", graph.op("Greater", item_seq, graph.const(0)), to=1)
    counted = graph.op("Unsqueeze", mask, graph.const([1]))  # [B, 1, L]
    n_items = graph.op("Max", graph.op("ReduceSum", counted, graph.const([2])), graph.number(1))  # [B, 1, 1]
    mean = graph.op("Div", graph.op("MatMul", counted, hidden), n_items)  # [B, 1, L] x [B, L, D] -> [B, 1, D]
    gate = linear(graph, graph.op("Tanh", hidden), "readout.position_weight", readout.position_weight)
    gate = graph.op("Add", gate, linear(graph, mean, "readout.session_weight", readout.session_weight))  # [B, L, D]
    weight = linear(graph, graph.op("Sigmoid", gate), "readout.attention", readout.attention)  # [B, L, 1]
    weight = graph.op("Mul", graph.op("Transpose", weight, perm=[0, 2, 1]), counted)  # [B, 1, L]
    return graph.op("Squeeze", graph.op("MatMul", weight, hidden), graph.const([1]))
