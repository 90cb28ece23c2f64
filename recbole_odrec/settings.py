"""Settings of our models, parsed once from a configuration into frozen, checked parts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from recbole_odrec.parsing import require

LEARNING_RATE_DECAYS = ("none", "linear")
SCORE_DTYPES = ("float32", "bfloat16", "auto")


@dataclass(frozen=True)
class NetworkConfig:
    """What the parts of a network share, in teacher and student alike; `properties/model/*.yaml` explains each key."""

    hidden_size: int
    initializer_range: float
    repeat_scores: bool

    def __post_init__(self) -> None:
        require(self.hidden_size >= 1, "hidden_size", self.hidden_size, "a whole number of at least 1")
        require(self.initializer_range > 0, "initializer_range", self.initializer_range, "a number above 0")


@dataclass(frozen=True)
class DistillationConfig:
    """Teachers, and what the student takes over from them."""

    teacher: str
    teacher_config: dict[str, Any]
    n_teachers: int
    second_teacher: dict[str, Any]
    teacher_checkpoint: str | list[str] | None
    teacher_weights: list[float] | None
    teacher_cache: bool
    init_from_teacher: bool

    def __post_init__(self) -> None:
        require(self.n_teachers >= 1, "n_teachers", self.n_teachers, "a whole number of at least 1")
        weights, n_teachers = self.teacher_weights, len(self.teacher_files) or self.n_teachers
        if weights is not None:
            fits = len(weights) == n_teachers and all(map(_is_weight, weights))
            require(fits, "teacher_weights", weights, f"a number above 0 for each of {n_teachers} teachers")
        weight = self.second_teacher.get("weight", 1)
        require(_is_weight(weight), "weight of second_teacher", weight, "a number above 0")
        require(self.teacher_checkpoint != [], "teacher_checkpoint", [], "a file or a list of files")

    @property
    def teacher_files(self) -> list[str]:
        """Teachers given as files."""
        given = self.teacher_checkpoint or []
        return [given] if isinstance(given, str) else given


def _is_weight(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


# Keys whose types `parse` checks.
PARSED_KEYS = {field.name for part in (NetworkConfig, DistillationConfig) for field in fields(part)}
