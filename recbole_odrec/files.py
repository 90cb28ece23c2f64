"""Files that are complete or not there."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write(binary_file)` on a temporary file and renames it to `path`: a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not one of `tempfile`, whose files only their owner may read: these may be served.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes readable JSON atomically."""
    write_text(path, json.dumps(value, indent=2, default=json_plain) + "\n")


def json_plain(value: Any) -> Any:
    """What JSON shows of a value it has no type for."""
    return value.item() if isinstance(value, np.generic) else str(value)
