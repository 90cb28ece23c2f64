"""What a device knows of its user, as inputs of the graph: added to the session's query and to scores of items.

Dimension key: B sessions of one user, L positions, D embedding, U items that the user has had, X items with something
on top.
"""

from __future__ import annotations

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.repeated import Added, joined, nothing

VECTOR, ITEMS, SCORES, SESSION = "user_vector", "user_items", "user_scores", "session"


def with_user(graph: Graph, query: str, added: Added | None) -> tuple[str, Added]:
    """Adds the user's vector [D] to each query [B, D], and the user's items [U] to what gets something on top.

    Scores are products with the query, so what the vector adds to each item's score is its own product with the item:
    over the whole catalogue, at the price of D additions.
    """
    batch = graph.reshape(graph.dim("item_seq", 0), 1)
    shape = graph.op("Concat", batch, graph.const([1]), axis=0)  # stretches to [B, U]
    user = Added(*(graph.op("Expand", name, shape) for name in (ITEMS, SCORES)))
    return graph.op("Add", query, VECTOR), joined(graph, added or nothing(graph, "item_seq"), user)
