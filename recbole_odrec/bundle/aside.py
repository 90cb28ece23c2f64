"""Where a bundle waits while a new one takes its place (`update.py`), and how it comes back. Standard library only."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def aside(folder: Path) -> Path:
    """The old bundle's name meanwhile."""
    folder = folder.resolve()  # of a link, the folder that it leads to is replaced
    return folder.with_name(f".{folder.name}.old")


def recover(folder: Path) -> None:
    """Gives a bundle its name back where an update was killed before the new one had it."""
    if not folder.exists() and aside(folder).is_dir():
        with suppress(OSError):  # another process was faster, or it may not be: then no bundle is found
            aside(folder).rename(folder.resolve())
