"""Files that are complete or not there."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from recbole_odrec.errors import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write(binary_file)` on a temporary file and renames it to `path`: a reader sees all of it or nothing.

    Raises:
        UserError: the system refuses to write there (no room, no permission); `path` is as it was.
    """
    # Not one of `tempfile`, whose files only their owner may read: these may be served.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")  # `_TEMPORARY` is its pattern
    try:
        with folder_made(path.parent):
            try:
                with temporary.open("xb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
    except BaseException as error:
        refusal = _os_error(error)
        if refusal is None:
            raise
        raise cannot_write(path, refusal) from error


@contextmanager
def folder_made(folder: Path) -> Iterator[None]:
    """Makes a folder and those on the way to it; where what is done inside fails, those that it made are removed."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):  # not there, or somebody else's files are in it
                path.rmdir()
        raise


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A new folder where `path` is or will be, gone afterwards; so are those on the way where what is inside fails."""
    parent, prefix = path.parent, f".{path.name}."
    with folder_made(parent), tempfile.TemporaryDirectory("", prefix, parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def written_together(folder: Path) -> Iterator[Path]:
    """A folder to write into, whose files move to `folder` when all are written; otherwise nothing of them stays.

    Raises:
        UserError: the system refuses to write there.
    """
    try:
        with folder_beside(folder) as work:
            yield work
            with folder_made(folder):
                for file in work.iterdir():
                    file.replace(folder / file.name)
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(path: object, error: OSError) -> UserError:
    """The one line about a file or folder that the system refuses to write."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path} cannot be written ({reason}): make room there, or choose another folder.")


def _os_error(error: BaseException | None) -> OSError | None:
    """What the system said, behind the error of a library that was writing."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def check_writable(folder: Path) -> None:
    """Raises a UserError where no folder can be made in `folder`, or in what there is of the way to it."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    try:
        tempfile.TemporaryDirectory(dir=there, prefix=".writable-").cleanup()
    except OSError as error:
        raise cannot_write(folder, error) from error


def stop_at_errors(handler: logging.FileHandler) -> None:
    """A log that cannot be written ends the run in one line; `logging` prints a traceback for each record instead."""

    def refuse(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise cannot_write(handler.baseFilename, error) from error
        logging.FileHandler.handleError(handler, record)

    handler.handleError = refuse


@contextmanager
def writing_below(folder: Path) -> Iterator[None]:
    """Whatever the system refuses to write meanwhile, by whichever library, is one line."""
    before = threading.excepthook
    # TensorBoard writes in a thread and raises its error here at the next write: one report is enough.
    threading.excepthook = lambda args: None if isinstance(args.exc_value, OSError) else before(args)
    try:
        yield
    except UserError:
        raise
    except (OSError, RuntimeError) as error:
        refusal = _os_error(error)
        if refusal is None:
            raise
        reason = refusal.strerror or " ".join(str(refusal).split())
        raise UserError(f"{refusal.filename or folder}: {reason}; make room there, or choose another.") from error
    finally:
        threading.excepthook = before


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}")


def remove_temporary(folder: Path) -> None:
    """Removes what `write_atomically` left behind below a folder when it was killed; nobody may be writing there."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()


def check_zip(file: BinaryIO) -> None:
    """Compares every part of a zip file with its checksum, which `torch.load` does not; rewinds the file.

    Raises:
        ValueError: a part is damaged, or it is no zip file.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            # PyTorch writes no attributes, and reads a part that one flipped bit made a folder as uninitialised memory.
            folders = [part.filename for part in archive.infolist() if part.external_attr]
            damaged = folders[0] if folders else archive.testzip()
    except Exception as error:  # a damaged list of parts fails in any way there is
        raise ValueError(f"no whole zip file: {error}") from error
    if damaged is not None:
        raise ValueError(f"its part {damaged!r} is damaged")
    file.seek(0)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes readable JSON atomically."""
    write_text(path, json.dumps(value, indent=2, default=json_plain) + "\n")


def json_plain(value: Any) -> Any:
    """What JSON shows of a value it has no type for."""
    return value.item() if isinstance(value, np.generic) else str(value)
