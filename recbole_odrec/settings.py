"""Settings of our models, parsed once from a configuration into frozen, checked parts."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_odrec.parsing import require


@dataclass(frozen=True)
class NetworkConfig:
    """What the parts of a network share, in teacher and student alike; `properties/model/*.yaml` explains each key."""

    hidden_size: int
    initializer_range: float
    repeat_scores: bool
    n_followers: int
    follower_gain: float | str

    def __post_init__(self) -> None:
        require(self.hidden_size >= 1, "hidden_size", self.hidden_size, "a whole number of at least 1")
        require(self.hidden_size <= 2**16, "hidden_size", self.hidden_size, "at most 65536")
        require(0 <= self.n_followers <= 64, "n_followers", self.n_followers, "a whole number from 0 to 64")
        gain = self.follower_gain
        is_gain = gain == "auto" or (not isinstance(gain, str) and gain >= 0)
        require(is_gain, "follower_gain", gain, "auto, or a number of at least 0")
        require(self.initializer_range > 0, "initializer_range", self.initializer_range, "a number above 0")


@dataclass(frozen=True)
class DistillationConfig:
    """What the student takes over from its teachers."""

    init_from_teacher: bool
