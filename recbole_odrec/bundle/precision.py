"""How weights are stored: float32, float16, or 8-bit integers with one scale a row. They compute in float32."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

_FEWEST_NUMBERS = 256  # what is smaller stays as it is: nothing to gain


def quantize_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest 8-bit integers, symmetric, each row with its own scale.

    Args:
        matrix: float32 [n, ..].

    Returns:
        int8 of the same shape and float32 scales [n, 1, ..]; their product approximates the matrix.
    """
    axes = tuple(range(1, matrix.ndim))
    largest = np.abs(matrix).max(axis=axes, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(matrix / scale).astype(np.int8), scale


def store_weights(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Stores every weight matrix in fewer bits, with the nodes in front that give its float32 back.

    Biases, norms and constants are small and stay in float32. ONNX Runtime runs these nodes once, when it loads.

    Args:
        model: changed in place.
        precision: fp32 changes nothing.
    """
    if precision == "fp32":
        return model
    graph, nodes, stored = model.graph, [], []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.ndim < 2 or array.size < _FEWEST_NUMBERS or 1 in array.shape:
            stored.append(tensor)
            continue
        name, kept = tensor.name, f"{tensor.name}.{precision}"
        if precision == "fp16":
            stored.append(numpy_helper.from_array(array.astype(np.float16), kept))
            nodes.append(helper.make_node("Cast", [kept], [name], name=f"{name}.cast", to=1))
            continue
        integers, scale = quantize_rows(array)
        stored += [numpy_helper.from_array(integers, kept), numpy_helper.from_array(scale, f"{name}.scale")]
        nodes.append(helper.make_node("Cast", [kept], [f"{name}.float"], name=f"{name}.cast", to=1))
        nodes.append(helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name], name=f"{name}.rescale"))
    nodes += list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model
