"""From a trained network to one ONNX model: `item_seq` [batch, length] in, `item_ids` and `scores` [batch, k] out.

Dimension key: B sessions, L positions, D embedding, k items asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from torch import nn

from recbole_odrec.bundle.graph import BOOL, FLOAT, INT64, Graph, value
from recbole_odrec.bundle.item_tables import DenseTable, TensorTrainTable
from recbole_odrec.bundle.networks import encode, read_out
from recbole_odrec.bundle.precision import Precision, store_weights
from recbole_odrec.nn import SemiTensorTrainEmbedding

Table = DenseTable | TensorTrainTable
SessionPart = Callable[[Graph, Table, str], str]  # (graph, table, item_seq) -> session representation [B, D]


def build_session_model(
    item_table: nn.Module, encoder: nn.Module, readout: nn.Module, topk: int, precision: Precision = "fp32"
) -> onnx.ModelProto:
    """The graph of one of our networks (`nn`), student or teacher.

    Args:
        item_table: `SemiTensorTrainEmbedding` or `DenseEmbedding`. Ids in the graph are grid cells: for a table with
            an item order, id c is the item whose cell is c.
        encoder, readout: of `nn.encoder` and `nn.readout`.
        topk: k, at most the number of items N - 1.
        precision: how weights are stored.
    """
    if isinstance(item_table, SemiTensorTrainEmbedding):
        table: Table = TensorTrainTable(item_table, is_integer=precision == "int8")
    else:
        table = DenseTable(item_table.weight.detach().cpu().numpy())

    def session(graph: Graph, table: Table, item_seq: str) -> str:
        hidden = encode(graph, encoder, table.rows(graph, item_seq))
        return read_out(graph, readout, hidden, item_seq)

    return build_model(table, session, topk, precision)


def build_model(table: Table, session: SessionPart, topk: int, precision: Precision = "fp32") -> onnx.ModelProto:
    """Joins a session part and an item table: encode, score every item, leave out what must not be served, top-k.

    Padding is never recommended; with `exclude_seen` (optional, false by default) neither are the items of `item_seq`.
    Where fewer than k items are left, the rest of the answer is id 0 with score -inf.
    """
    graph = Graph()
    table.store(graph)
    query = session(graph, table, "item_seq")
    # Item 0 is left out of every session, whether or not it stands in the sequence.
    seen = graph.op("Where", "exclude_seen", "item_seq", graph.const(0))
    out = graph.op("Pad", seen, graph.const([0, 0, 0, 1]))  # [B, L + 1]
    n_seen = graph.op("Where", "exclude_seen", graph.dim("item_seq", 1), graph.const(0))
    scores, ids = table.best(graph, query, out, graph.op("Add", n_seen, graph.const(1)), topk)
    is_item = graph.op("Greater", scores, graph.number(-np.inf))
    graph.nodes.append(onnx.helper.make_node("Identity", [scores], ["scores"]))
    graph.nodes.append(onnx.helper.make_node("Where", [is_item, ids, graph.const(0)], ["item_ids"]))
    graph.weight("exclude_seen", np.array(False))  # an input with a default
    model = graph.model(
        [value("item_seq", INT64, ["batch", "length"]), value("exclude_seen", BOOL, [])],
        [value("item_ids", INT64, ["batch", topk]), value("scores", FLOAT, ["batch", topk])],
    )
    return store_weights(model, precision)
