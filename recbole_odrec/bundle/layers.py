"""Small pieces of networks in the graph.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor, nn

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.nn import ItemAttentionReadout, RepeatScores


class SessionEnd:
    """Where each session ends, and how its positions look from there.

    Attributes:
        last: that position [B, 1].
        state: its state [B, D].
        is_behind: bool [B, L], the position is padding.
    """

    def __init__(self, graph: Graph, hidden: str, item_seq: str) -> None:
        self.graph, self.hidden = graph, hidden
        mask = graph.op("Cast", graph.op("Greater", item_seq, graph.const(0)), to=7)
        self.last = last = last_position(graph, mask)
        self.state = graph.op("GatherND", hidden, last, batch_dims=1)
        distance = graph.op("Sub", last, graph.arange(graph.dim(item_seq, 1)))  # [B, L]
        self.is_behind = graph.op("Less", distance, graph.const(0))
        self.distance = graph.op("Max", distance, graph.const(0))

    def match(self, part: ItemAttentionReadout | RepeatScores, name: str) -> str:
        """(Wq h_last + bq) . (Wk h_t) / sqrt(D) + bias[last - t]: [B, L]; both matrices stored as one."""
        wq, wk, bq = (array(p).astype(np.float64) for p in (part.query.weight, part.key.weight, part.query.bias))
        scale = 1 / math.sqrt(len(wq))
        query = self.graph.linear(self.state, f"{name}.query_key", *single(scale * wk.T @ wq, scale * (bq @ wk)))
        match = self.graph.op("MatMul", self.hidden, self.graph.op("Unsqueeze", query, self.graph.const([2])))
        bias = self.graph.op("Gather", self.graph.weight(f"{name}.bias", array(part.distance_bias)), self.distance)
        return self.graph.op("Add", self.graph.op("Squeeze", match, self.graph.const([2])), bias)


def last_position(graph: Graph, mask: str) -> str:
    """The last position where an int64 mask [B, L] holds: [B, 1]."""
    positions = graph.op("Mul", mask, graph.arange(graph.dim(mask, 1)))
    return graph.op("ReduceMax", positions, axes=[1], keepdims=1)


def linear(graph: Graph, values: str, name: str, layer: nn.Linear) -> str:
    """PyTorch's linear layer: [.., in] -> [.., out]."""
    return graph.linear(values, name, array(layer.weight), None if layer.bias is None else array(layer.bias))


def layer_norm(graph: Graph, values: str, name: str, norm: nn.LayerNorm) -> str:
    """Over the last axis."""
    weights = [graph.weight(f"{name}.{part}", array(getattr(norm, part))) for part in ("weight", "bias")]
    return graph.op("LayerNormalization", values, *weights, axis=-1, epsilon=norm.eps)


def gelu(graph: Graph, values: str) -> str:
    """The exact one, by the error function."""
    erf = graph.op("Erf", graph.op("Div", values, graph.number(math.sqrt(2))))
    return graph.op("Mul", graph.op("Mul", values, graph.op("Add", erf, graph.number(1))), graph.number(0.5))


def single(matrix: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Weight and bias as they are stored, in float32."""
    return matrix.astype(np.float32), None if bias is None else bias.astype(np.float32)


def array(parameter: Tensor) -> np.ndarray:
    """Its values."""
    return parameter.detach().cpu().numpy()
