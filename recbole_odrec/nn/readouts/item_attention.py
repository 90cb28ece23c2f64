"""The read-out in the space of the items: a session is a mixture of its own items.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_odrec.nn.readout import Readout
from recbole_odrec.parsing import key, require


@dataclass(frozen=True)
class ItemAttentionSettings:
    """Dropout of what is mixed."""

    item_dropout_prob: float = key(0.0, "Dropout of the items that item_attention reads.")

    def __post_init__(self) -> None:
        dropout = self.item_dropout_prob
        require(0 <= dropout < 1, "item_dropout_prob", dropout, "a number in [0, 1)")


class ItemAttentionReadout(Readout):
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

    Settings = ItemAttentionSettings

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

    @classmethod
    def from_settings(
        cls, settings: ItemAttentionSettings, hidden_size: int, max_length: int, std: float
    ) -> ItemAttentionReadout:
        """See `Readout`; its matrices start as Xavier says, whatever `std`."""
        return cls(hidden_size, max_length, dropout=settings.item_dropout_prob)

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
