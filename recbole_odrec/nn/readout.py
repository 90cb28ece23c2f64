"""Read-outs: from one vector a position to one vector a session (or to one for each of its prefixes).

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SoftAttentionReadout(nn.Module):
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


class LastStateReadout(nn.Module):
    """The hidden state of the last position that counts (SASRec, GRU4Rec); it has no parameters."""

    def forward(self, hidden: Tensor, mask: Tensor, items: Tensor | None = None) -> Tensor:
        """Last masked position of each session: [B, L, D], bool [B, L] -> [B, D]; zero without any."""
        positions = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        last = (mask * positions).amax(1)  # 1-based, 0 for none
        state = hidden[torch.arange(len(hidden), device=hidden.device), last - 1]
        return state * (last > 0).unsqueeze(-1)

    def every_prefix(self, hidden: Tensor, items: Tensor | None = None) -> Tensor:
        """Each prefix ends at its own position: [B, L, D] unchanged."""
        return hidden


class ItemAttentionReadout(nn.Module):
    """The session as a mixture of its own item embeddings, of length `scale`, as in CORE (Hou et al. 2022).

        a_t = softmax_t( (Wq h_last) . (Wk h_t) / sqrt(D) + bias[last - t] ),   s = sum_t a_t e_t + V h_last + v
        result = scale * s / |s|

    Items and session share one space. Positions count from the end and the weights add up to one, so that a session
    longer than those of training is read like them; a learned scale takes the place of the session's length.

    Args:
        hidden_size: D.
        max_length: the longest session, in items.
        scale: of the result, to begin with.
        dropout: of the item embeddings that are mixed.
    """

    def __init__(self, hidden_size: int, max_length: int, scale: float = 16.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.first_scale = scale
        self.dropout = nn.Dropout(dropout)
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size, bias=False)  # it would cancel in the softmax
        self.distance_bias = nn.Parameter(torch.empty(max_length))
        self.state = nn.Linear(hidden_size, hidden_size)  # V, v
        self.log_scale = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier queries and keys; the rest starts at zero, the scale where it was asked to."""
        for layer in (self.query, self.key):
            nn.init.xavier_uniform_(layer.weight)
        for parameter in (self.query.bias, self.distance_bias, *self.state.parameters()):
            nn.init.zeros_(parameter)
        nn.init.constant_(self.log_scale, math.log(self.first_scale))

    def forward(self, hidden: Tensor, mask: Tensor, items: Tensor) -> Tensor:
        """Reads out each session at its last masked position.

        Args:
            hidden: states [B, L, D] of a causal encoder.
            mask: bool [B, L], True on a session's items, which stand to the left.
            items: item embeddings [B, L, D].

        Returns:
            [B, D].
        """
        last = (mask.sum(1) - 1).clamp(min=0)  # [B]
        query = hidden[torch.arange(len(hidden), device=hidden.device), last].unsqueeze(1)  # [B, 1, D]
        return self._read(query, last.unsqueeze(1), hidden, items).squeeze(1)

    def every_prefix(self, hidden: Tensor, items: Tensor) -> Tensor:
        """Reads out each prefix: row l of the result [B, L, D] equals `forward` over positions 0 .. l."""
        ends = torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[:2])
        return self._read(hidden, ends, hidden, items)

    def _read(self, query: Tensor, ends: Tensor, hidden: Tensor, items: Tensor) -> Tensor:
        """States [B, P, D] at positions `ends` [B, P] read states and items [B, L, D]: -> [B, P, D]."""
        distance = ends.unsqueeze(-1) - torch.arange(hidden.shape[1], device=hidden.device)  # [B, P, L]
        logit = self.query(query) @ self.key(hidden).transpose(1, 2) / math.sqrt(hidden.shape[-1])
        logit = logit + self.distance_bias[distance.clamp(min=0)]
        weight = logit.masked_fill(distance < 0, -torch.inf).softmax(-1)
        session = weight @ self.dropout(items) + self.state(query)  # [B, P, L] x [B, L, D] -> [B, P, D]
        return F.normalize(session, dim=-1) * self.log_scale.exp()
