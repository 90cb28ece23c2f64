"""RecBole's own models in the graph: their forward pass as PyTorch traces it, our scoring and top-k behind it.

Dimension key: B sessions, L positions given, W positions the model was trained with, D embedding.
"""

from __future__ import annotations

import inspect
import io
import warnings
from typing import Any

import numpy as np
import onnx
import onnx.compose
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_odrec.bundle.build import SessionValues, build_model
from recbole_odrec.bundle.graph import OPSET, Graph
from recbole_odrec.bundle.part_graphs import TableGraph
from recbole_odrec.bundle.precision import Precision
from recbole_odrec.bundle.tables.dense import DenseTable
from recbole_odrec.errors import UserError
from recbole_odrec.model.adapter import ProductTeacher

_PREFIX = "session."


class _SessionPart(nn.Module):
    """Item ids [B, L] -> session representation [B, D], at the full width W that RecBole evaluates with."""

    width: int

    def __init__(self, model: ProductTeacher) -> None:
        super().__init__()
        self.adapted, self.width = model, model.model.max_seq_length

    def forward(self, item_seq: Tensor) -> Tensor:
        lengths = (item_seq != 0).sum(1)
        item_seq = F.pad(item_seq, (0, self.width - item_seq.shape[1]))
        return self.adapted._session_repr(item_seq, lengths)


def build_traced_model(model: ProductTeacher, topk: int, precision: Precision = "fp32") -> onnx.ModelProto:
    """The graph of a RecBole model that scores by a product with its item embeddings.

    Args:
        model: the adapted model, in eval mode.
        topk: k.
        precision: how weights are stored.

    Raises:
        UserError: PyTorch cannot trace this model.
    """
    weight = model.model.item_embedding.weight.detach().cpu().numpy()
    traced = _trace(model)
    table = DenseTable(weight, model.scale, model.is_normalized)

    def session(graph: Graph, _: TableGraph, item_seq: str) -> SessionValues:
        return SessionValues(_insert(graph, traced, item_seq, shared=(weight, table.name)))

    return build_model(table, session, topk, precision)


def _trace(model: ProductTeacher) -> onnx.GraphProto:
    part = _SessionPart(model).eval()
    example = torch.ones(2, min(3, part.width), dtype=torch.long)
    file: Any = io.BytesIO()
    # The older exporter: the newer one unrolls recurrent layers to a fixed length and asks for another package.
    options: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                part,
                (example,),
                file,
                input_names=["item_seq"],
                output_names=["session"],
                dynamic_axes={"item_seq": {0: "batch", 1: "length"}, "session": {0: "batch"}},
                opset_version=OPSET,
                **options,
            )
    except Exception as error:  # torch raises anything from a model it cannot follow
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{model.name} cannot be exported: PyTorch cannot trace it ({reason}).") from error
    return onnx.load_from_string(file.getvalue()).graph


def _insert(graph: Graph, traced: onnx.GraphProto, item_seq: str, shared: tuple[np.ndarray, str]) -> str:
    """Copies a traced graph under names of its own; the item table it holds is the one that is stored already."""
    weight, name_of_weight = shared
    traced = onnx.compose.add_prefix_graph(traced, _PREFIX)
    renamed = {traced.input[0].name: item_seq}
    for tensor in traced.initializer:
        array = numpy_helper.to_array(tensor)
        if array.shape == weight.shape and np.array_equal(array, weight):
            renamed[tensor.name] = name_of_weight
        else:
            graph.weight(tensor.name, array)
    for node in traced.node:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
        graph.nodes.append(node)
    return traced.output[0].name
