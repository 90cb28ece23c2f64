"""Files that are complete or not there."""

from __future__ import annotations

import json
import os
import re
import secrets
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write(binary_file)` on a temporary file and renames it to `path`: a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not one of `tempfile`, whose files only their owner may read: these may be served.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")  # `_TEMPORARY` is its pattern
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
