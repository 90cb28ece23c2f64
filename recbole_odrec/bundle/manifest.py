"""`manifest.json`: what a bundle holds, and the proof that it still does. Standard library only.

The manifest lists every other file with its size and SHA-256, and carries a checksum of its own content. Together they
find any accident: truncation, a swapped or edited file, an edited manifest. They are no signature: whoever rewrites a
bundle and its checksums makes a new bundle.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from recbole_odrec.bundle.aside import recover
from recbole_odrec.errors import UserError

FORMAT = "recbole_odrec bundle"
FORMAT_VERSION = 1
MANIFEST, MODEL, PROGRAM = "manifest.json", "model.onnx", "model.pte"
ITEMS, TITLES, LICENSE = "items.txt", "titles.txt", "LICENSE"

MOST_BYTES = 2**31  # of any file: more than one ONNX file can hold
MOST_MANIFEST_BYTES = 2**20
_MOST = 2**31 - 1  # items, positions
_PIECE = 2**18  # bytes in memory while a file is verified


class BundleError(UserError):
    """A bundle that cannot be trusted, or input it cannot serve: one line that says what and what to do."""


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, read piece by piece: its entry in a list of files."""
    found, size = hashlib.sha256(), 0
    with open_regular(path) as file:
        while piece := file.read(_PIECE):
            found.update(piece)
            size += len(piece)
    return {"bytes": size, "sha256": found.hexdigest()}


def _checksum(values: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in values.items() if key != "checksum"}
    return sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode())


def write_manifest(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the manifest of a folder whose other files are in place, and returns its content.

    Args:
        folder: the bundle.
        values: everything but format, files and checksum, JSON types.
    """
    files = {path.name: describe_file(path) for path in sorted(folder.iterdir())}
    manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, **values, "files": files}
    manifest["checksum"] = _checksum(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks the manifest itself: JSON, format and version, checksum, values.

    Raises:
        BundleError: whatever is wrong with it.
    """
    path = folder / MANIFEST
    try:
        recover(folder)
        with open_regular(path, MOST_MANIFEST_BYTES) as file:
            values = parse_json(file.read(MOST_MANIFEST_BYTES))
        checksum = _checksum(values) if isinstance(values, dict) else None
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}; make one with recbole-odrec export."
        ) from None
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"not readable as JSON ({type(error).__name__})") from error
    if checksum is None or values.get("format") != FORMAT:
        raise BundleError(f"{path} is not the manifest of a bundle (expected format `{FORMAT}`).")
    version = values.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise BundleError(
            f"{folder} is a bundle of format version {version!r:.60}, this runtime reads {FORMAT_VERSION}: export it "
            "again, or install the version of recbole_odrec that made it."
        )
    if values.get("checksum") != checksum:
        raise _damaged(path, "its content does not match its checksum")
    for key, (expected, is_right) in _RULES.items():
        if not is_right(values):
            raise _damaged(path, f"`{key}` is {values.get(key)!r:.60}, expected {expected}")
    return values


def parse_json(content: bytes) -> Any:
    """JSON whose names are unique and whose numbers are finite.

    Raises:
        ValueError: another content (a RecursionError where it is nested too deep).
    """
    return json.loads(content.decode(), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(values := dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")
    return values


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError("not a finite number")
    return value


def _is_count(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def are_files(files: Any, needed: Collection[str]) -> bool:
    """Whether it is a list of files: plain names, those that are needed among them, each with its size and SHA-256."""
    return (
        isinstance(files, dict)
        and set(needed) <= set(files)
        and all(
            re.fullmatch(r"\w[\w.-]*", name)
            and isinstance(entry, dict)
            and _is_count(entry.get("bytes"), 0, MOST_BYTES)
            and re.fullmatch("[0-9a-f]{64}", str(entry.get("sha256")))
            for name, entry in files.items()
        )
    )


def _are_ids(ids: Any, n_items: int) -> bool:
    return isinstance(ids, list) and all(_is_count(item, 1, n_items) for item in ids) and ids == sorted(set(ids))


# What a value must be, where another one would change what is served or raise far from its cause; in this order.
_RULES: dict[str, tuple[str, Callable[[Mapping[str, Any]], bool]]] = {
    "n_items": (f"1 to {_MOST}", lambda values: _is_count(values.get("n_items"), 1, _MOST)),
    "max_length": (f"1 to {_MOST}", lambda values: _is_count(values.get("max_length"), 1, _MOST)),
    "topk": ("1 to n_items", lambda values: _is_count(values.get("topk"), 1, values["n_items"])),
    "files": (
        f"plain names, {MODEL} and {ITEMS} among them, each with `bytes` and `sha256`",
        lambda values: are_files(values.get("files"), {MODEL, ITEMS}) and MANIFEST not in values["files"],
    ),
    "withdrawn": (
        "ascending item ids, or no such key",
        lambda values: _are_ids(values.get("withdrawn", []), values["n_items"]),
    ),
}


@contextmanager
def open_regular(path: Path, most: int = MOST_BYTES) -> Iterator[BinaryIO]:
    """Opens a regular file; what could wait or never end (a pipe, a device, a folder) is not opened.

    A link counts as the file it leads to: the caches of model hubs are made of links, and what a bundle's file says is
    checked whatever its place.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        OSError: no such file, not a regular one, larger than that, or not readable.
    """
    _require_regular(path.stat(), most)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        _require_regular(os.fstat(file.fileno()), most)  # the name may mean another file by now
        yield file


def _require_regular(status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"{status.st_size:,} bytes, at most {most:,} are read")


def verify_file(folder: Path, manifest: Mapping[str, Any], name: str) -> None:
    """Reads one file of the bundle piece by piece and compares it with the manifest.

    Raises:
        BundleError: it is missing, or not the file that was exported.
    """
    found = hashlib.sha256()
    with _listed(folder, manifest, name) as (file, size, digest):
        for _ in range(0, size, _PIECE):
            found.update(file.read(_PIECE))
        _require_digest(folder / name, found.hexdigest(), digest)


def read_file(folder: Path, manifest: Mapping[str, Any], name: str) -> bytes:
    """Content of one file of the bundle, verified.

    Raises:
        BundleError: as `verify_file`.
    """
    with _listed(folder, manifest, name) as (file, size, digest):
        content = file.read(size)
        _require_digest(folder / name, sha256(content), digest)
    return content


@contextmanager
def _listed(folder: Path, manifest: Mapping[str, Any], name: str) -> Iterator[tuple[BinaryIO, int, str]]:
    """An open file of the bundle, of the size and with the SHA-256 that the manifest has for it."""
    path, expected = folder / name, manifest["files"][name]
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != expected["bytes"]:
                raise _damaged(path, f"{size} bytes, expected {expected['bytes']}")
            yield file, size, expected["sha256"]
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error


def _require_digest(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise _damaged(path, "its SHA-256 is not the one in the manifest")


def _damaged(path: Path, reason: str) -> BundleError:
    return BundleError(f"{path}: {reason}; the bundle is damaged or was changed, copy or export it again.")
