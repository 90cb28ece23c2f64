"""The transformer in the graph.

Dimension key: B sessions, L positions, D embedding, h heads.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.layers import array, gelu, layer_norm, linear, single
from recbole_odrec.bundle.part_graphs import encode
from recbole_odrec.nn import SelfAttentionEncoder


@encode.register
def _(encoder: SelfAttentionEncoder, graph: Graph, rows: str) -> str:
    length = graph.dim(rows, 1)
    position = graph.weight("position_embedding", array(encoder.position_embedding.weight))
    position = graph.op("Slice", position, graph.const([0]), graph.reshape(length, 1), graph.const([0]))
    hidden = layer_norm(graph, graph.op("Add", rows, position), "input_norm", encoder.input_norm)
    steps = graph.arange(length)
    is_future = graph.op("Less", graph.reshape(steps, -1, 1), graph.reshape(steps, 1, -1))  # [L, L]
    for number, layer in enumerate(encoder.layers):
        name = f"layer_{number}"
        attended = _attention(graph, layer.self_attn, hidden, is_future, name)
        hidden = layer_norm(graph, graph.op("Add", hidden, attended), f"{name}.norm1", layer.norm1)
        inner = gelu(graph, linear(graph, hidden, f"{name}.linear1", layer.linear1))
        inner = linear(graph, inner, f"{name}.linear2", layer.linear2)
        hidden = layer_norm(graph, graph.op("Add", hidden, inner), f"{name}.norm2", layer.norm2)
    return hidden


def _attention(graph: Graph, attention: nn.MultiheadAttention, hidden: str, is_future: str, name: str) -> str:
    """Causal self-attention: [B, L, D] -> [B, L, D].

    With one head, queries and keys only ever meet in (x Wq^T + bq)(y Wk^T + bk)^T. What depends on the query's position
    alone cancels in the softmax, so x (Wq^T Wk) + bq Wk against y is the same attention; values and output projection
    are one matrix likewise. That stores half the numbers.
    """
    size = attention.embed_dim
    wq, wk, wv = array(attention.in_proj_weight).astype(np.float64).reshape(3, size, size)
    bq, bk, bv = array(attention.in_proj_bias).astype(np.float64).reshape(3, size)
    wo, bo = (array(p).astype(np.float64) for p in (attention.out_proj.weight, attention.out_proj.bias))
    blocked = graph.number(-np.inf)
    if attention.num_heads == 1:
        scale = 1 / math.sqrt(size)
        query = graph.linear(hidden, f"{name}.query_key", *single(scale * wk.T @ wq, scale * (bq @ wk)))
        weight = graph.op("MatMul", query, graph.op("Transpose", hidden, perm=[0, 2, 1]))  # [B, L, L]
        weight = graph.op("Softmax", graph.op("Where", is_future, blocked, weight), axis=-1)
        value = graph.linear(hidden, f"{name}.value_output", *single(wo @ wv, None))
        bias = graph.weight(f"{name}.attention_bias", (wo @ bv + bo).astype(np.float32))
        return graph.op("Add", graph.op("MatMul", weight, value), bias)
    heads, width = attention.num_heads, size // attention.num_heads

    def split(part: str, matrix: np.ndarray, bias: np.ndarray, axes: list[int]) -> str:
        projected = graph.linear(hidden, f"{name}.{part}", *single(matrix, bias))
        return graph.op("Transpose", graph.reshape(projected, 0, 0, heads, width), perm=axes)

    scale = 1 / math.sqrt(width)
    query = split("query", scale * wq, scale * bq, [0, 2, 1, 3])  # [B, h, L, D / h]
    key = split("key", wk, bk, [0, 2, 3, 1])  # [B, h, D / h, L]
    weight = graph.op("Where", is_future, blocked, graph.op("MatMul", query, key))  # [B, h, L, L]
    mixed = graph.op("MatMul", graph.op("Softmax", weight, axis=-1), split("value", wv, bv, [0, 2, 1, 3]))
    mixed = graph.reshape(graph.op("Transpose", mixed, perm=[0, 2, 1, 3]), 0, 0, size)
    return graph.linear(mixed, f"{name}.output", *single(wo, bo))
