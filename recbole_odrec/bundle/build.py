"""From a trained network to one ONNX model: `item_seq` [batch, length] in, `item_ids` and `scores` [batch, k] out.

Dimension key: B sessions, L positions, D embedding, k items asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple

import numpy as np
import onnx

from recbole_odrec.bundle import encoders, readouts, tables
from recbole_odrec.bundle.graph import BOOL, FLOAT, INT64, Graph, value
from recbole_odrec.bundle.part_graphs import TableGraph, encode, read_out, table_graph
from recbole_odrec.bundle.precision import Precision, store_weights
from recbole_odrec.bundle.repeated import Added, follower_scores, joined, merge_added, nothing, repeat_scores
from recbole_odrec.bundle.user_inputs import ITEMS, SCORES, SESSION, VECTOR, with_user
from recbole_odrec.errors import UserError
from recbole_odrec.nn import Encoder, FollowerScores, ItemTable, Readout, RepeatScores

for folder in (tables, encoders, readouts):  # a file there is an exporter, listed nowhere else
    for module in iter_modules(folder.__path__, f"{folder.__name__}."):
        import_module(module.name)


class SessionValues(NamedTuple):
    """Names of what the graph has worked out about each session.

    Attributes:
        query: its representation [B, D].
        added: items whose scores get something on top of their product, the session's own among them; None for none.
    """

    query: str
    added: Added | None = None


SessionPart = Callable[[Graph, TableGraph, str], SessionValues]  # (graph, table, item_seq)


def build_session_model(
    item_table: ItemTable,
    encoder: Encoder,
    readout: Readout,
    topk: int,
    precision: Precision = "fp32",
    repeat: RepeatScores | None = None,
    followers: FollowerScores | None = None,
    user_size: int = 0,
) -> onnx.ModelProto:
    """The graph of one of our networks (`nn`), student or teacher.

    Args:
        item_table: ids in the graph are its columns: for a table with an item order, id c is the item whose cell is c.
        encoder, readout, repeat, followers: the rest of the network.
        topk: k, at most the number of items N - 1.
        precision: how weights are stored.
        user_size: D for a graph that takes what is known of the user (`bundle.user_state`), 0 for one that does not.

    Raises:
        UserError: a part without an exporter, or one that stores more than the table.
    """
    table = table_graph(item_table, precision)
    if table.n_bytes > item_table.n_bytes:
        raise UserError(
            f"the exporter of table {type(item_table).__name__} stores {table.n_bytes:,} bytes, the table itself is "
            f"{item_table.n_bytes:,}: what was compressed must stay so."
        )

    def session(graph: Graph, table: TableGraph, item_seq: str) -> SessionValues:
        with graph.counted(table):
            rows = table.rows(graph, item_seq)
        hidden = encode(encoder, graph, rows)
        query = read_out(readout, graph, hidden, item_seq, rows)
        if repeat is None and followers is None:
            return SessionValues(query)
        added = repeat_scores(graph, repeat, hidden, item_seq) if repeat else nothing(graph, item_seq)
        if followers is not None:
            added = joined(graph, added, follower_scores(graph, followers, item_table, item_seq))
        return SessionValues(query, added)

    return build_model(table, session, topk, precision, user_size)


def build_model(
    table: TableGraph, session: SessionPart, topk: int, precision: Precision = "fp32", user_size: int = 0
) -> onnx.ModelProto:
    """Joins a session part and an item table: encode, score every item, leave out what must not be served, top-k.

    Padding is never recommended; with `exclude_seen` (optional, false by default) neither are the items of `item_seq`.
    Where fewer than k items are left, the rest of the answer is id 0 with score -inf.

    Raises:
        UserError: the table stores other than it says.
    """
    graph = Graph()
    with graph.counted(table):
        table.store(graph)
    values = session(graph, table, "item_seq")
    inputs = [value("item_seq", INT64, ["batch", "length"]), value("exclude_seen", BOOL, [])]
    outputs = [value("item_ids", INT64, ["batch", topk]), value("scores", FLOAT, ["batch", topk])]
    if user_size:
        inputs += [value(VECTOR, FLOAT, [user_size]), value(ITEMS, INT64, ["known"]), value(SCORES, FLOAT, ["known"])]
        outputs.append(value(SESSION, FLOAT, ["batch", user_size]))
        graph.nodes.append(onnx.helper.make_node("Identity", [values.query], [SESSION]))
        values = SessionValues(*with_user(graph, *values))
    # Item 0 is left out of every session, whether or not it stands in the sequence.
    if values.added:
        # What gets something on top of its product is left out of the catalogue's best and comes back with a score of
        # its own.
        seen, n_seen = values.added.ids, graph.dim(values.added.ids, 1)
    else:
        seen = graph.op("Where", "exclude_seen", "item_seq", graph.const(0))
        n_seen = graph.op("Where", "exclude_seen", graph.dim("item_seq", 1), graph.const(0))
    out = graph.op("Pad", seen, graph.const([0, 0, 0, 1]))  # [B, X + 1]
    n_out = graph.op("Add", n_seen, graph.const(1))
    with graph.counted(table):
        scores, ids = table.best(graph, values.query, out, n_out, topk)
    if graph.bytes_of(table) != table.n_bytes:
        raise UserError(
            f"{type(table).__name__} says that it stores {table.n_bytes:,} bytes and stores {graph.bytes_of(table):,}."
        )
    if values.added:
        with graph.counted(table):
            rows = table.rows(graph, values.added.ids)  # [B, X, D]
        products = graph.op("Mul", rows, graph.op("Unsqueeze", values.query, graph.const([1])))
        products = graph.op("ReduceSum", products, graph.const([2]), keepdims=0)  # [B, X, D] -> [B, X]
        scores, ids = merge_added(graph, scores, ids, products, values.added, topk)
    is_item = graph.op("Greater", scores, graph.number(-np.inf))
    graph.nodes.append(onnx.helper.make_node("Identity", [scores], ["scores"]))
    graph.nodes.append(onnx.helper.make_node("Where", [is_item, ids, graph.const(0)], ["item_ids"]))
    graph.weight("exclude_seen", np.array(False))  # an input with a default
    return store_weights(graph.model(inputs, outputs), precision)
