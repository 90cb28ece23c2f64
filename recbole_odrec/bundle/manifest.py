"""`manifest.json`: what a bundle holds, and the proof that it still does. Standard library only.

The manifest lists every other file with its size and SHA-256, and carries a checksum of its own content. Together they
find any accident: truncation, a swapped or edited file, an edited manifest. They are no signature: whoever rewrites a
bundle and its checksums makes a new bundle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_odrec.errors import UserError

FORMAT = "recbole_odrec bundle"
FORMAT_VERSION = 1
MANIFEST, MODEL, PROGRAM = "manifest.json", "model.onnx", "model.pte"
ITEMS, TITLES, LICENSE = "items.txt", "titles.txt", "LICENSE"

_PIECE = 2**18  # bytes in memory while a file is verified

# Where a value of another kind would change what is served or raise far from its cause.
_KINDS: dict[str, type] = {"n_items": int, "max_length": int, "topk": int, "files": dict}


class BundleError(UserError):
    """A bundle that cannot be trusted, or input it cannot serve: one line that says what and what to do."""


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def _checksum(values: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in values.items() if key != "checksum"}
    return sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode())


def write_manifest(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the manifest of a folder whose other files are in place, and returns its content.

    Args:
        folder: the bundle.
        values: everything but format, files and checksum, JSON types.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        files[path.name] = {"bytes": len(content), "sha256": sha256(content)}
    manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, **values, "files": files}
    manifest["checksum"] = _checksum(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads and checks the manifest itself: JSON, format and version, checksum, kinds of values.

    Raises:
        BundleError: whatever is wrong with it.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}; make one with recbole-odrec export."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"not readable as JSON ({type(error).__name__})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise BundleError(f"{path} is not the manifest of a bundle (expected format `{FORMAT}`).")
    version = values.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise BundleError(
            f"{folder} is a bundle of format version {version!r}, this runtime reads {FORMAT_VERSION}: export it "
            "again, or install the version of recbole_odrec that made it."
        )
    if values.get("checksum") != _checksum(values):
        raise _damaged(path, "its content does not match its checksum")
    for key, kind in _KINDS.items():
        if not isinstance(values.get(key), kind) or isinstance(values[key], bool):
            raise _damaged(path, f"`{key}` is missing or of a wrong type")
    return values


def verify_file(folder: Path, manifest: Mapping[str, Any], name: str) -> None:
    """Reads one file of the bundle piece by piece and compares it with the manifest.

    Raises:
        BundleError: it is missing, or not the file that was exported.
    """
    path = folder / name
    try:
        expected = manifest["files"][name]
        size, digest = expected["bytes"], expected["sha256"]
    except (KeyError, TypeError):
        raise _damaged(folder / MANIFEST, f"it does not list {name}") from None
    found = hashlib.sha256()
    try:
        if path.stat().st_size != size:
            raise _damaged(path, f"{path.stat().st_size} bytes, expected {size}")
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    except OSError as error:
        raise _damaged(path, f"cannot be read ({type(error).__name__})") from error
    if found.hexdigest() != digest:
        raise _damaged(path, "its SHA-256 is not the one in the manifest")


def read_file(folder: Path, manifest: Mapping[str, Any], name: str) -> bytes:
    """Content of one file of the bundle, verified.

    Raises:
        BundleError: as `verify_file`.
    """
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise _damaged(folder / name, f"cannot be read ({type(error).__name__})") from error
    if sha256(content) != manifest["files"][name]["sha256"]:
        raise _damaged(folder / name, "its SHA-256 is not the one in the manifest")
    return content


def _damaged(path: Path, reason: str) -> BundleError:
    return BundleError(f"{path}: {reason}; the bundle is damaged or was changed, copy or export it again.")
