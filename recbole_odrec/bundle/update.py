"""Puts a new bundle in the place of an old one, out of a delta: all of it or nothing. Standard library and NumPy only.

The new bundle is made in a folder beside the old one, read back and tried out; only then two renames put it in its
place: the old folder steps aside, the new one comes in. Where the process dies between them, no bundle has its name,
and `read_manifest`, with which every use of a bundle begins, gives the old one its name back. One process updates a
bundle at a time.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from recbole_odrec.bundle.aside import aside
from recbole_odrec.bundle.delta import PIECE, Payload, damaged, open_delta, restored
from recbole_odrec.bundle.manifest import (
    MANIFEST,
    BundleError,
    describe_file,
    open_regular,
    read_manifest,
    verify_file,
)
from recbole_odrec.files import cannot_write

Checked = TypeVar("Checked")


def update_bundle(folder: Path, delta: Path, check: Callable[[Path], Checked]) -> Checked:
    """Makes a bundle the one that a delta leads to; where it is that one already, it stays as it is.

    Args:
        folder: the bundle on this device.
        delta: a file that `recbole-odrec delta` has written.
        check: told the folder of the new bundle before it is in its place; what it raises leaves the old one there.

    Returns:
        What `check` gave.

    Raises:
        BundleError: the delta is damaged, or leads from another bundle.
        UserError: the new bundle cannot be written.
    """
    manifest = read_manifest(folder)
    for name in manifest["files"]:
        verify_file(folder, manifest, name)
    place, old = folder.resolve(), aside(folder)
    staged = place.with_name(f".{place.name}.new")
    with open_delta(delta) as (file, header):
        found = describe_file(folder / MANIFEST)["sha256"]
        if found == header["files"][MANIFEST]["sha256"]:
            return check(folder)
        if found != header["base"]:
            raise BundleError(
                f"{delta} leads from another bundle than {folder}: take the one made from this one, or copy the whole "
                "new bundle; nothing was changed."
            )
        try:
            for left in (old, staged):  # by an update that was killed
                shutil.rmtree(left, ignore_errors=True)
            if shutil.disk_usage(place.parent).free < sum(entry["bytes"] for entry in header["files"].values()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            staged.mkdir()
            restore(place, file, header, staged, delta)
            checked = check(staged)
            _swap(place, staged, old)
        except OSError as error:
            raise cannot_write(folder, error) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return checked


def restore(old: Path, file: BinaryIO, header: Mapping[str, Any], new: Path, delta: Path) -> None:
    """Writes the files of the new bundle into an empty folder, each compared with its SHA-256 in the delta.

    Args:
        old: the old bundle.
        file, header: of `open_delta`.
        new: the folder.
        delta: the delta's path, for the error.

    Raises:
        BundleError: a file comes out as another one.
        OSError: the system refuses to read or to write.
    """
    start = file.tell()
    for name, entry in header["files"].items():
        file.seek(start)
        start += entry["payload"]
        found, size = hashlib.sha256(), 0
        with ExitStack() as stack:
            before = stack.enter_context(open_regular(old / name)) if entry["from"] else io.BytesIO()
            after = stack.enter_context((new / name).open("xb"))
            try:
                for piece in _pieces(file, before, entry):
                    found.update(piece)
                    size += len(piece)
                    after.write(piece)
                if (size, found.hexdigest()) != (entry["bytes"], entry["sha256"]):
                    raise ValueError(f"{name} comes out as another file")
            except (ValueError, zlib.error) as error:
                raise damaged(delta, error) from error
            after.flush()
            os.fsync(after.fileno())


def _pieces(file: BinaryIO, before: BinaryIO, entry: Mapping[str, Any]) -> Iterator[bytes]:
    if entry["codec"] == "copy":
        return iter(partial(before.read, PIECE), b"")
    size = entry["from"]["bytes"] if entry["from"] else 0
    return restored(Payload(file, entry["payload"]), before, size, entry["bytes"])


def _swap(folder: Path, staged: Path, old: Path) -> None:
    folder.rename(old)
    try:
        staged.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
