"""Batches of session windows, and a process's share of one.

Dimension key: B windows, L positions, C training cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn.functional import pad

from recbole_odrec.processes.group import rank
from recbole_odrec.processes.shares import Share, bounds_of, shares_beside_others

NEXT_ITEMS = "next_items"  # [B, L]: next item after each position, 0 where there is no training case


class Windows(Interaction):
    """A batch of windows that knows where its cases are, so that nobody has to ask the device for them.

    Attributes:
        cases: flat positions in `next_items` that hold an item, int64 [C].
        share: which part of a larger batch these are, where several processes share it.
    """

    cases: Tensor
    share: Share | None

    def __init__(self, fields: dict[str, Tensor], cases: Tensor, share: Share | None = None) -> None:
        super().__init__(fields)
        self.cases, self.share = cases, share

    def to(self, device: Any, selected_field: Any = None) -> Interaction:
        """As RecBole's. All of a batch goes to an accelerator as one copy, which the host does not wait for."""
        device, parts = torch.device(device), [*self.interaction.values(), self.cases]
        if selected_field is not None or any(part.dtype != torch.int64 for part in parts):
            return super().to(device, selected_field)
        if self.cases.device.type != "cpu" or device.type == "cpu":
            *values, cases = (part.to(device) for part in parts)
        else:
            packed = torch.cat([part.flatten() for part in parts])
            packed = (packed.pin_memory() if device.type == "cuda" else packed).to(device, non_blocking=True)
            flat = packed.split([part.numel() for part in parts])
            *values, cases = (values.view(part.shape) for values, part in zip(flat, parts, strict=True))
        return Windows(dict(zip(self.interaction, values, strict=True)), cases, self.share)

    def shared(self) -> Windows:
        """This process's share of the rows, as wide as the batch; what is a share already as it is."""
        if self.share is not None:
            return self
        n_rows, width = self[NEXT_ITEMS].shape
        bounds, cases = bounds_of(n_rows), self.cases.numpy()
        places = np.searchsorted(cases, np.array(bounds) * width)
        own = slice(places[rank()], places[rank() + 1])
        share = Share(bounds, own.stop - own.start, len(cases))
        rows = share.computed
        of_rows = slice(*np.searchsorted(cases, [rows.start * width, rows.stop * width]))
        fields = {name: values[rows] for name, values in self.interaction.items()}
        return _share_of(fields, self.cases[of_rows] - rows.start * width, share)

    def widened(self, widest: int, share: Share) -> Windows:
        """These rows as a share that is so wide."""
        width = self[NEXT_ITEMS].shape[1]
        if width == widest:
            return _share_of(self.interaction, self.cases, share)
        fields = {
            name: pad(values, (0, widest - width)) if values.dim() > 1 else values
            for name, values in self.interaction.items()
        }
        return _share_of(fields, self.cases // width * widest + self.cases % width, share)


def _share_of(fields: dict[str, Tensor], cases: Tensor, share: Share) -> Windows:
    """One whose walks have all ended before their cases computes some case at no weight: of none, a mean is NaN."""
    if not len(cases):
        next_items = torch.zeros_like(fields[NEXT_ITEMS])
        next_items[0, 0] = 1
        fields, cases = {**fields, NEXT_ITEMS: next_items}, cases.new_zeros(1)
    return Windows(fields, cases, share)


def window_cases(batch: Interaction) -> Tensor:
    """Flat positions of a batch's cases, int64 [C]: those of `Windows`; looked for in any other batch of windows."""
    return batch.cases if isinstance(batch, Windows) else batch[NEXT_ITEMS].flatten().nonzero().squeeze(1)


def beside_others(own: Sequence[tuple[Windows, int]]) -> Iterator[Windows]:
    """This process's shares of batches that each process has made some rows of, as wide as the widest share.

    All processes ask at the same time, for as many batches; one that nobody has a row of is left out.

    Args:
        own: rows of each batch, and how many of them count: all, or 0 where one stands for none.
    """
    sizes = [(n_rows, rows[NEXT_ITEMS].shape[1], len(rows.cases) if n_rows else 0) for rows, n_rows in own]
    for (rows, _), (share, widest) in zip(own, shares_beside_others(sizes), strict=True):
        if share.all_rows:
            yield rows.widened(widest, share)
