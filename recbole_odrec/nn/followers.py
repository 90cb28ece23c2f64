"""What a small table forgets, kept exactly: the few items that most often go with an item, added to their scores.

Which items go together is memory, and the first that compression loses. Four followers an item are twelve bytes, and
tell the table's neighbourhood from what really followed. Training does not see them: they were counted in its cases,
the next item of each included. How much they count is chosen on validation (`trainer.follower_gain`).

Dimension key: B sessions, L positions, C cases, N items, F followers, R positions that speak.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

REACH = 5  # R: the last items of a session
DECAY = 0.7  # of what an item says, a place further back
_SHARPNESS = 100.0  # of the strengths: a share of 1 / 100 among an item's followers counts as a sixth of the largest


def follower_bytes(n_items: int) -> int:
    """Bytes of a follower, as stored on a device: an id of as few as it takes, at least two, and its strength."""
    return 1 + (2 if n_items <= 2**16 else 3 if n_items <= 2**24 else 4)


def bytes_of_followers(n_items: int, n_followers: int) -> int:
    """Bytes that so many followers of every item take beside its table, and in the table's rate."""
    return n_items * n_followers * follower_bytes(n_items)


class FollowerScores(nn.Module):
    """What the followers of a session's last items get on top of their own scores:

        b_t,f = gain * 0.7^(last - t) * strength[item_t, f],   strength = log(1 + 100 share) / log(101)

    `share` is how much of what follows an item is this follower (`neighbours.pairs`), kept in 8 bits. What several
    positions say of one item adds up.

    Args:
        n_items: N, padding row 0 included.
        n_followers: F.
        gain: to begin with.

    Attributes:
        items: int32 [N, F], strongest first; 0 where an item has fewer.
        strengths: uint8 [N, F], in 255ths.
        gain: a number.
    """

    items: Tensor
    strengths: Tensor
    gain: Tensor

    def __init__(self, n_items: int, n_followers: int, gain: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("items", torch.zeros(n_items, n_followers, dtype=torch.int32))
        self.register_buffer("strengths", torch.zeros(n_items, n_followers, dtype=torch.uint8))
        self.register_buffer("gain", torch.tensor(float(gain)))

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
        """Bytes stored for items."""
        return self.items.numel() * follower_bytes(len(self.items))

    @property
    def gains(self) -> Tensor:
        """What each of the last positions counts, the last first: [R]."""
        return self.gain * DECAY ** torch.arange(REACH, device=self.gain.device, dtype=self.gain.dtype)

    def forward(self, item_seq: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Additions of the last positions.

        Args:
            item_seq: item ids [C, L].
            last: position at which each session ends, int64 [C].

        Returns:
            Items, int64 [C, R * F], and what is added to each: 0 where there is none.
        """
        position = last.unsqueeze(1) - torch.arange(REACH, device=last.device)  # [C, R]
        item = item_seq.gather(1, position.clamp(min=0)) * (position >= 0)
        added = self.gains.unsqueeze(1) * (self.strengths[item].to(self.gain.dtype) / 255)  # [C, R, F]
        return self.items[item].long().flatten(1), added.flatten(1)

    def extra_repr(self) -> str:
        n_items, n_followers = self.items.shape
        return f"{n_items}, n_followers={n_followers}, bytes={self.n_bytes:,}"
