"""The plain read-out: the last state.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_odrec.nn.readout import Readout
from recbole_odrec.parsing import NoSettings


class LastStateReadout(Readout):
    """The hidden state of the last position that counts (SASRec, GRU4Rec); it has no parameters."""

    @classmethod
    def from_settings(cls, settings: NoSettings, hidden_size: int, max_length: int, std: float) -> LastStateReadout:
        """See `Readout`."""
        return cls()

    def forward(self, hidden: Tensor, mask: Tensor, items: Tensor | None = None) -> Tensor:
        """Last masked position of each session: [B, L, D], bool [B, L] -> [B, D]; zero without any."""
        positions = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        last = (mask * positions).amax(1)  # 1-based, 0 for none
        state = hidden[torch.arange(len(hidden), device=hidden.device), last - 1]
        return state * (last > 0).unsqueeze(-1)

    def every_prefix(self, hidden: Tensor, items: Tensor | None = None) -> Tensor:
        """Each prefix ends at its own position: [B, L, D] unchanged."""
        return hidden
