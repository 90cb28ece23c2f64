"""The student's start: item order and first weights from its teacher."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from recbole_odrec.errors import UserError
from recbole_odrec.model.odrec import ODRec
from recbole_odrec.processes.group import first_gives, n_processes
from recbole_odrec.processes.rows import whole_in_first
from recbole_odrec.trainer.checkpoint import rng_state, set_rng_state


def check_start(student: ODRec, teacher: Any, name: str, copy_weights: bool) -> None:
    """Refuses a start that a teacher cannot give.

    Args:
        student: whose table may want the teacher's rows.
        teacher: the one that the student starts from.
        name: what it is called.
        copy_weights: as for `start_from_teacher`.

    Raises:
        UserError: the teacher has no item embeddings, or none of a width that the table can do with.
    """
    if copy_weights and not teacher.gives_embeddings:
        raise UserError(
            f"init_from_teacher=True: {name} has no item embeddings to start from: put a teacher that has some into "
            "the list and its place into starts_from."
        )
    student.item_table.check_teacher(teacher.hidden_size if teacher.gives_embeddings else 0)


def start_from_teacher(student: ODRec, teacher: Any, copy_weights: bool) -> None:
    """Lets the item table learn from the teacher's where its items stand, and copies what of the teacher fits.

    The item table starts from the teacher's (`ItemTable.fit_`) where the dimensions agree; encoder, read-out and repeat
    scores are copied where every shape agrees. What does not fit keeps its random start, and the log says so. Of
    several processes, the first one works the table out and gives it to the others; of a teacher whose rows are split,
    it alone has all of them meanwhile.

    Args:
        student: changed in place.
        teacher: with `item_table` and, for the encoder, the same kind of network.
        copy_weights: fit the table and copy the encoder.
    """
    log, table, theirs = logging.getLogger(), student.item_table, teacher.item_table
    if theirs.columns is None:
        vectors = theirs.to_matrix()
    else:
        own = theirs.frozen()
        vectors = whole_in_first(own.weight, own.bounds).to(own.weight.device)
    width = vectors.shape[1]

    def learnt() -> tuple[float | None, dict[str, Tensor], dict[str, Any]]:
        table.arrange_(vectors)
        kept = table.fit_(vectors) if copy_weights and width == table.embedding_dim else None
        state = table.state_dict() if n_processes() > 1 else {}
        return kept, {name: values.cpu() for name, values in state.items()}, rng_state()

    kept, state, random = first_gives(learnt)
    if n_processes() > 1:
        table.load_state_dict(state)
        set_rng_state(random)  # a table of one's own may have drawn
    if not copy_weights:
        return
    if kept is None:
        log.warning(f"student: its item table of {table.embedding_dim} columns does not start from {width}")
    else:
        log.info(f"student: its item table starts with {kept:.0%} of the teacher's")
    for part in ("encoder", "readout", "repeat"):
        ours, theirs = getattr(student, part), getattr(teacher, part, None)
        if ours is None:
            continue
        if theirs is not None and _shapes(ours) == _shapes(theirs):
            ours.load_state_dict(theirs.state_dict())
        else:
            log.warning(f"student: its {part} differs from the teacher's and starts at random")


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}
