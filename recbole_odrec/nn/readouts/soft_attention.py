"""The paper's read-out: soft attention that looks at the mean of the session.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_odrec.nn.readout import Readout
from recbole_odrec.parsing import NoSettings


class SoftAttentionReadout(Readout):
    """Soft attention as in STAMP and SR-GNN, the paper's read-out (section 3.1).

        g = mean_l h_l,   a_l = f . sigmoid(W1 tanh(h_l) + W2 g + c),   s = sum_l a_l h_l

    over the positions that count; the weights a_l are not normalised. Without any such position s = 0.

    Args:
        hidden_size: D.
        initializer_range: standard deviation of the initial weights.
    """

    def __init__(self, hidden_size: int, initializer_range: float = 0.02) -> None:
        super().__init__()
        self.initializer_range = initializer_range
        self.position_weight = nn.Linear(hidden_size, hidden_size, bias=False)  # W1
        self.session_weight = nn.Linear(hidden_size, hidden_size)  # W2, c
        self.attention = nn.Linear(hidden_size, 1, bias=False)  # f
        self.reset_parameters()

    @classmethod
    def from_settings(cls, settings: NoSettings, hidden_size: int, max_length: int, std: float) -> SoftAttentionReadout:
        """See `Readout`."""
        return cls(hidden_size, std)

    def reset_parameters(self) -> None:
        """Normal matrices, zero bias."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=self.initializer_range)
            else:
                nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor, mask: Tensor, items: Tensor | None = None) -> Tensor:
        """Reads out the positions where `mask` holds.

        Args:
            hidden: [B, L, D].
            mask: bool [B, L], any pattern.
            items: not looked at.

        Returns:
            [B, D].
        """
        counted = mask.unsqueeze(-1).to(hidden.dtype)  # [B, L, 1]
        mean = (hidden * counted).sum(1) / counted.sum(1).clamp(min=1)  # [B, D]
        gate = self.position_weight(torch.tanh(hidden)) + self.session_weight(mean).unsqueeze(1)  # [B, L, D]
        weight = self.attention(torch.sigmoid(gate)) * counted  # [B, L, 1]
        return (weight * hidden).sum(1)

    def every_prefix(self, hidden: Tensor, items: Tensor | None = None) -> Tensor:
        """Reads out each prefix: row l of the result equals `forward` over positions 0 .. l.

        Args:
            hidden: [B, L, D] of a causal encoder.

        Returns:
            [B, L, D]; needs B * L * L * D numbers in between, as all prefixes on their own would.
        """
        length = hidden.shape[1]
        count = torch.arange(1, length + 1, device=hidden.device, dtype=hidden.dtype).unsqueeze(-1)  # [L, 1]
        mean = hidden.cumsum(1) / count  # [B, L, D]
        gate = self.position_weight(torch.tanh(hidden)).unsqueeze(1) + self.session_weight(mean).unsqueeze(2)
        weight = self.attention(torch.sigmoid(gate)).squeeze(-1)  # [B, prefix, position]
        return weight.tril() @ hidden  # [B, L, L] x [B, L, D] -> [B, L, D]
