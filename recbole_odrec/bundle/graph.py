"""A small writer of ONNX graphs: one call a node, constants by value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Old enough for the runtimes on phones; the newest operator needed is LayerNormalization (17).
OPSET, IR_VERSION = 17, 8
_MANY_NUMBERS = 64  # a constant of so many is data
_MOST_BYTES = 2**31 - 2**20  # what one ONNX file (a protocol buffer) can hold, less room for the nodes


class Graph:
    """An ONNX graph in the making; values are named by strings.

    Attributes:
        nodes, initializers: what has been written so far, in order.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self._count = 0
        self._bytes: dict[object, int] = {}

    def op(self, kind: str, *inputs: str, n_outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its output (a list of names for several outputs)."""
        self._count += 1
        names = [f"{kind}_{self._count}" + (f"_{i}" if i else "") for i in range(n_outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"node_{self._count}", **attributes))
        return names[0] if n_outputs == 1 else names

    def weight(self, name: str, values: np.ndarray) -> str:
        """A stored array, under its own name."""
        if name in self.initializers:
            raise ValueError(f"two weights named {name}")
        self.initializers[name] = np.asarray(values, order="C")
        return name

    def const(self, values: Any, dtype: type = np.int64) -> str:
        """A small constant, stored once however often it is asked for."""
        array = np.asarray(values, dtype=dtype)
        name = f"const_{array.dtype}_{'x'.join(map(str, array.shape))}_{'_'.join(map(str, array.ravel().tolist()))}"
        self.initializers.setdefault(name, array)
        return name

    def number(self, value: float) -> str:
        """A float32 constant."""
        return self.const(value, np.float32)

    def const_range(self, stop: int) -> str:
        """0 .. stop - 1 as a constant that costs no bytes in the file."""
        return self.arange(self.const(stop))

    @contextmanager
    def counted(self, part: object) -> Iterator[None]:
        """Counts what is stored meanwhile as the part's; constants of a few numbers belong to nobody."""
        before = set(self.initializers)
        yield
        new = [self.initializers[name] for name in self.initializers.keys() - before if not self._is_small(name)]
        self._bytes[part] = self.bytes_of(part) + sum(array.nbytes for array in new)

    def bytes_of(self, part: object) -> int:
        """Bytes counted for a part."""
        return self._bytes.get(part, 0)

    def _is_small(self, name: str) -> bool:
        return name.startswith("const_") and self.initializers[name].size < _MANY_NUMBERS

    def reshape(self, values: str, *shape: int) -> str:
        """To a shape; 0 keeps an axis, -1 is computed."""
        return self.op("Reshape", values, self.const(shape))

    def dim(self, values: str, axis: int) -> str:
        """Length of an axis, int64 scalar."""
        return self.op("Gather", self.op("Shape", values), self.const(axis))

    def arange(self, stop: str) -> str:
        """0 .. stop - 1."""
        return self.op("Range", self.const(0), stop, self.const(1))

    def each(self, rows: Sequence[tuple[str, int, Sequence[int]]], part: Callable[..., Sequence[str]]) -> Any:
        """What `part` makes of each row of all of these, stacked; it may use names from outside.

        Args:
            rows: names [n, ..], with the type and the shape of a row.
            part: names of a row of each -> names of what is made of them.

        Returns:
            Name of what is made, [n, ..]; a list of names for several.
        """
        self._count += 1
        inputs = [value(f"row_{self._count}_{i}", kind, shape) for i, (_, kind, shape) in enumerate(rows)]
        outside, self.nodes = self.nodes, []
        made = part(*(one.name for one in inputs))
        inside, self.nodes = self.nodes, outside
        body = helper.make_graph(inside, "each", inputs, [helper.make_empty_tensor_value_info(name) for name in made])
        names = [name for name, *_ in rows]
        return self.op("Scan", *names, n_outputs=len(made), num_scan_inputs=len(rows), body=body)

    def either(self, condition: str, if_so: Callable[[], str], otherwise: Callable[[], str]) -> str:
        """What one of two makes, which may use names from outside; the other one is not computed.

        Args:
            condition: bool, of one element.
            if_so, otherwise: write nodes, and return the name of their value.
        """
        bodies = []
        for part in (if_so, otherwise):
            outside, self.nodes = self.nodes, []
            made = self.op("Identity", part())
            inside, self.nodes = self.nodes, outside
            bodies.append(helper.make_graph(inside, "branch", [], [helper.make_empty_tensor_value_info(made)]))
        return self.op("If", condition, then_branch=bodies[0], else_branch=bodies[1])

    def linear(self, values: str, name: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """x W^T + b with a PyTorch weight [out, in]: [.., in] -> [.., out]."""
        product = self.op("MatMul", values, self.weight(f"{name}.weight", weight.T))
        return product if bias is None else self.op("Add", product, self.weight(f"{name}.bias", bias))

    def model(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        """The finished model, checked by ONNX.

        Raises:
            ValueError: more weights than one ONNX file can hold.
        """
        n_bytes = sum(array.nbytes for array in self.initializers.values())
        if n_bytes > _MOST_BYTES:
            raise ValueError(f"{n_bytes / 1e9:.1f} GB of weights, and one ONNX file holds at most 2.1 GB")
        arrays = [numpy_helper.from_array(array, name) for name, array in self.initializers.items()]
        graph = helper.make_graph(self.nodes, "recbole_odrec", list(inputs), list(outputs), arrays)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="recbole_odrec"
        )
        onnx.checker.check_model(model)
        return model


FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
INT8, INT32, UINT8, UINT16 = TensorProto.INT8, TensorProto.INT32, TensorProto.UINT8, TensorProto.UINT16
value = helper.make_tensor_value_info
