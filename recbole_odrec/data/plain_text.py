"""Sessions out of plain text: a session a line, or a case a line; `.gz` or not.

As `session_sources` has them in memory, or one at a time into a Parquet folder, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path

from recbole_odrec.data.convert import Part, cut_sizes, write_parquet_parts
from recbole_odrec.data.session_sources import Session, SourceSessions, check_token, join_cases, joined_cases
from recbole_odrec.data.table_reader import quoted, text_lines
from recbole_odrec.errors import UserError


def read_plain_sessions(path: Path) -> SourceSessions:
    """One session a line, items separated by blanks.

    Raises:
        UserError: file and line of a session of fewer than two items.
    """
    return SourceSessions([*plain_sessions(path)])


def plain_sessions(path: Path) -> Iterator[Session]:
    """As `read_plain_sessions`, one at a time."""
    return (_items(path, number, line.replace("\t", " ")) for number, line in _some_lines(path))


def read_plain_cases(path: Path) -> SourceSessions:
    """One case a line: the session so far, a tab, the next item.

    Raises:
        UserError: file and line of a malformed case.
    """
    return join_cases(plain_cases(path))


def plain_cases(path: Path) -> Iterator[Session]:
    """As `read_plain_cases`, one case at a time."""
    for number, line in _some_lines(path):
        history, tab, target = line.partition("\t")
        target = target.strip(" ")
        if not tab or not target or " " in target or not history.strip(" "):
            raise UserError(
                f"{path}, line {number}: {quoted(line)}, expected items separated by blanks, a tab, one item."
            )
        yield _items(path, number, f"{history} {target}")


def plain_lines(path: Path) -> Iterator[tuple[int, str]]:
    """As `text_lines`.

    Raises:
        UserError: a file with RecBole's header, whose columns would be taken for items.
    """
    for number, line in text_lines(path):
        if number == 1 and ":token" in line:
            raise UserError(
                f"{path}: {quoted(line)} is RecBole's header, expected plain lines: a table is for --inter."
            )
        yield number, line


def _some_lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    for number, line in plain_lines(path):
        yield number, line
    if not number:
        raise UserError(f"{path}: no session in it.")


def _items(path: Path, number: int, text: str) -> Session:
    items = tuple(check_token(item, f"{path}, line {number}") for item in text.split(" ") if item)
    if len(items) < 2:
        raise UserError(
            f"{path}, line {number}: {quoted(text)}, expected a session of at least two items separated by blanks."
        )
    return items


def plain_to_parquet(
    train: Path, test: Path | None, folder: Path, name: str, shares: tuple[float, float], show_progress: bool = False
) -> Path:
    """As `write_parquet` of `read_plain_sessions` and `read_plain_cases`, in the memory of a few thousand sessions.

    Each file is read twice: what it holds decides where it is cut, and whether histories are to be stored.

    Args:
        train, test: a session a line; a case a line, None to cut test sessions off the end of the others.
        folder, name, show_progress: as there.
        shares: for validation and test, as in `split_by_time`.

    Returns, Raises: as there.
    """
    for path in (train, test):
        if path is not None and path.exists() and not path.is_file():
            raise UserError(f"{path} is no regular file, and --format parquet reads it twice: write it to one first.")
    n_sessions, n_test, has_given = sum(1 for _ in plain_sessions(train)), 0, False
    for _, n_given in joined_cases(plain_cases(test)) if test else ():
        n_test, has_given = n_test + 1, has_given or n_given > 1
    sizes = cut_sizes(n_sessions, *shares, n_test)
    sessions = zip(plain_sessions(train), repeat(1))  # goes on where a part has ended
    parts = [Part(islice(sessions, size), size, False) for size in sizes]
    if test:
        parts[-1] = Part(joined_cases(plain_cases(test)), n_test, has_given)
    return write_parquet_parts(parts, folder, name, show_progress)
