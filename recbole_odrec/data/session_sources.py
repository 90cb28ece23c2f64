"""Sessions out of the files that papers publish: plain sessions and prefixes, an `.inter` table, pickles.

Every reader gives raw item tokens, sessions in time order. A published list of prefixes is put back together into the
sessions it was cut from.
"""

from __future__ import annotations

import gzip
import io
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from recbole_odrec.errors import UserError

Session = tuple[str, ...]


class SourceSessions(NamedTuple):
    """Sessions of one file.

    Attributes:
        sessions: raw item tokens, oldest session first.
        n_given: items of each session that only serve as history; 1 when every prefix is a case.
    """

    sessions: list[Session]
    n_given: int


# ---------------------------------------------------------------------- (a) plain text


def read_plain_sessions(path: Path) -> SourceSessions:
    """One session a line, items separated by blanks.

    Raises:
        UserError: file and line of a session of fewer than two items.
    """
    sessions = []
    for number, line in _lines(path):
        session = tuple(line.split())
        if len(session) < 2:
            raise UserError(
                f"{path}, line {number}: `{line.strip()[:60]}`, expected a session of at least two items separated by "
                "blanks."
            )
        sessions.append(session)
    return SourceSessions(_not_empty(path, sessions), 1)


def read_plain_prefixes(path: Path) -> SourceSessions:
    """One case a line: the session so far, a tab, the next item.

    Raises:
        UserError: file and line of a malformed case, or prefixes that do not make up whole sessions.
    """
    cases = []
    for number, line in _lines(path):
        prefix, tab, target = line.rstrip("\n").partition("\t")
        case = (*prefix.split(), *target.split())
        if not tab or len(case) < 2 or len(target.split()) != 1:
            raise UserError(
                f"{path}, line {number}: `{line.strip()[:60]}`, expected items separated by blanks, a tab, one item."
            )
        cases.append(case)
    return join_prefixes(_not_empty(path, cases), path)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with _open(path) as lines:
        try:
            yield from enumerate(lines, start=1)
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise UserError(f"{path}: not a readable text file ({error}).") from error


def _open(path: Path) -> TextIO:
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8")
    return path.open(encoding="utf-8")


def _not_empty(path: Path, values: list) -> list:
    if not values:
        raise UserError(f"{path}: no session in it.")
    return values


# ---------------------------------------------------------------------- prefixes back into sessions


def join_prefixes(cases: Iterable[Session], path: Path) -> SourceSessions:
    """Sessions that expand to exactly these cases.

    Args:
        cases: prefix and next item, as one tuple; all cases of a session follow each other, longest first (as SR-GNN
            and its successors store them) or shortest first.
        path: for messages.

    Raises:
        UserError: cases that are no whole sessions, or sessions whose first case comes at different lengths.
    """
    sessions: list[Session] = []
    shortest: list[int] = []
    longest_first: bool | None = None
    before: Session = ()
    for case in cases:
        shorter, longer = case == before[:-1], case[:-1] == before and bool(before)
        if (shorter and longest_first is not False) or (longer and longest_first is not True):
            longest_first = shorter
            if shorter:
                shortest[-1] = len(case)
            else:
                sessions[-1] = case
        else:
            sessions.append(case)
            shortest.append(len(case))
        before = case
    counts = Counter(shortest)
    if len(counts) > 1:
        (usual, _), (other, n_other) = counts.most_common(2)
        session = sessions[shortest.index(other)]
        raise UserError(
            f"{path}: most sessions have their first case after {usual - 1} items, but {n_other} after {other - 1} "
            f"(such as `{' '.join(session)[:60]}`): these prefixes do not make up whole sessions."
        )
    return SourceSessions(sessions, shortest[0] - 1)


# ---------------------------------------------------------------------- (b) a table of interactions


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
    events: dict[str, list[tuple[float, int, str]]] = {}
    lines = _lines(path)
    header = next(lines, (1, ""))[1].rstrip("\n").split("\t")
    names = [column.partition(":")[0] for column in header]
    missing = [name for name in (session, item, time) if name not in names]
    if missing:
        raise UserError(f"{path}, line 1: no column `{missing[0]}`, found {', '.join(f'`{name}`' for name in names)}.")
    at = [names.index(name) for name in (session, item, time)]
    counts: Counter[str] = Counter()
    for number, line in lines:
        values = line.rstrip("\n").split("\t")
        if len(values) != len(names):
            raise UserError(f"{path}, line {number}: {len(values)} columns, expected {len(names)} as in line 1.")
        who, what, when = (values[index] for index in at)
        if not who or not what or " " in what:
            raise UserError(
                f"{path}, line {number}: `{line.strip()[:60]}`, expected a session and an item without blanks."
            )
        try:
            moment = float(when)
        except ValueError:
            raise UserError(f"{path}, line {number}: `{time}` is `{when}`, expected a number.") from None
        events.setdefault(who, []).append((moment, number, what))
        counts[what] += 1
    ordered = sorted((sorted(found) for found in events.values()), key=lambda found: found[-1][:2])
    sessions = (tuple(what for *_, what in found if counts[what] >= min_item_count) for found in ordered)
    return SourceSessions(_not_empty(path, [items for items in sessions if len(items) > 1]), 1)


# ---------------------------------------------------------------------- (c) pickles of SR-GNN and its successors


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
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file).load()
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise UserError(f"{path}: refused or damaged pickle ({error}).") from error
    expected = "a list of sessions, or a pair (list of prefixes, list of next items)"
    if not isinstance(content, (list, tuple)) or not content:
        raise UserError(f"{path}: a pickled {type(content).__name__}, expected {expected}.")
    if len(content) == 2 and all(isinstance(part, (list, tuple)) for part in content):
        prefixes, targets = content
        if len(prefixes) == len(targets) and all(isinstance(target, (int, str)) for target in targets):
            cases = (
                _session(path, number, [*prefix, target])
                for number, (prefix, target) in enumerate(zip(prefixes, targets, strict=True))
            )
            return join_prefixes(_not_empty(path, list(cases)), path)
    return SourceSessions([_session(path, number, items) for number, items in enumerate(content)], 1)


def _session(path: Path, number: int, items: Any) -> Session:
    if not isinstance(items, (list, tuple)) or len(items) < 2 or not all(type(item) in (int, str) for item in items):
        raise UserError(f"{path}, session {number}: `{str(items)[:60]}`, expected at least two numbers or strings.")
    return tuple(map(str, items))
