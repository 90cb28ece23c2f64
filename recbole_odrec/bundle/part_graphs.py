"""What a part needs to be exported: a graph, registered for its class with one of three functions.

    @table_graph.register
    def _(table: MyTable, precision: Precision) -> TableGraph:
        return MyTableGraph(table)

Ours stand in `bundle/tables`, `bundle/encoders` and `bundle/readouts`, one file a part, found without being listed;
your own may stand in any module that is imported with the part.

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included), P x Q grid of cells, k items
asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import singledispatch

from torch import nn

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.precision import Precision
from recbole_odrec.bundle.top_k import LOWEST_FLOAT, Rows, best_cells, leave_out
from recbole_odrec.errors import UserError
from recbole_odrec.nn import Encoder, ItemTable, Readout


class TableGraph(ABC):
    """An item table in the graph. Ids there are columns of the table (`ItemTable.columns_of`).

    Args:
        n_items: N.
        n_bytes: what it stores in the graph, before `store_weights`; never more than the table says of itself.

    Attributes:
        shape: (P, Q) of the grid in which `scores` stand; one row unless set.
    """

    def __init__(self, n_items: int, n_bytes: int) -> None:
        self.n_items, self.n_bytes, self.shape = n_items, n_bytes, (1, n_items)

    @abstractmethod
    def store(self, graph: Graph) -> None:
        """Puts what the table stores into the graph (`Graph.weight`)."""

    @abstractmethod
    def rows(self, graph: Graph, item_seq: str) -> str:
        """int64 [B, L] -> [B, L, D]; padding may get any row, for no causal encoder looks at it."""

    @abstractmethod
    def scores(self, graph: Graph, query: str) -> str:
        """Product of each session with every item: [B, D] -> [B, P, Q]."""

    def best(self, graph: Graph, query: str, out: str, n_out: str, k: int) -> tuple[str, str]:
        """The k best items of each session.

        Args:
            graph: written to.
            query: session representations [B, D].
            out: cells that must not be served, int64 [B, X].
            n_out: the most cells that `out` can name in a session, int64 scalar.
            k: how many.

        Returns:
            Scores float32 [B, k], descending, and ids int64 [B, k]; -inf where there is no further item.
        """
        return self.best_of(graph, self.scores(graph, query), out, n_out, k)

    def best_of(self, graph: Graph, grid: str | Rows, out: str, n_out: str, k: int) -> tuple[str, str]:
        """As `best`, of scores [B, P, Q]."""
        values, cells = best_cells(graph, grid, self.shape, self.n_items, graph.op("Add", n_out, graph.const(k)))
        return the_k_best(graph, leave_out(graph, values, cells, out, graph.const(*LOWEST_FLOAT)), cells, k)


def the_k_best(graph: Graph, scores: str, cells: str, k: int) -> tuple[str, str]:
    """The k best of the cells fetched."""
    best, places = graph.op("TopK", scores, graph.const([k]), n_outputs=2, axis=1)
    return best, graph.op("GatherElements", cells, places, axis=1)


@singledispatch
def table_graph(table: ItemTable, precision: Precision) -> TableGraph:
    """The graph of an item table.

    Raises:
        UserError: nobody has registered one for its class.
    """
    raise _no_exporter("table", table, "table_graph")


@singledispatch
def encode(encoder: Encoder, graph: Graph, rows: str) -> str:
    """Item embeddings [B, L, D] -> hidden states [B, L, D], as the encoder computes them in eval mode.

    Raises:
        UserError: as `table_graph`.
    """
    raise _no_exporter("encoder", encoder, "encode")


@singledispatch
def read_out(readout: Readout, graph: Graph, hidden: str, item_seq: str, rows: str) -> str:
    """Hidden states [B, L, D], item ids [B, L], padded with 0, and their rows [B, L, D] -> session [B, D].

    Raises:
        UserError: as `table_graph`.
    """
    raise _no_exporter("readout", readout, "read_out")


def _no_exporter(kind: str, part: nn.Module, function: str) -> UserError:
    return UserError(
        f"no exporter for {kind} {type(part).__name__}: register one with "
        f"@recbole_odrec.bundle.part_graphs.{function}.register."
    )
