"""Items whose scores get something on top of their product: a session's own and those that follow its items; and the
merge with the catalogue's best.

Dimension key: B sessions, L positions, D embedding, k items asked for, X items with something on top, F followers, R
positions that speak for them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from recbole_odrec.bundle.graph import BOOL, FLOAT, INT64, Graph
from recbole_odrec.bundle.layers import SessionEnd, array, last_position, linear
from recbole_odrec.bundle.part_graphs import the_k_best
from recbole_odrec.nn import FollowerScores, ItemTable, RepeatScores


class Added(NamedTuple):
    """Names of ids [B, X], 0 for none, and of what each adds to that item's score [B, X]."""

    ids: str
    values: str


def repeat_scores(graph: Graph, repeat: RepeatScores, hidden: str, item_seq: str) -> Added:
    """What each position adds to the score of its own item, 0 on padding: X = L."""
    end = SessionEnd(graph, hidden, item_seq)
    added = graph.op("Add", end.match(repeat, "repeat"), linear(graph, end.state, "repeat.level", repeat.level))
    return Added(item_seq, graph.op("Where", end.is_behind, graph.number(0), added))


def follower_scores(graph: Graph, followers: FollowerScores, table: ItemTable, item_seq: str) -> Added:
    """What the last positions add to the scores of their items' followers: X = R * F.

    Ids in the graph are columns of the table, and so are they here.
    """
    every_item = torch.arange(table.n_items, device=followers.items.device)
    items_of = table.columns_of(every_item).argsort()  # the item of each column
    ids = table.columns_of(followers.items[items_of].long())
    strengths = graph.weight("followers.strengths", array(followers.strengths[items_of]))
    last = last_position(graph, graph.op("Cast", graph.op("Greater", item_seq, graph.const(0)), to=INT64))
    gains = graph.weight("followers.gains", array(followers.gains))  # [R]
    n_back = graph.const_range(len(followers.gains))
    position = graph.op("Sub", last, n_back)  # [B, R]
    is_there = graph.op("Not", graph.op("Less", position, graph.const(0)))
    item = graph.op("GatherElements", item_seq, graph.op("Max", position, graph.const(0)), axis=1)
    item = graph.op("Where", is_there, item, graph.const(0))  # whose followers are none
    ids, strength = _ids(graph, array(ids), item), graph.op("Gather", strengths, item)  # [B, R, F] each
    strength = graph.op("Cast", strength, to=FLOAT)
    strength = graph.op("Div", strength, graph.number(255))
    added = graph.op("Mul", strength, graph.op("Unsqueeze", gains, graph.const([1])))
    return Added(*(graph.reshape(name, 0, -1) for name in (ids, added)))


def _ids(graph: Graph, ids: np.ndarray, item: str) -> str:
    """Rows of ids [N, F], stored in as few bytes as they take: two, and one or two more of many items."""
    low = graph.weight("followers.ids", (ids & 0xFFFF).astype(np.uint16))
    found = graph.op("Cast", graph.op("Gather", low, item), to=INT64)
    if len(ids) <= 2**16:
        return found
    high = (ids >> 16).astype(np.uint8 if len(ids) <= 2**24 else np.uint16)
    above = graph.op("Cast", graph.op("Gather", graph.weight("followers.ids.high", high), item), to=INT64)
    return graph.op("Add", found, graph.op("Mul", above, graph.const(2**16)))


def nothing(graph: Graph, item_seq: str) -> Added:
    """The session's own items, with nothing added: X = L."""
    return Added(item_seq, graph.op("Mul", graph.op("Cast", item_seq, to=FLOAT), graph.number(0)))


def joined(graph: Graph, first: Added, second: Added) -> Added:
    """Both as one."""
    return Added(*(graph.op("Concat", *names, axis=1) for names in zip(first, second, strict=True)))


def merge_added(graph: Graph, scores: str, ids: str, products: str, added: Added, k: int) -> tuple[str, str]:
    """The k best of two lists: the catalogue without the items that something is added to, and these.

    What is added to an item more than once adds up, and it stands in the list once; with `exclude_seen` an item of the
    session not at all.

    Args:
        graph: written to; `item_seq` and `exclude_seen` are its inputs.
        scores, ids: best of the catalogue [B, k], the items of `added` left out.
        products: of the session with each of these [B, X].
        added: to their scores.
        k: how many.

    Returns:
        Scores [B, k], descending, and ids [B, k].
    """
    places = graph.dim(added.ids, 1)
    is_same = _equal(graph, added.ids, added.ids)  # [B, X, X]
    summed = graph.op(
        "MatMul", graph.op("Cast", is_same, to=FLOAT), graph.op("Unsqueeze", added.values, graph.const([2]))
    )
    own = graph.op("Add", products, graph.op("Squeeze", summed, graph.const([2])))  # [B, X]
    steps = graph.arange(places)
    is_earlier = graph.op("Less", graph.reshape(steps, 1, -1), graph.reshape(steps, -1, 1))  # [X, X]
    is_again = _any(graph, graph.op("And", is_same, is_earlier))
    is_left_out = graph.op("Or", is_again, graph.op("Equal", added.ids, graph.const(0)))
    is_seen = _any(graph, _equal(graph, added.ids, "item_seq"))
    is_left_out = graph.op("Or", is_left_out, graph.op("And", is_seen, "exclude_seen"))
    own = graph.op("Where", is_left_out, graph.number(-np.inf), own)
    both = graph.op("Concat", ids, added.ids, axis=1)  # [B, k + X]
    count = graph.reshape(graph.dim(both, 1), 1)
    both, order = graph.op("TopK", both, count, n_outputs=2, axis=1, largest=0)  # so that ties go to the lower id
    values = graph.op("GatherElements", graph.op("Concat", scores, own, axis=1), order, axis=1)
    return the_k_best(graph, values, both, k)


def _equal(graph: Graph, rows: str, columns: str) -> str:
    """[B, X], [B, Y] -> bool [B, X, Y]."""
    return graph.op(
        "Equal", graph.op("Unsqueeze", rows, graph.const([2])), graph.op("Unsqueeze", columns, graph.const([1]))
    )


def _any(graph: Graph, flags: str) -> str:
    """bool [B, X, Y] -> [B, X]."""
    found = graph.op("ReduceMax", graph.op("Cast", flags, to=6), axes=[2], keepdims=0)  # int32, as opset 17 has it
    return graph.op("Cast", found, to=BOOL)
