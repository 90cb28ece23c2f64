"""The optional second runtime: the same network as an ExecuTorch program, `model.pte`.

One session a call, because phones serve one user: `item_seq` [1, length] int64, padded with 0 on the right, gives
`item_ids` [1, k] and `scores` [1, k] in float32. Item ids are the bundle's.

Dimension key: L positions, D embedding, N items, k items asked for.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recbole_odrec.errors import UserError
from recbole_odrec.model.session_recommender import SessionRecommender

Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class _Program(nn.Module):
    """History to top-k in PyTorch operators that export."""

    old_ids: Tensor | None

    def __init__(self, model: SessionRecommender, topk: int) -> None:
        super().__init__()
        self.model, self.topk = model, topk
        self.old_ids: Tensor | None
        every_item = torch.arange(model.n_items)
        columns = model.item_table.columns_of(every_item)  # the bundle's ids
        is_same = torch.equal(columns, every_item)
        self.register_buffer("old_ids", None if is_same else torch.argsort(columns))

    def forward(self, item_seq: Tensor) -> tuple[Tensor, Tensor]:
        """[1, L] -> ids [1, k], scores [1, k]."""
        scores = self.model.scores_of(item_seq, self.model.item_table.rows_at(item_seq))
        if self.old_ids is not None:
            scores = scores.index_select(1, self.old_ids)
        scores = torch.cat([torch.full_like(scores[:, :1], -torch.inf), scores[:, 1:]], dim=1)
        best = scores.topk(self.topk)
        return best.indices, best.values


def build_program(model: nn.Module, max_length: int, topk: int) -> bytes:
    """Content of `model.pte`.

    Args:
        model: one of our models, in eval mode.
        max_length: the longest history, L.
        topk: k.

    Raises:
        UserError: ExecuTorch is not installed, or this is not one of our models.
    """
    if not isinstance(model, SessionRecommender):
        raise UserError(f"--executorch exports ODRec and its teachers, not RecBole's {type(model).__name__}.")
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner  # pyright: ignore[reportMissingImports]
        from executorch.exir import to_edge_transform_and_lower  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"--executorch needs ExecuTorch, which cannot be imported here ({' '.join(str(error).split())[:100]}): "
            "pip install 'recbole_odrec[executorch]', or leave the option out."
        ) from error
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # ExecuTorch tells of every pass it makes
    try:
        program = exported(model, max_length, topk)
        return bytes(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)
    except Exception as error:  # its passes raise types of their own
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{type(model).__name__} cannot be lowered to ExecuTorch ({reason}).") from error
    finally:
        logging.disable(level)


def exported(model: SessionRecommender, max_length: int, topk: int) -> torch.export.ExportedProgram:
    """The network in PyTorch's own operators, for histories of any length; arguments as of `build_program`."""
    # Recurrent layers are traced for one length; histories are then padded to the maximum.
    is_fixed = has_fixed_length(model, max_length)
    model = deepcopy(model)
    model.item_table.settle_()
    example = torch.ones(1, max_length if is_fixed else 2, dtype=torch.long)
    shapes = None if is_fixed else {"item_seq": {1: torch.export.Dim("length", min=2, max=max_length)}}
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no counterpart on a device
    try:
        with torch.no_grad():
            return torch.export.export(_Program(model, topk).eval(), (example,), dynamic_shapes=shapes)
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)


def has_fixed_length(model: SessionRecommender, max_length: int) -> bool:
    """Whether this model's program takes histories padded to the maximum, not of any length."""
    return not model.encoder.traces_any_length or max_length < 3


def program_runner(content: bytes, max_length: int, is_fixed: bool) -> Run:
    """Runs a program over sessions, one call each: int64 [B, L] -> ids and scores [B, k]."""
    from executorch.runtime import Runtime  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pte"
        path.write_bytes(content)
        method = Runtime.get().load_program(path).load_method("forward")

    def run(item_seq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        width = max_length if is_fixed else max(item_seq.shape[1], 2)
        padded = np.pad(item_seq, ((0, 0), (0, width - item_seq.shape[1])))
        answers = [method.execute([torch.from_numpy(row[None])]) for row in padded]
        ids, scores = (np.concatenate([answer[i].numpy().copy() for answer in answers]) for i in (0, 1))
        return ids, scores

    return run
