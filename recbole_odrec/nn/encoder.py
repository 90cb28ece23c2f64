"""What a session encoder is: embeddings of a session in, one hidden state for each position out.

Sessions are padded on the right, so a causal encoder never lets a padded position into a real one, and the state at
position l is the state of the prefix that ends there: one pass encodes every prefix of a session.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """A causal network over the items of a session.

    One of one's own is a class with `Settings`, a line in `nn.encoders.ENCODERS` (or `encoder: module:Class`) and
    a graph (`bundle.part_graphs.encode.register`).

    Attributes:
        Settings: frozen dataclass of its keys (`parsing.key`).
        traces_any_length: whether one ExecuTorch program serves sessions of every length.
    """

    Settings: ClassVar[type]
    traces_any_length: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Any, hidden_size: int, max_length: int, std: float) -> Encoder:
        """An untrained encoder.

        Args:
            settings: of the class `Settings`.
            hidden_size: D.
            max_length: the longest session, in items.
            std: standard deviation of the initial weights.

        Raises:
            UserError: settings that do not go with D.
        """

    @abstractmethod
    def forward(self, embeddings: Tensor) -> Tensor:
        """Item embeddings [B, L, D] -> hidden states [B, L, D]; nothing of a later position in an earlier one."""
