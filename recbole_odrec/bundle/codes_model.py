"""A bundle's model with codes: what its table holds, what it makes of a session, and the same model with more items.

Dimension key: B sessions, L positions, D embedding, N items (padding row 0 included), M codebooks, K entries of each,
W = D / M.
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
from recbole_odrec.bundle.user_inputs import VECTOR
from recbole_odrec.errors import UserError

_AT_ONCE = 256  # sessions
_FOLLOWERS = {"followers.ids", "followers.ids.high", "followers.strengths"}


class CodesModel:
    """A model as `export` has written it.

    Args:
        path: `model.onnx`.
        max_length: of the manifest.

    Attributes:
        codes: uint8 [M, N].
        books: float32 [M, K, W].

    Raises:
        UserError: its items are not codes, or something else of it grows with them.
    """

    def __init__(self, path: Path, max_length: int) -> None:
        self.model, self.max_length = onnx.load(path), max_length
        stored = {tensor.name: tensor for tensor in self.model.graph.initializer}
        if not {"codes", "codebooks", "codebooks.scale"} <= stored.keys():
            raise UserError(f"{path}: items can be added to a student of table=codes alone.")
        self.codes = numpy_helper.to_array(stored["codes"])
        integers, scale = (numpy_helper.to_array(stored[name]) for name in ("codebooks", "codebooks.scale"))
        self.books = integers.astype(np.float32) * scale
        sizes = [one.type.tensor_type.shape.dim[0].dim_value for one in self.model.graph.input if one.name == VECTOR]
        self._user_size = sizes[0] if sizes else 0
        self._session = None

    @property
    def rows(self) -> np.ndarray:
        """[N, D]."""
        return self.rows_of(self.codes.T)

    def rows_of(self, codes: np.ndarray) -> np.ndarray:
        """Codes [n, M] -> [n, D]."""
        return self.books[np.arange(len(self.books)), codes.astype(np.int64)].reshape(len(codes), -1)

    def sessions(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """What the model makes of each history of ids, by whose product with a row it scores: [n, D]."""
        if self._session is None:
            self._session = self._opened()
        found = np.zeros((len(histories), self.books.shape[0] * self.books.shape[2]), np.float32)
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
        """The model with one more output: what the products with the codebooks are made of."""
        import onnxruntime

        nodes = {output: node for node in self.model.graph.node for output in node.output}
        rescaled = {node.output[0] for node in self.model.graph.node if "codebooks.scale" in node.input}
        product = next(node for node in self.model.graph.node if node.op_type == "MatMul" and node.input[0] in rescaled)
        # query -> Reshape [B, M, W] -> Transpose [M, W, B] -> MatMul
        self._query = nodes[nodes[product.input[1]].input[0]].input[0]
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.output.append(helper.make_tensor_value_info(self._query, FLOAT, ["batch", None]))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def grown(self, codes: np.ndarray) -> bytes:
        """The model with more items behind its own: their codes [n, M]."""
        model, n_before = onnx.ModelProto(), self.codes.shape[1]
        model.CopyFrom(self.model)
        graph, n_after = model.graph, n_before + len(codes)
        places = {tensor.name: place for place, tensor in enumerate(graph.initializer)}
        all_codes = np.concatenate([self.codes, codes.T.astype(np.uint8)], 1)
        graph.initializer[places["codes"]].CopyFrom(numpy_helper.from_array(all_codes, "codes"))
        for name in _FOLLOWERS & places.keys():  # new items have none, and are nobody's
            rows = numpy_helper.to_array(graph.initializer[places[name]])
            rows = np.concatenate([rows, np.zeros((len(codes), *rows.shape[1:]), rows.dtype)])
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
