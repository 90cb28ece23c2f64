"""Recombined embeddings: head part of one network's view of a session with the tail part of the other's.

Both self-supervised tasks of the paper (section 3.3) compare two such views. The heads below live only in training:
they belong to the objectives, never to the student.

Dimension key: B sessions, L positions, D_s / D_t dimension of the student's / teacher's item table.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_odrec.nn import SoftAttentionReadout


class RecombinedViews(NamedTuple):
    """v_1 [B, D_1] and v_2 [B, D_2] of the same sessions."""

    first: Tensor
    second: Tensor


class PartPooling(nn.Module):
    """Pools the head and the tail part of a session over one network's item embeddings, each with its own read-out."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.head = SoftAttentionReadout(embedding_dim)
        self.tail = SoftAttentionReadout(embedding_dim)

    def forward(self, embeddings: Tensor, is_head: Tensor, is_tail: Tensor) -> tuple[Tensor, Tensor]:
        """[B, L, D], bool [B, L] twice -> head part [B, D], tail part [B, D]."""
        return self.head(embeddings, is_head), self.tail(embeddings, is_tail)


class RecombinedParts(NamedTuple):
    """Pooled parts of the same sessions, before any task's MLPs.

    Attributes:
        first, second: [h_S ; c_T] and [h_T ; c_S], both [B, D_s + D_t].
        is_mixed: bool [B, 1], the session has head and tail items.
    """

    first: Tensor
    second: Tensor
    is_mixed: Tensor


class Recombination(nn.Module):
    """Pools the parts of each session and recombines them, once for every task.

    h and c are the pooled head and tail part of a session under the student's (S) and the teacher's (T) item table.

    Args:
        student_dim, teacher_dim: D_s, D_t.
    """

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        self.student_parts = PartPooling(student_dim)
        self.teacher_parts = PartPooling(teacher_dim)

    def forward(
        self, student_items: Tensor, teacher_items: Tensor, is_head: Tensor, is_valid: Tensor
    ) -> RecombinedParts:
        """Recombines a batch, mixed and one-kind sessions side by side, without a loop.

        Args:
            student_items, teacher_items: item embeddings of the sessions, [B, L, D_s] and [B, L, D_t].
            is_head: bool [B, L], the item is a head item.
            is_valid: bool [B, L], False on padding.
        """
        is_head, is_tail = is_head & is_valid, ~is_head & is_valid
        is_mixed = (is_head.any(1) & is_tail.any(1)).unsqueeze(-1)  # [B, 1]
        head_s, tail_s = self.student_parts(student_items, is_head, is_tail)
        head_t, tail_t = self.teacher_parts(teacher_items, is_head, is_tail)
        return RecombinedParts(torch.cat([head_s, tail_t], dim=-1), torch.cat([head_t, tail_s], dim=-1), is_mixed)


class RecombinationHead(nn.Module):
    """One task's MLPs over the recombined parts: v_1 = MLP_1([h_S ; c_T]), v_2 = MLP_2([h_T ; c_S]).

    A session of one kind has nothing to recombine: its whole-session representations stand in, swapped (v_1 from the
    teacher, v_2 from the student), so that it still ties the two networks together.

    Args:
        student_dim, teacher_dim: D_s, D_t.
        first_dim, second_dim: dimensions of v_1 and v_2, those of what they are compared with.
    """

    def __init__(self, student_dim: int, teacher_dim: int, first_dim: int, second_dim: int) -> None:
        super().__init__()
        self.first = _mlp(student_dim + teacher_dim, first_dim)
        self.second = _mlp(student_dim + teacher_dim, second_dim)
        self.teacher_session = _fit(teacher_dim, first_dim)
        self.student_session = _fit(student_dim, second_dim)

    def forward(self, parts: RecombinedParts, student_session: Tensor, teacher_session: Tensor) -> RecombinedViews:
        """Parts and whole-session representations [B, D_s], [B, D_t] -> v_1 [B, first_dim], v_2 [B, second_dim]."""
        return RecombinedViews(
            torch.where(parts.is_mixed, self.first(parts.first), self.teacher_session(teacher_session)),
            torch.where(parts.is_mixed, self.second(parts.second), self.student_session(student_session)),
        )


def _mlp(input_dim: int, output_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(input_dim, output_dim), nn.GELU(), nn.Linear(output_dim, output_dim))


def _fit(input_dim: int, output_dim: int) -> nn.Module:
    """A projection only where the two networks' dimensions differ."""
    return nn.Identity() if input_dim == output_dim else nn.Linear(input_dim, output_dim)
