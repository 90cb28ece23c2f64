"""Sessions out of the files that papers publish: an `.inter` table, pickles (plain text: `plain_text`).

Every reader gives raw item tokens, sessions in time order. A published list of cases (history, next item) is written as
whole sessions where cases follow from each other, which is only shorter: any set of cases is one of sessions.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from recbole_odrec.data.table_reader import (
    PADDING,
    Column,
    Header,
    one_line,
    quoted,
    read_columns,
)
from recbole_odrec.errors import UserError

Session = tuple[str, ...]


class SourceSessions(NamedTuple):
    """Sessions of one file.

    Attributes:
        sessions: raw item tokens, oldest session first.
        n_given: items of each session that only serve as history; None when every prefix is a case.
    """

    sessions: list[Session]
    n_given: list[int] | None = None

    def some(self, which: slice) -> SourceSessions:
        """Those sessions."""
        return SourceSessions(self.sessions[which], self.n_given and self.n_given[which])

    def given(self) -> Iterable[int]:
        """Items of each session that only serve as history, one number a session."""
        return self.n_given or repeat(1, len(self.sessions))

    @property
    def n_cases(self) -> int:
        """Prefixes with a next item."""
        return sum(map(len, self.sessions)) - sum(self.given())


# ---------------------------------------------------------------------- tokens that the files can hold


def check_token(token: str, where: str) -> str:
    """The token itself.

    Raises:
        UserError: it would be another one, or several, once written and read.
    """
    if token == PADDING or not token or " " in token or "\t" in token or token.splitlines() != [token]:
        raise UserError(
            f"{where}: item {quoted(token)}, expected a name without blanks, tabs and line breaks, neither empty nor "
            f"{PADDING}."
        )
    try:
        token.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: item {quoted(token)} is no text that utf-8 can hold.") from None
    return token


# ---------------------------------------------------------------------- cases as sessions


def join_cases(cases: Iterable[Session]) -> SourceSessions:
    """Sessions that expand to exactly these cases, as `joined_cases` has them."""
    found = [*joined_cases(cases)]
    n_given = [n for _, n in found]
    return SourceSessions([session for session, _ in found], None if set(n_given) == {1} else n_given)


def joined_cases(cases: Iterable[Session]) -> Iterator[tuple[Session, int]]:
    """Sessions, each with how many of its items only serve as history, that expand to exactly these cases.

    A case goes to the session before it where it is that session's next prefix, longest first (as SR-GNN and its
    successors store them) or shortest first; else it begins a session, whose shorter prefixes are no cases.

    Args:
        cases: history and next item, as one tuple each.
    """
    step = n_given = 0  # step: of the lengths of the cases joined last: -1, 1; 0 for a first case
    session: Session = ()
    before: Session = ()
    for case in cases:
        if step <= 0 and before and case == before[:-1]:
            n_given, step = n_given - 1, -1
        elif step >= 0 and before and case[:-1] == before:
            session, step = case, 1
        else:
            if session:
                yield session, n_given
            session, n_given, step = case, len(case) - 1, 0
        before = case
    if session:
        yield session, n_given


# ---------------------------------------------------------------------- (a) a table of interactions


def read_interactions(path: Path, session: str, item: str, time: str, min_item_count: int = 1) -> SourceSessions:
    """Sessions of an `.inter` file, in order of their last interaction; items in order of time.

    Sessions of one item hold no case and are left out.

    Args:
        path: tab-separated, with a header `name:type`.
        session, item, time: names of its columns.
        min_item_count: rarer items are left out first.

    Raises:
        UserError: file and line, what stands there and what was expected.
    """
    header = Header.read(path, "\t")
    header.require({session: "token", item: "token", time: "float"})
    values = read_columns(path, "\t", None, (session, item, time))
    who, what, when = (Column(path, name, values[name], is_needed=True) for name in (session, item, time))
    events: dict[str, list[tuple[float, int, str]]] = {}
    for row, (user, token, moment) in enumerate(zip(who.tokens(), what.tokens(), when.moments().tolist(), strict=True)):
        events.setdefault(user, []).append((moment, row, check_token(token, f"{path}, line {row + 2}")))
    counts = Counter(values[item])
    ordered = sorted((sorted(found) for found in events.values()), key=lambda found: found[-1][:2])
    sessions = (tuple(what for *_, what in found if counts[what] >= min_item_count) for found in ordered)
    kept = [items for items in sessions if len(items) > 1]
    if not kept:
        raise UserError(f"{path}: no session of two items in it.")
    return SourceSessions(kept)


# ---------------------------------------------------------------------- (b) pickles of SR-GNN and its successors


class _PlainUnpickler(pickle.Unpickler):
    """Lists, tuples, numbers and strings only: nothing in the file is ever called."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}; only lists, tuples, numbers and strings are read")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to an object outside the file")


def read_pickle(path: Path) -> SourceSessions:
    """A pickled list of sessions, or the pair (prefixes, next items) that SR-GNN and GCE-GNN publish.

    Raises:
        UserError: a file that holds anything else; a class in it is refused, never imported.
    """
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file).load()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise UserError(f"{path}: refused or damaged pickle ({one_line(error)}).") from error
    if not _is_list(content) or not content:
        raise UserError(
            f"{path}: {'an empty' if _is_list(content) else 'a pickled'} {type(content).__name__}, "
            "expected a list of sessions, or a pair (list of histories, list of next items)."
        )
    kinds: set[type] = set()
    try:
        if len(content) == 2 and _is_list(content[0]) and any(map(_is_list, content[0])):
            return join_cases(_cases(path, content[0], content[1], kinds))
        return SourceSessions([_session(path, f"session {at}", items, kinds) for at, items in enumerate(content)])
    except UserError:
        raise
    except (ValueError, RecursionError) as error:  # what Python says of a number of 5,000 digits or 1,000 nested lists
        raise UserError(f"{path}: holds what no item is called ({one_line(error)}).") from error


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _cases(path: Path, histories: Any, targets: Any, kinds: set[type]) -> Iterator[Session]:
    if not _is_list(targets) or len(histories) != len(targets):
        n_targets = len(targets) if _is_list(targets) else f"a {type(targets).__name__} of"
        raise UserError(f"{path}: {len(histories)} histories and {n_targets} next items, expected as many of each.")
    for at, (history, target) in enumerate(zip(histories, targets, strict=True)):
        yield _session(path, f"case {at}", [*history, target] if _is_list(history) else history, kinds)


def _session(path: Path, place: str, items: Any, kinds: set[type]) -> Session:
    """Tokens of a session or case; `kinds` are the types of all items so far."""
    if not _is_list(items) or len(items) < 2:
        raise UserError(f"{path}, {place}: {quoted(items)}, expected a list of at least two items.")
    kinds.update(map(type, items))
    if len(kinds) > 1 or not kinds <= {int, str}:
        raise UserError(
            f"{path}, {place}: {quoted(items)}, with it the file holds "
            f"{', '.join(sorted(kind.__name__ for kind in kinds))}; expected int or str, one of the two."
        )
    return tuple(check_token(str(item), f"{path}, {place}") for item in items)
