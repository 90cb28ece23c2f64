"""Rows of whole sessions, worked out when asked for: what RecBole sees in place of a table of interactions.

Dimension key: S sessions, R rows (one prefix and its next item each).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_odrec.data.session_file import SessionPart
from recbole_odrec.errors import UserError


class RowFields(NamedTuple):
    """Names of a row's columns."""

    session: str
    next_item: str
    length: str
    session_start: str
    history_end: str


class SessionRows:
    """Quacks like the `Interaction` of every row; stores nothing but the sessions.

    Row r is the r-th prefix, session by session, shortest first: the order in which RecBole would store them.

    Args:
        tokens: int32 item ids of all sessions.
        part: where the sessions lie.
        fields: names of the columns.
        longest: the most items a history keeps.
        first_session: number of the part's first session among all, from 1.
    """

    def __init__(
        self, tokens: np.ndarray, part: SessionPart, fields: RowFields, longest: int, first_session: int
    ) -> None:
        self.tokens, self.part, self.fields, self.longest = tokens, part, fields, longest
        self.first_session = first_session

    def __len__(self) -> int:
        return self.part.n_cases

    def __contains__(self, field: str) -> bool:
        return field in self.fields

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __getitem__(self, index: Any) -> Any:
        """Rows at these positions, or the whole column of a name (which then does take R numbers)."""
        if isinstance(index, str):
            if index not in self.fields:
                raise UserError(
                    f"rows of whole sessions are made when asked for, and have no column `{index}`: a model that looks "
                    "there needs prefix rows (`recbole-odrec convert --expand`)."
                )
            return self[np.arange(len(self))][index]
        rows = np.arange(len(self))[index] if isinstance(index, (slice, int)) else np.asarray(index)
        rows = np.atleast_1d(np.flatnonzero(rows) if rows.dtype == bool else rows)
        sessions = self._sessions_of(rows)
        starts = self.part.starts[sessions].astype(np.int64)
        ends = starts + self.part.given_of(sessions) + rows - self._first_row(sessions)
        columns = (
            sessions + self.first_session,
            self.tokens[ends].astype(np.int64),
            np.minimum(ends - starts, self.longest),
            starts,
            ends,
        )
        return Interaction({name: torch.as_tensor(v) for name, v in zip(self.fields, columns, strict=True)})

    def sort(self, by: str, ascending: bool = True) -> None:
        """Nothing to do where RecBole wants the rows by session, as they are."""
        if by != self.fields.session or not ascending:
            raise ValueError(f"rows of whole sessions come session by session, not by {by}")

    def _first_row(self, sessions: np.ndarray) -> np.ndarray:
        return self.part.starts[sessions] - np.int64(self.part.starts[0]) - self.part.given_before(sessions)

    def _sessions_of(self, rows: np.ndarray) -> np.ndarray:
        """The session of each row by bisection: an index of S numbers is what it saves."""
        low, high = np.zeros(len(rows), np.int64), np.full(len(rows), self.part.n_sessions - 1, np.int64)
        while (low < high).any():
            middle = (low + high + 1) // 2
            is_above = self._first_row(middle) > rows
            low, high = np.where(is_above, low, middle), np.where(is_above, middle - 1, high)
        return low


class StreamedRows(SessionRows):
    """Rows of a training part that stays in its files: their number is known, and no row can be asked for."""

    part: Any  # a `StreamedPart`

    def __getitem__(self, index: Any) -> Any:
        raise self.refusal()

    def refusal(self, who: str = "a model or metric that is asked for", instead: str = "our networks") -> UserError:
        """What to do about somebody who wants them: hold them in memory, or take something else."""
        return UserError(
            f"{self.part.manifest.folder}: its {len(self):,} training cases are streamed, and {who} needs all of them "
            f"at once: hold them in memory with --shuffle_buffer={len(self)}, or take {instead}."
        )
