"""What a small table forgets, kept exactly: the few items that most often go with an item, added to their scores.

Which items go together is memory, and the first that compression loses. Four followers an item are twelve bytes, and
tell the table's neighbourhood from what really followed.

Dimension key: B sessions, L positions, D embedding, C training cases, N items, F followers, R positions that speak.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

REACH = 5  # R: the last items of a session
_SHARPNESS = 100.0  # of the strengths: a share of 1 / 100 among an item's followers counts as a sixth of the largest


class FollowerScores(nn.Module):
    """What the followers of a session's last items get on top of their own scores:

        b_t,f = (w . h_last + gain[last - t]) * strength[item_t, f],   strength = log(1 + 100 share) / log(101)

    `share` is how much of what follows an item is this follower (`neighbours.pairs`), kept in 8 bits. What several
    positions say of one item adds up.

    Args:
        hidden_size: D.
        n_items: N, padding row 0 included.
        n_followers: F.

    Attributes:
        items: int32 [N, F], strongest first; 0 where an item has fewer.
        strengths: uint8 [N, F], in 255ths.
    """

    items: Tensor
    strengths: Tensor

    def __init__(self, hidden_size: int, n_items: int, n_followers: int) -> None:
        super().__init__()
        self.register_buffer("items", torch.zeros(n_items, n_followers, dtype=torch.int32))
        self.register_buffer("strengths", torch.zeros(n_items, n_followers, dtype=torch.uint8))
        self.level = nn.Linear(hidden_size, 1, bias=False)  # w
        self.gain = nn.Parameter(torch.empty(REACH))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """A gain that falls with the distance, the same for every session."""
        nn.init.zeros_(self.level.weight)
        self.gain.copy_(2 * 0.7 ** torch.arange(REACH))

    def remember(self, items: Tensor, shares: Tensor) -> None:
        """Keeps followers [N, F] and how much of each row they are, 0 to 1; a share of 0 is no follower.

        Padding, item 0, has none.
        """
        strengths = torch.log1p(_SHARPNESS * shares.double()) / math.log1p(_SHARPNESS)
        self.strengths = (255 * strengths).round().clamp(max=255).to(self.strengths)
        self.strengths[0] = 0
        self.items = items.to(self.items) * (self.strengths > 0)

    @property
    def n_stored(self) -> int:
        """Numbers stored for items."""
        return self.items.numel() + self.strengths.numel()

    @property
    def n_bytes(self) -> int:
        """Bytes stored for items: ids of two bytes where they suffice, one for each strength."""
        return self.items.numel() * (self.id_bytes + 1)

    @property
    def id_bytes(self) -> int:
        """Bytes of an id, as stored on a device."""
        return 2 if len(self.items) <= 2**16 else 4

    def forward(self, item_seq: Tensor, hidden: Tensor, row: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Additions of the last positions.

        Args:
            item_seq: item ids [B, L].
            hidden: states of a causal encoder [B, L, D].
            row: session of each case, int64 [C].
            last: position at which the case's prefix ends, int64 [C].

        Returns:
            Items, int64 [C, R * F], and what is added to each: 0 where there is none.
        """
        position = last.unsqueeze(1) - torch.arange(REACH, device=last.device)  # [C, R]
        item = item_seq[row.unsqueeze(1), position.clamp(min=0)] * (position >= 0)
        gain = self.level(hidden[row, last]) + self.gain  # [C, R]
        added = gain.unsqueeze(2) * (self.strengths[item].to(gain.dtype) / 255)  # [C, R, F]
        return self.items[item].long().flatten(1), added.flatten(1)

    def extra_repr(self) -> str:
        n_items, n_followers = self.items.shape
        return f"{n_items}, n_followers={n_followers}, bytes={self.n_bytes:,}"
