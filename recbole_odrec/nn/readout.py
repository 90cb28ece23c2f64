"""What a read-out is: one vector a position in, one vector a session out, or one for each of its prefixes.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recbole_odrec.parsing import NoSettings


class Readout(nn.Module, ABC):
    """From the states of a causal encoder to the representation of a session.

    One of one's own is a class with `Settings`, a line in `nn.readouts.READOUTS` (or `readout: module:Class`) and
    a graph (`bundle.part_graphs.read_out.register`).

    Attributes:
        Settings: frozen dataclass of its keys (`parsing.key`).
    """

    Settings: ClassVar[type] = NoSettings

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Any, hidden_size: int, max_length: int, std: float) -> Readout:
        """An untrained read-out; arguments as of `Encoder.from_settings`."""

    @abstractmethod
    def forward(self, hidden: Tensor, mask: Tensor, items: Tensor) -> Tensor:
        """Reads out each session.

        Args:
            hidden: states of a causal encoder [B, L, D].
            mask: bool [B, L], True on a session's items, which stand to the left.
            items: item embeddings [B, L, D].

        Returns:
            [B, D].
        """

    def every_prefix(self, hidden: Tensor, items: Tensor) -> Tensor:
        """Reads out each prefix: row l of the result [B, L, D] equals `forward` over positions 0 .. l."""
        mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        ends = range(1, hidden.shape[1] + 1)
        return torch.stack([self(hidden[:, :end], mask[:, :end], items[:, :end]) for end in ends], dim=1)
