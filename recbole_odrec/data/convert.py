"""Writes session benchmark files: training, validation and test sessions that RecBole reads by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from recbole_odrec.data.parquet_manifest import SUFFIX
from recbole_odrec.data.parquet_writer import parquet_written
from recbole_odrec.data.session_file import N_GIVEN, is_written_list
from recbole_odrec.data.session_sources import Session, SourceSessions
from recbole_odrec.data.table_reader import quoted
from recbole_odrec.errors import UserError
from recbole_odrec.files import written_together

PARTS = ("train", "valid", "test")
_CHUNK = 10_000  # sessions


class Split(NamedTuple):
    """Sessions of the three files, in time order."""

    train: SourceSessions
    valid: SourceSessions
    test: SourceSessions


def split_by_time(
    training: SourceSessions, test: SourceSessions | None = None, valid_share: float = 0.1, test_share: float = 0.1
) -> Split:
    """Cuts validation sessions off the end of the training sessions, and before them test sessions if there are none.

    Args:
        training: sessions in time order.
        test: test sessions, when they are given.
        valid_share: part of the training sessions that becomes validation, the last ones in time.
        test_share: part of all sessions that becomes the test set when `test` is None, the last ones in time.

    Raises:
        UserError: a share out of range, or too few sessions for three files.
    """
    _check_shares(valid_share, test_share)
    if test is None:
        training, test = _cut(training, test_share)
    return Split(*_cut(training, valid_share), test)


def cut_sizes(n_sessions: int, valid_share: float, test_share: float, n_test: int = 0) -> tuple[int, int, int]:
    """How many of so many sessions in time order are training, validation and test sessions: see `split_by_time`.

    Args:
        n_sessions: all but the test sessions that are given.
        valid_share, test_share: as there.
        n_test: test sessions that are given; none of the others become some.

    Raises:
        UserError: as there.
    """
    _check_shares(valid_share, test_share)
    n_cut = 0 if n_test else _n_last(n_sessions, test_share)
    n_valid = _n_last(n_sessions - n_cut, valid_share)
    return n_sessions - n_cut - n_valid, n_valid, n_cut or n_test


def _check_shares(valid_share: float, test_share: float) -> None:
    for name, share in (("valid_share", valid_share), ("test_share", test_share)):
        if not 0 < share < 1:
            raise UserError(f"{name}={share}, expected a number between 0 and 1.")


def _n_last(n_sessions: int, share: float) -> int:
    n_last = round(share * n_sessions)
    if not 0 < n_last < n_sessions:
        raise UserError(f"{n_sessions} sessions are too few to cut {share:g} of them off the end.")
    return n_last


def _cut(source: SourceSessions, share: float) -> tuple[SourceSessions, SourceSessions]:
    n_last = _n_last(len(source.sessions), share)
    return source.some(slice(-n_last)), source.some(slice(-n_last, None))


def check_name(folder: Path, name: str) -> None:
    """Raises a UserError where a data set of this name would not lie in a folder of its own below `folder`."""
    if name in ("", ".", "..") or not name.isprintable() or any(mark in name for mark in "/\\"):
        raise UserError(f"--name {name!r}, expected the plain name of a folder below {folder}.")


def write_benchmark(
    split: Split,
    folder: Path,
    name: str,
    expand: bool = False,
    max_length: int | None = None,
    show_progress: bool = False,
) -> list[Path]:
    """Writes `folder/name/name.{train,valid,test}.inter`; beside prefix rows, if need be, a `.item` of all items.

    Args:
        split: the sessions.
        folder: what `--data_path` will name.
        name: name of the data set.
        expand: a line for each prefix and its next item, as RecBole itself reads it, in place of whole sessions.
        max_length: most recent items that an expanded prefix keeps; all of them when None.
        show_progress: a progress bar over sessions, on a terminal.

    Returns:
        The files.

    Raises:
        UserError: a name that would lie elsewhere, items that keep the marks of a written list, or the system refuses
            to write there; then no file is.
    """
    check_name(folder, name)
    for part, source in zip(PARTS, split, strict=True):
        if all(map(is_written_list, source.sessions)):  # prefix rows and the .item would hide it from the reader
            raise UserError(
                f"every {part} session is written like {quoted(' '.join(source.sessions[-1]))}; expected items without "
                "brackets and commas."
            )
    names, first = [f"{name}.{part}.inter" for part in PARTS], 1
    with written_together(folder / name) as work:
        for file, source in zip(names, split, strict=True):
            hidden = None if show_progress else True  # None: drawn on a terminal alone
            bar = tqdm(source.sessions, desc=file, unit=" sessions", delay=2, disable=hidden)
            lines = _case_lines(bar, source, first, max_length) if expand else _session_lines(bar, source, first)
            _write_lines(work / file, lines)
            first += len(source.sessions)
        if expand and any(source.n_given for source in split):  # items may be in histories alone
            items = sorted({item for source in split for session in source.sessions for item in session})
            _write_lines(work / f"{name}.item", (f"{item}\n" for item in ["item_id:token", *items]))
    return [folder / name / file for file in names]


def write_parquet(split: Split, folder: Path, name: str, show_progress: bool = False) -> Path:
    """As `write_parquet_parts`, of sessions in memory."""
    parts = [
        Part(zip(one.sessions, one.given(), strict=True), len(one.sessions), one.n_given is not None) for one in split
    ]
    return write_parquet_parts(parts, folder, name, show_progress)


class Part(NamedTuple):
    """Sessions on their way to a file, each with how many of its items only serve as history.

    Attributes:
        sessions: gone through once.
        n_sessions: how many.
        has_given: whether histories are to be stored: elsewhere each is one item.
    """

    sessions: Iterable[tuple[Session, int]]
    n_sessions: int
    has_given: bool


def write_parquet_parts(parts: Sequence[Part], folder: Path, name: str, show_progress: bool = False) -> Path:
    """Writes `folder/name/name.parquet/`: training, validation and test part, a few thousand sessions in memory.

    Items are numbered as the three text files have them.

    Args, Raises: as `write_benchmark`.

    Returns:
        The folder.
    """
    check_name(folder, name)
    target, ids, hidden = folder / name / f"{name}{SUFFIX}", {}, None if show_progress else True
    with parquet_written(target) as writer:
        for part, (found, total, has_given) in zip(PARTS, parts, strict=True):
            sessions = iter(tqdm(found, desc=part, total=total, unit=" sessions", delay=2, disable=hidden))
            while chunk := list(islice(sessions, _CHUNK)):
                tokens = [ids.setdefault(item, len(ids) + 1) for session, _ in chunk for item in session]
                lengths, n_given = [len(session) for session, _ in chunk], [n for _, n in chunk]
                arrays = [np.array(values, np.int32) for values in (tokens, lengths, n_given)]
                writer.add(part, *(arrays if has_given else arrays[:2]))
        writer.finish(list(ids))
    return target


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("wb") as file:
        file.writelines(line.encode() for line in lines)


def _session_lines(sessions: Iterable[Session], source: SourceSessions, first: int) -> Iterator[str]:
    is_usual = source.n_given is None
    yield "session_id:token\titem_id_list:token_seq" + ("\n" if is_usual else f"\t{N_GIVEN}:float\n")
    for number, (session, n_given) in enumerate(zip(sessions, source.given(), strict=True), start=first):
        yield f"{number}\t{' '.join(session)}" + ("\n" if is_usual else f"\t{n_given}\n")


def _case_lines(
    sessions: Iterable[Session], source: SourceSessions, first: int, max_length: int | None
) -> Iterator[str]:
    yield "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    for number, (session, n_given) in enumerate(zip(sessions, source.given(), strict=True), start=first):
        for end in range(n_given, len(session)):
            start = 0 if max_length is None else max(end - max_length, 0)
            yield f"{number}\t{' '.join(session[start:end])}\t{session[end]}\n"
