"""Encoders and read-outs in the graph, node for node what `nn.encoder` and `nn.readout` compute in eval mode.

Dimension key: B sessions, L positions, D embedding, h heads.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor, nn

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.nn import (
    GRUEncoder,
    ItemAttentionReadout,
    LastStateReadout,
    RepeatScores,
    SelfAttentionEncoder,
    SoftAttentionReadout,
)


def encode(graph: Graph, encoder: nn.Module, rows: str) -> str:
    """Item embeddings [B, L, D] -> hidden states [B, L, D].

    Raises:
        TypeError: an encoder that this module does not know.
    """
    if isinstance(encoder, SelfAttentionEncoder):
        return _self_attention_encoder(graph, encoder, rows)
    if isinstance(encoder, GRUEncoder):
        return _gru_encoder(graph, encoder, rows)
    raise TypeError(f"no graph for encoder {type(encoder).__name__}")


def read_out(graph: Graph, readout: nn.Module, hidden: str, item_seq: str, rows: str) -> str:
    """Hidden states [B, L, D], item ids [B, L], padded with 0, and their rows [B, L, D] -> session [B, D].

    Raises:
        TypeError: a read-out that this module does not know.
    """
    mask = graph.op("Greater", item_seq, graph.const(0))
    if isinstance(readout, SoftAttentionReadout):
        return _soft_attention(graph, readout, hidden, graph.op("Cast", mask, to=1))
    if isinstance(readout, ItemAttentionReadout):
        return _item_attention(graph, readout, hidden, item_seq, rows)
    if isinstance(readout, LastStateReadout):
        return _last_state(graph, hidden, graph.op("Cast", mask, to=7))
    raise TypeError(f"no graph for read-out {type(readout).__name__}")


# ---------------------------------------------------------------------- encoders


def _self_attention_encoder(graph: Graph, encoder: SelfAttentionEncoder, rows: str) -> str:
    length = graph.dim(rows, 1)
    position = graph.weight("position_embedding", _array(encoder.position_embedding.weight))
    position = graph.op("Slice", position, graph.const([0]), graph.reshape(length, 1), graph.const([0]))
    hidden = _layer_norm(graph, graph.op("Add", rows, position), "input_norm", encoder.input_norm)
    steps = graph.arange(length)
    is_future = graph.op("Less", graph.reshape(steps, -1, 1), graph.reshape(steps, 1, -1))  # [L, L]
    for number, layer in enumerate(encoder.layers):
        name = f"layer_{number}"
        attended = _attention(graph, layer.self_attn, hidden, is_future, name)
        hidden = _layer_norm(graph, graph.op("Add", hidden, attended), f"{name}.norm1", layer.norm1)
        inner = _gelu(graph, _linear(graph, hidden, f"{name}.linear1", layer.linear1))
        inner = _linear(graph, inner, f"{name}.linear2", layer.linear2)
        hidden = _layer_norm(graph, graph.op("Add", hidden, inner), f"{name}.norm2", layer.norm2)
    return hidden


def _attention(graph: Graph, attention: nn.MultiheadAttention, hidden: str, is_future: str, name: str) -> str:
    """Causal self-attention: [B, L, D] -> [B, L, D].

    With one head, queries and keys only ever meet in (x Wq^T + bq)(y Wk^T + bk)^T. What depends on the query's position
    alone cancels in the softmax, so x (Wq^T Wk) + bq Wk against y is the same attention; values and output projection
    are one matrix likewise. That stores half the numbers.
    """
    size = attention.embed_dim
    wq, wk, wv = _array(attention.in_proj_weight).astype(np.float64).reshape(3, size, size)
    bq, bk, bv = _array(attention.in_proj_bias).astype(np.float64).reshape(3, size)
    wo, bo = (_array(p).astype(np.float64) for p in (attention.out_proj.weight, attention.out_proj.bias))
    blocked = graph.number(-np.inf)
    if attention.num_heads == 1:
        scale = 1 / math.sqrt(size)
        query = graph.linear(hidden, f"{name}.query_key", *_single(scale * wk.T @ wq, scale * (bq @ wk)))
        weight = graph.op("MatMul", query, graph.op("Transpose", hidden, perm=[0, 2, 1]))  # [B, L, L]
        weight = graph.op("Softmax", graph.op("Where", is_future, blocked, weight), axis=-1)
        value = graph.linear(hidden, f"{name}.value_output", *_single(wo @ wv, None))
        bias = graph.weight(f"{name}.attention_bias", (wo @ bv + bo).astype(np.float32))
        return graph.op("Add", graph.op("MatMul", weight, value), bias)
    heads, width = attention.num_heads, size // attention.num_heads

    def split(part: str, matrix: np.ndarray, bias: np.ndarray, axes: list[int]) -> str:
        projected = graph.linear(hidden, f"{name}.{part}", *_single(matrix, bias))
        return graph.op("Transpose", graph.reshape(projected, 0, 0, heads, width), perm=axes)

    scale = 1 / math.sqrt(width)
    query = split("query", scale * wq, scale * bq, [0, 2, 1, 3])  # [B, h, L, D / h]
    key = split("key", wk, bk, [0, 2, 3, 1])  # [B, h, D / h, L]
    weight = graph.op("Where", is_future, blocked, graph.op("MatMul", query, key))  # [B, h, L, L]
    mixed = graph.op("MatMul", graph.op("Softmax", weight, axis=-1), split("value", wv, bv, [0, 2, 1, 3]))
    mixed = graph.reshape(graph.op("Transpose", mixed, perm=[0, 2, 1, 3]), 0, 0, size)
    return graph.linear(mixed, f"{name}.output", *_single(wo, bo))


def _gru_encoder(graph: Graph, encoder: GRUEncoder, rows: str) -> str:
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
    return _linear(graph, hidden, "projection", encoder.projection)


def _gates(parameter: Tensor) -> np.ndarray:
    """PyTorch's gate order (reset, update, new) in ONNX's (update, reset, new); biases become [1, 3 D]."""
    reset, update, new = np.split(_array(parameter), 3)
    ordered = np.concatenate([update, reset, new])
    return ordered if ordered.ndim == 2 else ordered[None]


# ---------------------------------------------------------------------- read-outs


def _soft_attention(graph: Graph, readout: SoftAttentionReadout, hidden: str, mask: str) -> str:
    counted = graph.op("Unsqueeze", mask, graph.const([1]))  # [B, 1, L]
    n_items = graph.op("Max", graph.op("ReduceSum", counted, graph.const([2])), graph.number(1))  # [B, 1, 1]
    mean = graph.op("Div", graph.op("MatMul", counted, hidden), n_items)  # [B, 1, L] x [B, L, D] -> [B, 1, D]
    gate = _linear(graph, graph.op("Tanh", hidden), "readout.position_weight", readout.position_weight)
    gate = graph.op("Add", gate, _linear(graph, mean, "readout.session_weight", readout.session_weight))  # [B, L, D]
    weight = _linear(graph, graph.op("Sigmoid", gate), "readout.attention", readout.attention)  # [B, L, 1]
    weight = graph.op("Mul", graph.op("Transpose", weight, perm=[0, 2, 1]), counted)  # [B, 1, L]
    return graph.op("Squeeze", graph.op("MatMul", weight, hidden), graph.const([1]))


def _last_state(graph: Graph, hidden: str, mask: str) -> str:
    return graph.op("GatherND", hidden, _last_position(graph, mask), batch_dims=1)


def _item_attention(graph: Graph, readout: ItemAttentionReadout, hidden: str, item_seq: str, rows: str) -> str:
    end = _End(graph, hidden, item_seq)
    logit = end.match(readout, "readout")
    weight = graph.op("Softmax", graph.op("Where", end.is_behind, graph.number(-np.inf), logit), axis=-1)  # [B, L]
    mixed = graph.op("MatMul", graph.op("Unsqueeze", weight, graph.const([1])), rows)  # [B, 1, L] x [B, L, D]
    session = graph.op("Squeeze", mixed, graph.const([1]))
    session = graph.op("Add", session, _linear(graph, end.state, "readout.state", readout.state))
    size = graph.op("Max", graph.op("ReduceL2", session, axes=[1], keepdims=1), graph.number(1e-12))
    return graph.op("Mul", graph.op("Div", session, size), graph.number(readout.log_scale.exp().item()))


def repeat_scores(graph: Graph, repeat: RepeatScores, hidden: str, item_seq: str) -> str:
    """What each position adds to the score of its item: [B, L, D], [B, L] -> [B, L], 0 on padding."""
    end = _End(graph, hidden, item_seq)
    added = graph.op("Add", end.match(repeat, "repeat"), _linear(graph, end.state, "repeat.level", repeat.level))
    return graph.op("Where", end.is_behind, graph.number(0), added)


class _End:
    """Where each session ends, and how its positions look from there.

    Attributes:
        state: state of the last position [B, D].
        is_behind: bool [B, L], the position is padding.
    """

    def __init__(self, graph: Graph, hidden: str, item_seq: str) -> None:
        self.graph, self.hidden = graph, hidden
        mask = graph.op("Cast", graph.op("Greater", item_seq, graph.const(0)), to=7)
        last = _last_position(graph, mask)  # [B, 1]
        self.state = graph.op("GatherND", hidden, last, batch_dims=1)
        distance = graph.op("Sub", last, graph.arange(graph.dim(item_seq, 1)))  # [B, L]
        self.is_behind = graph.op("Less", distance, graph.const(0))
        self.distance = graph.op("Max", distance, graph.const(0))

    def match(self, part: ItemAttentionReadout | RepeatScores, name: str) -> str:
        """(Wq h_last + bq) . (Wk h_t) / sqrt(D) + bias[last - t]: [B, L]; both matrices stored as one."""
        wq, wk, bq = (_array(p).astype(np.float64) for p in (part.query.weight, part.key.weight, part.query.bias))
        scale = 1 / math.sqrt(len(wq))
        query = self.graph.linear(self.state, f"{name}.query_key", *_single(scale * wk.T @ wq, scale * (bq @ wk)))
        match = self.graph.op("MatMul", self.hidden, self.graph.op("Unsqueeze", query, self.graph.const([2])))
        bias = self.graph.op("Gather", self.graph.weight(f"{name}.bias", _array(part.distance_bias)), self.distance)
        return self.graph.op("Add", self.graph.op("Squeeze", match, self.graph.const([2])), bias)


def _last_position(graph: Graph, mask: str) -> str:
    """The last position where an int64 mask [B, L] holds: [B, 1]."""
    positions = graph.op("Mul", mask, graph.arange(graph.dim(mask, 1)))
    return graph.op("ReduceMax", positions, axes=[1], keepdims=1)


# ---------------------------------------------------------------------- small parts


def _linear(graph: Graph, values: str, name: str, layer: nn.Linear) -> str:
    return graph.linear(values, name, _array(layer.weight), None if layer.bias is None else _array(layer.bias))


def _layer_norm(graph: Graph, values: str, name: str, norm: nn.LayerNorm) -> str:
    weights = [graph.weight(f"{name}.{part}", _array(getattr(norm, part))) for part in ("weight", "bias")]
    return graph.op("LayerNormalization", values, *weights, axis=-1, epsilon=norm.eps)


def _gelu(graph: Graph, values: str) -> str:
    erf = graph.op("Erf", graph.op("Div", values, graph.number(math.sqrt(2))))
    return graph.op("Mul", graph.op("Mul", values, graph.op("Add", erf, graph.number(1))), graph.number(0.5))


def _single(matrix: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    return matrix.astype(np.float32), None if bias is None else bias.astype(np.float32)


def _array(parameter: Tensor) -> np.ndarray:
    return parameter.detach().cpu().numpy()
