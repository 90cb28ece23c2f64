"""Integers of few bits as the whole numbers of their table.

Dimension key: N items, C columns, W = C numbers of a row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from recbole_odrec.four_bits import in_halves
from recbole_odrec.nn.whole_numbers import WholeNumbers, grown_by, usual


class Integers(WholeNumbers):
    """An integer stands for so many of its column's steps, which are held: they are those of the rows otherwise."""

    moving, must_agree = ("weight", "held_steps"), ("bits",)

    @property
    def moves_every(self) -> int:
        """After each step, as in any training of such a table."""
        return 1

    def now(self) -> Tensor:
        """int8 [N, C]."""
        return self.table.integers(self.table.weight).to(torch.int8)

    def set(self, numbers: Tensor) -> None:
        """See `WholeNumbers`; weights are what their integers stand for."""
        self.table.weight.data.copy_(self.values(numbers))

    def values(self, numbers: Tensor) -> Tensor:
        """[n, C] -> [n, C]."""
        return numbers * self.table.steps()

    def nearest(self, latent: Tensor, start: Tensor) -> Tensor:
        """See `WholeNumbers`."""
        return self.table.integers(latent).to(torch.int8)

    def hold(self) -> None:
        """Steps become part of the state."""
        self.table.held_steps = self.table.steps().clone()

    def meaning(self) -> list[Tensor]:
        """Steps, held or not."""
        return [self.table.steps()]

    def n_bytes(self, n_numbers: int) -> int | None:
        """See `WholeNumbers`."""
        return self.table.n_bytes_with(n_numbers) if n_numbers <= self.table.embedding_dim else None

    def shipped(self, numbers: Tensor) -> np.ndarray:
        """int8 [N, C]; of 4 bits uint8 [N, C / 2]."""
        integers = numbers.cpu().numpy().astype(np.int8)
        return integers if self.table.bits == 8 else in_halves(integers)

    def grown(self, state: Mapping[str, Tensor], n_new: int) -> dict[str, Tensor]:
        """Old weights stay as they are, their steps too."""
        weight, steps = state["weight"], state.get("held_steps")
        steps = self.table.steps_of(weight) if steps is None else steps
        new = usual(self.table.integers(weight, steps), n_new) * steps
        return {**state, "weight": grown_by(weight, new), "held_steps": steps}
