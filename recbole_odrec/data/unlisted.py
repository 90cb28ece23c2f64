"""RecBole's loaders and samplers made without a Python object for every row and every session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from recbole.data.dataloader import abstract_dataloader
from recbole.sampler import RepeatableSampler


class NobodyUsed:
    """An empty set for each user, made when asked for."""

    def __init__(self, n_users: int) -> None:
        self._n_users = n_users

    def __len__(self) -> int:
        return self._n_users

    def __getitem__(self, user: int) -> set[int]:
        return set()


@contextmanager
def unlisted() -> Iterator[None]:
    """Inside, what is made keeps a range for `list(range(n_rows))`, 40 bytes a row, and no set a user, 200 bytes each.

    The sampler for sequences sets its empty sets aside before it samples; PyTorch reads a range as it reads a list.
    """
    kept = patch.object(abstract_dataloader, "list", lambda rows: rows, create=True)  # it lists nothing but rows
    used = patch.object(RepeatableSampler, "get_used_ids", lambda sampler: NobodyUsed(sampler.user_num))
    with kept, used:
        yield
