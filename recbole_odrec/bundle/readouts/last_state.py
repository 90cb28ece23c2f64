"""The last state in the graph.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.layers import last_position
from recbole_odrec.bundle.part_graphs import read_out
from recbole_odrec.nn import LastStateReadout


@read_out.register
def _(readout: LastStateReadout, graph: Graph, hidden: str, item_seq: str, rows: str) -> str:
    mask = graph.op("Cast", graph.op("Greater", item_seq, graph.const(0)), to=7)
    return graph.op("GatherND", hidden, last_position(graph, mask), batch_dims=1)
