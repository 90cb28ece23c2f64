"""A bundle's model whose items are small whole numbers: their rows, what it makes of a session, and it with more items.

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included), S integers of an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from recbole_odrec.bundle.graph import FLOAT
from recbole_odrec.bundle.onnx_session import no_user
from recbole_odrec.bundle.stored_tables import TABLES
from recbole_odrec.bundle.user_inputs import VECTOR
from recbole_odrec.errors import UserError

_AT_ONCE = 256  # sessions
_FOLLOWERS = {"followers.ids", "followers.ids.high", "followers.strengths"}


class ItemModel:
    """A model as `export` has written it.

    Args:
        path: `model.onnx`.
        max_length: of the manifest.

    Attributes:
        table: its items (`stored_tables`).

    Raises:
        UserError: its items are no such numbers.
    """

    def __init__(self, path: Path, max_length: int) -> None:
        self.model, self.max_length = onnx.load(path), max_length
        stored = {tensor.name: tensor for tensor in self.model.graph.initializer}
        kind = next((kind for kind in TABLES if stored.keys() >= kind.NAMES), None)
        if kind is None:
            raise UserError(f"{path}: items can be added to a student of table=codes or table=rounded alone.")
        self.table = kind({name: numpy_helper.to_array(stored[name]) for name in kind.NAMES})
        sizes = [one.type.tensor_type.shape.dim[0].dim_value for one in self.model.graph.input if one.name == VECTOR]
        self._user_size = sizes[0] if sizes else 0
        self._session = None

    @property
    def rows(self) -> np.ndarray:
        """[N, D]."""
        return self.table.rows_of(self.table.integers)

    def nearest(self, rows: np.ndarray) -> np.ndarray:
        """What the table would store of rows [n, D]: [n, S]."""
        return self.table.nearest(rows)

    def sessions(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """What the model makes of each history of ids, by whose product with a row it scores: [n, D]."""
        if self._session is None:
            self._session = self._opened()
        found = np.zeros((len(histories), self.table.dim), np.float32)
        order = sorted(range(len(histories)), key=lambda place: len(histories[place]))  # of like length together
        for start in range(0, len(order), _AT_ONCE):
            places = order[start : start + _AT_ONCE]
            rows = [histories[place][-self.max_length :] for place in places]
            item_seq = np.zeros((len(rows), max(map(len, rows))), np.int64)
            for padded, row in zip(item_seq, rows, strict=True):
                padded[: len(row)] = row
            (found[places],) = self._session.run([self._query], {"item_seq": item_seq, **no_user(self._user_size)})
        return found

    def _opened(self) -> Any:
        """The model with one more output: what a session is to the table."""
        import onnxruntime

        self._query = self.table.query(self.model.graph.node)
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.output.append(helper.make_tensor_value_info(self._query, FLOAT, ["batch", None]))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def grown(self, integers: np.ndarray) -> bytes:
        """The model with more items behind its own: theirs [n, S]."""
        model, n_before = onnx.ModelProto(), len(self.table.integers)
        model.CopyFrom(self.model)
        graph, n_after = model.graph, n_before + len(integers)
        places = {tensor.name: place for place, tensor in enumerate(graph.initializer)}
        for name, array in self.table.stored(np.concatenate([self.table.integers, integers])).items():
            graph.initializer[places[name]].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))
        for name in _FOLLOWERS & places.keys():  # new items have none, and are nobody's
            rows = numpy_helper.to_array(graph.initializer[places[name]])
            rows = np.concatenate([rows, np.zeros((len(integers), *rows.shape[1:]), rows.dtype)])
            graph.initializer[places[name]].CopyFrom(numpy_helper.from_array(rows, name))
        for node in graph.node:  # the number of items stands in the shapes of scores, and bounds how many are asked for
            if node.op_type not in ("Reshape", "Min") or node.input[1] not in places:
                continue
            size = numpy_helper.to_array(graph.initializer[places[node.input[1]]])
            if size.ravel().tolist() in ([0, 1, n_before], [0, n_before], [n_before]):
                name = node.input[1].replace(str(n_before), str(n_after))
                if name not in places:
                    size = np.where(size == n_before, n_after, size).astype(np.int64)
                    graph.initializer.append(numpy_helper.from_array(size, name))
                    places[name] = len(graph.initializer) - 1
                node.input[1] = name
        used = _used(graph) | {value.name for value in graph.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        onnx.checker.check_model(model)
        return model.SerializeToString()


def _used(graph: onnx.GraphProto) -> set[str]:
    """Names that its nodes read, those of graphs inside too."""
    inside = [part.g for node in graph.node for part in node.attribute if part.type == onnx.AttributeProto.GRAPH]
    return {name for node in graph.node for name in node.input}.union(*map(_used, inside))
