"""Cross-entropy and soft targets over the catalogue in one pass over the scores.

The plain formula needs about ten passes over score matrices of B x N numbers, forward and backward. Here a block of
rows that fits into the cache is read once; its loss and its gradient leave together:

    gradient = (1 - w) (softmax(s) - onehot) + w T (softmax(s / T) - softmax(t / T))

Dimension key: B rows, N items, M >= N columns, w kd_weight, T temperature, s / t student's / teacher's scores.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from recbole_odrec.errors import UserError
from recbole_odrec.losses.added import AddedScores

# Numbers of a block: what stays in a processor's cache; on an accelerator at least and at most.
_CPU_BLOCK, _DEVICE_BLOCKS = 1 << 19, (1 << 22, 1 << 26)


class CatalogueLoss(NamedTuple):
    """Scalars.

    Attributes:
        total: (1 - w) CE + w KL, the one with a gradient.
        soft_targets: w KL within it, a constant.
    """

    total: Tensor
    soft_targets: Tensor


def catalogue_loss(
    scores: Tensor,
    pos_items: Tensor,
    n_items: int | None = None,
    zero_item: int | None = None,
    teacher_scores: Tensor | None = None,
    kd_weight: float = 0.0,
    temperature: float = 1.0,
    added: AddedScores | None = None,
) -> CatalogueLoss:
    """(1 - w) cross-entropy of the next item + w KL(teacher || student), averaged over rows (paper, section 3.4).

        CE = -log softmax(s)[pos],   KL = T^2 sum_n p_n (log p_n - log q_n),   p = softmax(t / T),   q = softmax(s / T)

    T^2 keeps the gradient's size when T changes (Hinton et al. 2015); the average over rows (the released code sums)
    keeps the loss's weight when the batch size changes. Sums are float32 whatever the scores' precision (float64 for
    float64).

    `scores` is used up: where a gradient is needed it is written over them.

    Args:
        scores: student's [B, M], float64, float32 or bfloat16.
        pos_items: next item of each row, ids [B].
        n_items: N, columns that are items; all of them when None.
        zero_item: a column whose score is 0 by definition (the padding row of a compressed table), whatever stands
            there.
        teacher_scores: [B, N], a constant; needed when `kd_weight` > 0.
        kd_weight: w in [0, 1].
        temperature: T > 0.
        added: part of the student's scores that `scores` does not hold yet; it gets its own gradient.

    Raises:
        ValueError: shapes that do not fit, a temperature that is not positive, teacher scores that are not finite
            (on a CPU; elsewhere the loss is NaN).

    Example:
        >>> import torch
        >>> scores = torch.tensor([[1.0, 2.0, 3.0]])
        >>> catalogue_loss(scores, torch.tensor([2]), teacher_scores=scores + 5.0, kd_weight=1.0).total.item()
        0.0
    """
    n_items = scores.shape[1] if n_items is None else n_items
    if kd_weight and (teacher_scores is None or teacher_scores.shape != (len(scores), n_items)):
        shape = None if teacher_scores is None else tuple(teacher_scores.shape)
        raise ValueError(
            f"student scores {(len(scores), n_items)} and teacher scores {shape} must rank the same items for the "
            "same rows."
        )
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}, expected a number above 0.")
    teacher = teacher_scores if kd_weight else None
    items, values = added or (None, None)
    total, soft = _FusedLoss.apply(
        scores, values, items, pos_items, n_items, zero_item, teacher, kd_weight, temperature
    )
    return CatalogueLoss(total, soft.detach())


class CatalogueCrossEntropy(nn.Module):
    """`torch.nn.CrossEntropyLoss` for scores that nothing else reads: they are used up (see `catalogue_loss`)."""

    def forward(self, scores: Tensor, pos_items: Tensor) -> Tensor:
        """Scores [B, N], ids [B] -> cross-entropy, averaged over rows."""
        return catalogue_loss(scores, pos_items).total


class _FusedLoss(torch.autograd.Function):
    """Loss and gradient block by block; the gradient takes the scores' place."""

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        added: Tensor | None,
        added_items: Tensor | None,
        pos_items: Tensor,
        n_items: int,
        zero_item: int | None,
        teacher_scores: Tensor | None,
        kd_weight: float,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        n_rows, needs_gradient = len(scores), any(ctx.needs_input_grad)
        of_added = None if added is None else torch.empty_like(added)  # its gradient
        dtype = torch.promote_types(scores.dtype, torch.float32)
        n_buffers = 1 if teacher_scores is None else 3
        block = _rows_of_block(n_rows, n_items, n_buffers, scores.device)
        hard, soft = scores.new_zeros(2, dtype=dtype).unbind()
        # Student's scores; the teacher's and the gap between: memory that stays in the cache from block to block.
        memory = scores.new_empty(n_buffers, min(block, n_rows), n_items, dtype=dtype)
        for start in range(0, n_rows, block):
            rows = slice(start, start + block)
            student, *rest = memory[:, : len(scores[rows])]
            teacher, gap = rest or (None, None)
            student.copy_(scores[rows, :n_items])
            if zero_item is not None:
                student[:, zero_item] = 0
            if added is not None and added_items is not None:
                student.scatter_add_(1, added_items[rows], added[rows].to(dtype))
            if teacher is not None and teacher_scores is not None:
                teacher.copy_(teacher_scores[rows])
            block_hard, block_soft, gradient = _loss_and_gradient(
                student, teacher, gap, pos_items[rows], kd_weight, temperature
            )
            hard += block_hard
            soft += block_soft
            if needs_gradient:
                if zero_item is not None:
                    gradient[:, zero_item] = 0
                scores[rows, :n_items] = gradient.div_(n_rows)
                if added is not None and added_items is not None and of_added is not None:
                    of_added[rows] = gradient.gather(1, added_items[rows]).to(added.dtype)
        if teacher_scores is not None:
            refuse_not_finite(soft)
        if needs_gradient:
            scores[:, n_items:] = 0
            ctx.gradient, ctx.of_added = scores.detach(), of_added
        hard, soft = hard / n_rows, soft / n_rows
        ctx.mark_non_differentiable(soft)
        return hard + soft, soft

    @staticmethod
    def backward(ctx: Any, of_total: Tensor, _of_soft: Tensor) -> tuple[Tensor | None, ...]:
        gradient, of_added = scaled_(of_total, ctx.gradient, ctx.of_added)
        ctx.gradient = ctx.of_added = None
        return gradient, of_added, *[None] * 7


def refuse_not_finite(soft: Tensor) -> None:
    """Refuses a KL that is no number; only where it costs nothing: on an accelerator the check would wait for it."""
    if soft.device.type == "cpu" and not soft.isfinite():
        raise UserError("teacher's or student's scores hold NaN or infinity: one diverged; train it in smaller steps.")


def scaled_(of_total: Tensor, *gradients: Tensor | None) -> list[Tensor | None]:
    """Gradients of a total whose own gradient is `of_total`, in their place; a pass is saved in the usual case, 1."""
    if of_total.device.type != "cpu" or of_total != 1:
        for gradient in gradients:
            if gradient is not None:
                gradient.mul_(of_total)
    return [*gradients]


def _rows_of_block(n_rows: int, n_items: int, n_buffers: int, device: torch.device) -> int:
    """Rows looked at together; on an accelerator a few blocks, whose buffers hold no more than the scores do."""
    if device.type == "cpu":
        return max(1, _CPU_BLOCK // n_items)
    least, most = _DEVICE_BLOCKS
    share = -(-n_rows // max(n_buffers, 2))
    return max(1, min(max(share, least // n_items), most // n_items))


def _loss_and_gradient(
    student: Tensor,
    teacher: Tensor | None,
    gap: Tensor | None,
    pos_items: Tensor,
    kd_weight: float,
    temperature: float,
) -> tuple[Tensor | float, Tensor | float, Tensor]:
    """(1 - w) CE and w KL, summed over a few rows, and their gradient [B, N].

    `student` and `teacher` hold scores, `gap` is memory; all are used up.
    """
    hard_weight, targets = 1 - kd_weight, pos_items.unsqueeze(1)
    hard = soft = 0.0
    of_target, of_hard = student.gather(1, targets).squeeze(1), None
    if teacher is not None and gap is not None:
        if temperature != 1:
            if hard_weight:  # has a softmax of its own
                of_hard = student.clone()
                hard = hard_weight * (_softmax_(of_hard) - of_target).sum()
                of_hard.mul_(hard_weight)
            student.div_(temperature)
            teacher.div_(temperature)
        torch.sub(teacher, student, out=gap)
    normalizer = _softmax_(student)
    if hard_weight and of_hard is None:
        hard = hard_weight * (normalizer - of_target).sum()
    gradient = student
    if teacher is not None and gap is not None:
        kl = normalizer - _softmax_(teacher)
        kl += gap.mul_(teacher).sum(1)
        soft = kd_weight * temperature**2 * kl.sum()
        if hard_weight and of_hard is None:  # (1 - w) q + w (q - p) in one step
            gradient.sub_(teacher, alpha=kd_weight)
        else:
            gradient.sub_(teacher).mul_(kd_weight * temperature)
            gradient = gradient if of_hard is None else of_hard.add_(gradient)
    elif hard_weight != 1:
        gradient.mul_(hard_weight)
    if hard_weight:
        gradient.scatter_add_(1, targets, gradient.new_full(targets.shape, -hard_weight))
    return hard, soft, gradient


def _softmax_(scores: Tensor) -> Tensor:
    """Softmax [B, N] in the scores' place; returns the log of its normaliser [B], read off the largest entry."""
    largest = scores.amax(1)
    torch.softmax(scores, dim=1, out=scores)
    return largest - scores.amax(1).log()
