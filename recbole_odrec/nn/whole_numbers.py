"""Tables whose rows are a few small whole numbers each: what of them moves while everything else stays bit for bit.

Dimension key: N items, F whole numbers of each, E = W / F, W real numbers that these stand for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor


class WholeNumbers(ABC):
    """Those of one table, read from it and written into it.

    A table says which class is its own (`ItemTable.numbers`). Number f of an item stands for entries f E .. (f + 1) E
    of W real numbers; a full table of such rows trains in its place (`follow`).

    Args:
        table: theirs.

    Attributes:
        moving: names of the table's state that differ from one student to the next; its items in the first.
        must_agree: keys of the table's settings that cannot be others than before.
    """

    moving: ClassVar[Sequence[str]]
    must_agree: ClassVar[Sequence[str]] = ()

    def __init__(self, table: Any) -> None:
        self.table = table

    @property
    @abstractmethod
    def moves_every(self) -> int:
        """Steps of training from one move to the next; 0: they never move."""

    @abstractmethod
    def now(self) -> Tensor:
        """As they are: a copy [N, F], of a type of whole numbers."""

    @abstractmethod
    def set(self, numbers: Tensor) -> None:
        """Puts them into the table, [N, F]."""

    @abstractmethod
    def values(self, numbers: Tensor) -> Tensor:
        """What they stand for: [n, F] -> [n, W]."""

    @abstractmethod
    def nearest(self, latent: Tensor, start: Tensor) -> Tensor:
        """Those next to rows of such values [N, W]; of equally near ones those of `start` [N, F]."""

    def follow(self, latent: Tensor) -> None:
        """From now on a table [N, W] gets the gradient of the values."""
        self.table.follow(latent)

    @abstractmethod
    def hold(self) -> None:
        """From now on what a number means does not depend on the others."""

    def meaning(self) -> list[Tensor]:
        """What must be equal for numbers to mean the same, beside the state that does not move."""
        return []

    @property
    def stored(self) -> Tensor:
        """What of the table says them: [N, F]."""
        return getattr(self.table, self.moving[0])

    @abstractmethod
    def n_bytes(self, n_numbers: int) -> int | None:
        """Bytes of the table if it had F numbers a row; None where it cannot have so many."""

    @abstractmethod
    def shipped(self, numbers: Tensor) -> np.ndarray:
        """As they stand in a bundle, in bytes; one axis is that of the items."""

    @abstractmethod
    def grown(self, state: Mapping[str, Tensor], n_new: int) -> dict[str, Tensor]:
        """A smaller table's state, held, with so many items more: all alike, the cheapest for a delta."""


def numbers_of(table: Any) -> WholeNumbers | None:
    """Those of an item table; None where its rows are no whole numbers."""
    return None if table.numbers is None else table.numbers(table)


def usual(numbers: Tensor, n_new: int) -> Tensor:
    """Of each column its most frequent number, for as many items: [n, F] -> [n_new, F]."""
    return numbers.long().mode(0).values.to(numbers.dtype).expand(n_new, -1)


def grown_by(rows: Tensor, new: Tensor) -> Tensor:
    """[n, F], [n_new, F] -> [n + n_new, F]."""
    return torch.cat([rows, new.to(rows)])
