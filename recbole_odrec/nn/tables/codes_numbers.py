"""Product codes as the whole numbers of their table.

Dimension key: N items, M codebooks, W = D numbers of a row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from recbole_odrec.nn.tables.codes_fit import nearest
from recbole_odrec.nn.whole_numbers import WholeNumbers, grown_by, usual


class Codes(WholeNumbers):
    """A code stands for an entry of its codebook: M of them for a row."""

    moving = ("codes",)

    @property
    def moves_every(self) -> int:
        return self.table.move_codes_every

    def now(self) -> Tensor:
        """uint8 [N, M]."""
        return self.table.codes.clone()

    def set(self, numbers: Tensor) -> None:
        """See `WholeNumbers`."""
        self.table.codes.copy_(numbers)

    def values(self, numbers: Tensor) -> Tensor:
        """[n, M] -> rows [n, D]."""
        return self.table._decode(numbers)

    def nearest(self, latent: Tensor, start: Tensor) -> Tensor:
        """Entries that are equal bit for bit are equally near."""
        books = self.table.rounded_codebooks()
        codes, start = nearest(latent, books).long(), start.long()
        places = torch.arange(len(books), device=codes.device)
        is_same = (books[places, codes] == books[places, start]).all(2)
        return torch.where(is_same, start, codes).to(torch.uint8)

    def hold(self) -> None:
        """Codebooks say what codes mean."""

    def n_bytes(self, n_numbers: int) -> int | None:
        """See `WholeNumbers`; M divides D."""
        table = self.table
        size = table.n_items, table.embedding_dim, n_numbers
        return None if table.embedding_dim % n_numbers else type(table)(*size).n_bytes

    def shipped(self, numbers: Tensor) -> np.ndarray:
        """uint8 [M, N]."""
        return numbers.cpu().numpy().T.copy()

    def grown(self, state: Mapping[str, Tensor], n_new: int) -> dict[str, Tensor]:
        """See `WholeNumbers`."""
        return {**state, "codes": grown_by(state["codes"], usual(state["codes"], n_new))}
