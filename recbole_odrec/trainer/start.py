"""The student's start: item order and first weights from its teacher."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from recbole_odrec.model.odrec import ODRec
from recbole_odrec.nn.item_order import order_by_assignment, order_by_similarity
from recbole_odrec.nn.planner import TensorTrainPlan


def start_from_teacher(student: ODRec, teacher: nn.Module, item_order: str, copy_weights: bool) -> None:
    """Learns the item order from the teacher's table, and copies what of the teacher fits.

    The item table is fitted to the teacher's (`fit_` of `SemiTensorTrainEmbedding` and `ProductCodesEmbedding`) where
    the dimensions agree; encoder, read-out and repeat scores are copied where every shape agrees. What does not fit
    keeps its random start, and the log says so.

    Args:
        student: changed in place.
        teacher: with `item_table` and, for the encoder, the same kind of network.
        item_order: how items come to their cells, as the key of that name; without "none" the student's table must have
            been made with an order.
        copy_weights: fit the table and copy the encoder.
    """
    if item_order == "none" and not copy_weights:
        return
    log, table = logging.getLogger(), student.item_table
    ids = torch.arange(student.n_items, device=next(student.parameters()).device)
    vectors = teacher.item_table(ids)
    fits, order = vectors.shape[1] == table.embedding_dim, None
    if item_order != "none":
        order = _learned_order(item_order, vectors, table.plan, fits).to(ids.device)
        table.item_order.copy_(order)
    if not copy_weights:
        return
    if fits:
        kept = table.fit_(vectors) if order is None else table.fit_(vectors, order)
        log.info(f"student: its item table starts with {kept:.0%} of the teacher's")
    else:
        log.warning(f"student: its item table of {table.embedding_dim} columns does not start from {vectors.shape[1]}")
    for part in ("encoder", "readout", "repeat"):
        ours, theirs = getattr(student, part), getattr(teacher, part, None)
        if ours is None:
            continue
        if theirs is not None and _shapes(ours) == _shapes(theirs):
            ours.load_state_dict(theirs.state_dict())
        else:
            log.warning(f"student: its {part} differs from the teacher's and starts at random")


def _learned_order(item_order: str, vectors: Tensor, plan: TensorTrainPlan, fits: bool) -> Tensor:
    log = logging.getLogger()
    if item_order == "assigned" and fits:
        log.info(f"student: {len(vectors) - 1:,} items look for their cells (minutes for tens of thousands)")
        return order_by_assignment(vectors, plan)
    if item_order == "assigned":
        log.warning(f"student: {vectors.shape[1]} columns cannot be assigned to its cells, similar items share a row")
    return order_by_similarity(vectors, plan.item_shape[-1])


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}
