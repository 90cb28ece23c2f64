"""A session's own items in the graph: what repetition adds to their scores, and the merge with the catalogue's best.

Dimension key: B sessions, L positions, D embedding, k items asked for.
"""

from __future__ import annotations

import numpy as np

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.layers import SessionEnd, linear
from recbole_odrec.nn import RepeatScores


def repeat_scores(graph: Graph, repeat: RepeatScores, hidden: str, item_seq: str) -> str:
    """What each position adds to the score of its item: [B, L, D], [B, L] -> [B, L], 0 on padding."""
    end = SessionEnd(graph, hidden, item_seq)
    added = graph.op("Add", end.match(repeat, "repeat"), linear(graph, end.state, "repeat.level", repeat.level))
    return graph.op("Where", end.is_behind, graph.number(0), added)


def merge_repeated(graph: Graph, scores: str, ids: str, products: str, added: str, k: int) -> tuple[str, str]:
    """The k best of two lists: the catalogue without the session's items, and the session's items.

    An item's positions add up, and it stands in the list once; with `exclude_seen` not at all.

    Args:
        graph: written to; `item_seq` and `exclude_seen` are its inputs.
        scores, ids: best of the catalogue [B, k], the session's items left out.
        products: of the session with the item at each position [B, L].
        added: by each position to the score of its item [B, L], 0 on padding.
        k: how many.

    Returns:
        Scores [B, k], descending, and ids [B, k].
    """
    one = graph.const([1])
    is_same = graph.op(
        "Equal", graph.op("Unsqueeze", "item_seq", graph.const([2])), graph.op("Unsqueeze", "item_seq", one)
    )  # [B, L, L]
    summed = graph.op("MatMul", graph.op("Cast", is_same, to=1), graph.op("Unsqueeze", added, graph.const([2])))
    own = graph.op("Add", products, graph.op("Squeeze", summed, graph.const([2])))  # [B, L]
    steps = graph.arange(graph.dim("item_seq", 1))
    is_earlier = graph.op("Less", graph.reshape(steps, 1, -1), graph.reshape(steps, -1, 1))  # [L, L]
    is_again = graph.op("And", is_same, is_earlier)
    is_again = graph.op("ReduceMax", graph.op("Cast", is_again, to=6), axes=[2], keepdims=0)  # int32 [B, L]
    is_left_out = graph.op("Or", graph.op("Cast", is_again, to=9), graph.op("Equal", "item_seq", graph.const(0)))
    is_left_out = graph.op("Or", is_left_out, "exclude_seen")
    own = graph.op("Where", is_left_out, graph.number(-np.inf), own)
    both = graph.op("Concat", scores, own, axis=1)  # [B, k + L]
    best, places = graph.op("TopK", both, graph.const([k]), n_outputs=2, axis=1)
    return best, graph.op("GatherElements", graph.op("Concat", ids, "item_seq", axis=1), places, axis=1)
