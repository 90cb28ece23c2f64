"""Settings of our models, parsed once from a configuration into frozen, checked parts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from recbole_odrec.parsing import require

ENCODERS = ("sasrec", "gru")
READOUTS = ("soft_attention", "item_attention", "last")
LEARNING_RATE_DECAYS = ("none", "linear")
SCORE_DTYPES = ("float32", "bfloat16", "auto")


@dataclass(frozen=True)
class NetworkConfig:
    """Encoder and read-out, of teacher and student alike; `properties/model/*.yaml` explains each key."""

    hidden_size: int
    n_layers: int
    hidden_dropout_prob: float
    initializer_range: float
    readout: str
    repeat_scores: bool
    encoder: str = "sasrec"
    # What a network without attention has no key for.
    item_dropout_prob: float = 0.0
    inner_size: int = 1
    n_heads: int = 1
    attn_dropout_prob: float = 0.0

    def __post_init__(self) -> None:
        require(self.encoder in ENCODERS, "encoder", self.encoder, f"one of {', '.join(ENCODERS)}")
        require(self.readout in READOUTS, "readout", self.readout, f"one of {', '.join(READOUTS)}")
        for key in ("hidden_size", "inner_size", "n_layers", "n_heads"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "a whole number of at least 1")
        for key in ("hidden_dropout_prob", "attn_dropout_prob", "item_dropout_prob"):
            require(0 <= getattr(self, key) < 1, key, getattr(self, key), "a number in [0, 1)")
        require(self.initializer_range > 0, "initializer_range", self.initializer_range, "a number above 0")
        if self.encoder == "sasrec":
            fits = self.hidden_size % self.n_heads == 0
            require(fits, "n_heads", self.n_heads, f"a divisor of hidden_size={self.hidden_size}")


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
