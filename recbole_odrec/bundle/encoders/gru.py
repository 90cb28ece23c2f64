"""The GRU in the graph.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.layers import array, linear
from recbole_odrec.bundle.part_graphs import encode
from recbole_odrec.nn import GRUEncoder


@encode.register
def _(encoder: GRUEncoder, graph: Graph, rows: str) -> str:
    gru = encoder.gru
    hidden = graph.op("Transpose", rows, perm=[1, 0, 2])  # [L, B, D]
    for layer in range(gru.num_layers):
        matrices, biases = [], []
        for part in ("ih", "hh"):
            matrices.append(_gates(getattr(gru, f"weight_{part}_l{layer}")))
            biases.append(_gates(getattr(gru, f"bias_{part}_l{layer}")))
        weights = [graph.weight(f"gru_{layer}.{n}", w) for n, w in zip(("input", "recurrent"), matrices, strict=True)]
        bias = graph.weight(f"gru_{layer}.bias", np.concatenate(biases, axis=1))
        weights = [graph.op("Unsqueeze", weight, graph.const([0])) for weight in weights]
        hidden = graph.op(
            "GRU", hidden, *weights, bias, hidden_size=gru.hidden_size, linear_before_reset=1, n_outputs=2
        )[0]
        hidden = graph.op("Squeeze", hidden, graph.const([1]))  # [L, 1, B, D] -> [L, B, D]
    hidden = graph.op("Transpose", hidden, perm=[1, 0, 2])
    return linear(graph, hidden, "projection", encoder.projection)


def _gates(parameter: Tensor) -> np.ndarray:
    """PyTorch's gate order (reset, update, new) in ONNX's (update, reset, new); biases become [1, 3 D]."""
    reset, update, new = np.split(array(parameter), 3)
    ordered = np.concatenate([update, reset, new])
    return ordered if ordered.ndim == 2 else ordered[None]
