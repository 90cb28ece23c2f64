"""Session benchmark files with one whole session a line: `NAME.train.inter`, `NAME.valid.inter`, `NAME.test.inter`.

    session_id:token <tab> item_id_list:token_seq [<tab> n_given:float]

Every item of a session from the second on is a case: the items before it are its history. With `n_given`, the first so
many items of the line only ever serve as history: a line may be a single case, and any set of cases can be written.
There is no `item_id` column; a file that has one holds a single case a line, as RecBole itself reads it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from recbole.config import Config
from tqdm import tqdm

from recbole_odrec.data.table_reader import PADDING, Header, quoted, text_lines, value_error
from recbole_odrec.errors import UserError

N_GIVEN = "n_given"
_CLOSING = set("])}\"'")
_PADDED_SHARE = 0.1  # of the sessions: fewer may end with one item twice


class SessionPart(NamedTuple):
    """The sessions of one file.

    Attributes:
        starts: int32 [S + 1]; session s is tokens[starts[s]:starts[s + 1]].
        given: items of each session that are no target: a number, or the running totals of theirs, int64 [S + 1].
    """

    starts: np.ndarray
    given: int | np.ndarray

    @property
    def n_sessions(self) -> int:
        return len(self.starts) - 1

    @property
    def n_cases(self) -> int:
        """Prefixes with a next item."""
        return int(self.starts[-1] - self.starts[0] - self.given_before(self.n_sessions))

    @property
    def n_given(self) -> int | np.ndarray:
        """Items of each session that are no target: one number, or [S]."""
        return self.given if isinstance(self.given, int) else np.diff(self.given)

    def given_before(self, sessions: Any) -> Any:
        """Items that are no target in all sessions before these, int64."""
        return np.int64(self.given) * sessions if isinstance(self.given, int) else self.given[sessions]

    def given_of(self, sessions: np.ndarray) -> Any:
        """Items that are no target in each of these sessions."""
        return self.given if isinstance(self.given, int) else self.given[sessions + 1] - self.given[sessions]


def make_part(starts: np.ndarray, n_given: np.ndarray) -> SessionPart:
    """A part out of where sessions start [S + 1] and how many of their items are no target [S]."""
    if (n_given == n_given[0]).all():
        return SessionPart(starts, int(n_given[0]))
    return SessionPart(starts, np.concatenate([[0], np.cumsum(n_given, dtype=np.int64)]))


def joined(first: SessionPart, second: SessionPart) -> SessionPart:
    """Two parts that lie one after the other, as one."""
    n_given = [np.broadcast_to(part.n_given, part.n_sessions) for part in (first, second)]
    return make_part(np.concatenate([first.starts, second.starts[1:]]), np.concatenate(n_given))


class Sessions(NamedTuple):
    """Everything in a data set of session files.

    Attributes:
        tokens: int32 item ids of all sessions, one after the other, 0 for none.
        parts: train, valid, test.
        item_ids: id of each raw item, in order; `[PAD]` is 0.
    """

    tokens: np.ndarray
    parts: list[SessionPart]
    item_ids: dict[str, int]


def session_file_paths(config: Config) -> list[Path]:
    """The data set's files when they hold whole sessions, else an empty list."""
    names = config["benchmark_filename"]
    if not isinstance(names, list) or len(names) != 3:
        return []
    paths = [Path(config["data_path"]) / f"{config['dataset']}.{name}.inter" for name in names]
    if not all(path.is_file() for path in paths):
        return []
    items = config["ITEM_ID_FIELD"]
    headers = [Header.read(path, config["field_separator"], config["encoding"]).kinds for path in paths]
    is_whole = [items + config["LIST_SUFFIX"] in header and items not in header for header in headers]
    if any(is_whole) and not all(is_whole):
        raise UserError(
            f"{paths[is_whole.index(True)]} holds whole sessions and {paths[is_whole.index(False)]} single cases "
            f"(column `{items}`): write all three alike."
        )
    return paths if all(is_whole) else []


def read_sessions(paths: Sequence[Path], config: Config, known: Sequence[str] = ()) -> Sessions:
    """Reads whole sessions into one array, in one pass over each file.

    Items are numbered from 1: known ones, in their order, then others in order of their first appearance.

    Raises:
        UserError: the file and line, what stands there and what was expected.
    """
    tokens, ids, parts = array("i"), {item: number for number, item in enumerate([PADDING, *known])}, []
    for path in paths:
        try:
            parts.append(_read_part(path, config, tokens, ids))
        except OverflowError as error:
            raise UserError(
                f"{path}: more than {2**31 - 1:,} items in all sessions, which is the most read."
            ) from error
    sessions = Sessions(np.frombuffer(tokens, dtype=np.int32), parts, ids)
    for path, part in zip(paths, parts, strict=True):
        _check_padding(path, part, sessions)
    return sessions


def _read_part(path: Path, config: Config, tokens: array, ids: dict[str, int]) -> SessionPart:
    separator, blank, user = config["field_separator"], config["seq_separator"], config["USER_ID_FIELD"]
    lines = text_lines(path, config["encoding"])
    header = Header.parse(path, next(lines, (1, ""))[1], separator)
    items = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
    given = {N_GIVEN: "float"} if N_GIVEN in header.kinds else {}
    header.require({items: "token_seq", **({user: "token"} if user in header.kinds else {}), **given})
    names = list(header.kinds)
    items_at = names.index(items)
    given_at, user_at = (names.index(name) if name in names else None for name in (N_GIVEN, user))
    starts, n_given, n_givens, is_list = array("i", [len(tokens)]), 1, array("i"), True
    bar = tqdm(
        total=path.stat().st_size,
        desc=path.name,
        unit="B",
        unit_scale=True,
        delay=2,
        disable=None if config["show_progress"] else True,  # None: drawn on a terminal alone
    )
    with bar:
        for number, line in lines:
            bar.update(len(line) + 1)
            values = line.split(separator)
            if len(values) != len(names):
                raise UserError(f"{path}, line {number}: {len(values)} columns, expected {len(names)} as in line 1.")
            if given_at is not None:
                n_given = _given(path, number, values[given_at])
                n_givens.append(n_given)
            if user_at is not None and (not values[user_at].strip() or values[user_at] == PADDING):
                raise value_error(path, number, user, values[user_at], f"a session, not empty nor {PADDING}")
            session = values[items_at].split(blank)
            if len(session) <= n_given or "" in session:
                raise UserError(
                    f"{path}, line {number}: {quoted(values[items_at])}, expected at least {n_given + 1} items, one "
                    f"`{blank}` between two."
                )
            if PADDING in values[items_at] and PADDING in session:
                raise value_error(path, number, items, values[items_at], f"items, and {PADDING} is no item's name")
            is_list = is_list and is_written_list(session)
            tokens.extend([ids.setdefault(item, len(ids)) for item in session])
            starts.append(len(tokens))
    if len(starts) == 1:
        raise UserError(f"{path}: no session below the header.")
    if is_list:
        raise UserError(
            f"{path}: every list is written like {quoted(values[items_at])}; expected items with one `{blank}` between "
            "two, without brackets and commas."
        )
    part_starts = np.frombuffer(starts, dtype=np.int32)
    return make_part(part_starts, np.frombuffer(n_givens, dtype=np.int32)) if n_givens else SessionPart(part_starts, 1)


def _given(path: Path, number: int, word: str) -> int:
    if not (word.isascii() and word.isdecimal() and int(word) >= 1):
        raise value_error(path, number, N_GIVEN, word, "a whole number from 1")
    return int(word)


def is_written_list(session: Sequence[str]) -> bool:
    """Whether items look like `[1,` .. `3]` or `1,` .. `3`: a list as a programming language writes it."""
    first, last = session[0], session[-1]
    is_bracketed = first[0] in "[({\"'" and last[-1] in _CLOSING and not set(first[1:]) & _CLOSING
    return is_bracketed or (first[-1] in ",;" and last[-1] not in ",;")


def _check_padding(path: Path, part: SessionPart, sessions: Sessions) -> None:
    """Refuses sessions filled up to a width: an item that only ever stands in a run at their end, or start."""
    tokens = sessions.tokens[part.starts[0] : part.starts[-1]]
    starts = part.starts[:-1].astype(np.int64) - part.starts[0]
    ends = part.starts[1:].astype(np.int64) - part.starts[0] - 1
    for edge, step in ((ends, -1), (starts, 1)):
        repeated = tokens[edge][tokens[edge] == tokens[edge + step]]
        if len(repeated) < max(2, _PADDED_SHARE * part.n_sessions):
            continue
        item = np.bincount(repeated).argmax()
        n_padded = int((repeated == item).sum())
        inside = np.setdiff1d(np.flatnonzero(tokens == item), edge, assume_unique=True)
        if n_padded >= max(2, _PADDED_SHARE * part.n_sessions) and (tokens[inside - step] == item).all():
            token = next(token for token, number in sessions.item_ids.items() if number == item)
            raise UserError(
                f"{path}: {quoted(token)} fills {n_padded:,} of {part.n_sessions:,} sessions up at their "
                f"{'end' if step < 0 else 'start'} and is nowhere else, as padding is: write sessions without padding."
            )
