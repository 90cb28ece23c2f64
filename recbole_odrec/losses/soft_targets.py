"""Soft targets: the student learns the teacher's distribution over the catalogue.

Dimension key: B rows, N items.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_target_loss(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) over the catalogue, averaged over rows (Hinton et al. 2015; paper section 3.4).

        T^2 / B * sum_b sum_n p_bn (log p_bn - log q_bn),   p = softmax(teacher / T),   q = softmax(student / T)

    T^2 keeps the gradient's size when T changes; the average (the released code sums over the batch) keeps the
    loss's weight when the batch size changes.

    Args:
        student_scores: [B, N], with gradient.
        teacher_scores: [B, N], constant.
        temperature: T > 0.

    Returns:
        Scalar, at least 0; 0 exactly where both distributions agree.

    Raises:
        ValueError: shapes that differ, a temperature that is not positive, teacher scores that are not finite.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[1.0, 2.0, 3.0]])
        >>> soft_target_loss(scores, scores + 5.0).item()
        0.0
    """
    if student_scores.shape != teacher_scores.shape:
        raise ValueError(
            f"student scores {tuple(student_scores.shape)} and teacher scores {tuple(teacher_scores.shape)} must "
            "rank the same items for the same rows."
        )
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}, expected a number above 0.")
    if not teacher_scores.isfinite().all():
        raise ValueError("teacher scores hold NaN or infinity: the teacher diverged; train it with a smaller step.")
    student = F.log_softmax(student_scores / temperature, dim=-1)
    with torch.no_grad():
        scaled = teacher_scores / temperature
        teacher = F.softmax(scaled, dim=-1)
        # log of the normaliser, read off the largest entry: it saves a pass of exponentials over [B, N].
        normalizer = scaled.amax(dim=-1) - teacher.amax(dim=-1).log()
        entropy = normalizer.sum() - torch.dot(teacher.flatten(), scaled.flatten())
    # KL = cross-entropy - entropy: only the first has a gradient, and as a dot product it needs no [B, N] result.
    cross_entropy = -torch.dot(teacher.flatten(), student.flatten())
    return temperature**2 * (cross_entropy - entropy) / len(student)
