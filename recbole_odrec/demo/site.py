"""The page as a set of files: what is in this package, the runtime, and one bundle. Served or written as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from recbole_odrec.bundle.manifest import (
    ITEMS,
    LICENSE,
    MANIFEST,
    MODEL,
    TITLES,
    describe_file,
    open_regular,
    read_manifest,
    sha256,
    verify_file,
)
from recbole_odrec.bundle.tokens import Lines, TokenTable, read_table
from recbole_odrec.demo.runtime import FILES as RUNTIME_FILES
from recbole_odrec.demo.runtime import PAGE
from recbole_odrec.errors import UserError
from recbole_odrec.files import folder_beside

LIST = "files.js"  # written here: every other file with its size and SHA-256, and a key of all but the deltas
_MOST_LIST_BYTES = 2**20
_LIST_START = "self.FILES = "
_NOT_SERVED = {"package.json", "package-lock.json"}

Site = Mapping[str, "Path | bytes"]


def bundle_files(bundle: Path) -> dict[str, Path]:
    """The files of a bundle that the page takes, each verified: path in the page -> file.

    Args:
        bundle: a folder that `recbole-odrec export` has written.

    Raises:
        BundleError: not a bundle, of another version, or damaged.
    """
    manifest = read_manifest(bundle)
    for name in sorted(manifest["files"]):
        verify_file(bundle, manifest, name)
    read_table(TokenTable, bundle, manifest, ITEMS)
    if TITLES in manifest["files"]:
        read_table(Lines, bundle, manifest, TITLES)
    optional = [name for name in (TITLES, LICENSE) if name in manifest["files"]]
    return {f"bundle/{name}": bundle / name for name in (MANIFEST, MODEL, ITEMS, *optional)}


def bundle_deltas(bundle: Path, earlier: Iterable[Path]) -> dict[str, bytes]:
    """Deltas that lead to a bundle: path in the page, which names what it leads from -> content.

    Args:
        bundle: of the page.
        earlier: bundles that visitors may have.

    Raises:
        UserError: one of them is no bundle, or damaged.
    """
    from recbole_odrec.bundle.delta_maker import make_delta  # late: it needs ONNX, the page does not

    deltas = [make_delta(old, bundle, (MANIFEST, MODEL, ITEMS, TITLES, LICENSE)) for old in earlier]
    return {f"deltas/{header['base']}.delta": content for header, content in deltas}


def assemble(bundle: Mapping[str, Path], runtime: Path, deltas: Mapping[str, bytes] | None = None) -> Site:
    """Path below the page's address -> file, or content of what is made here.

    Args:
        bundle: of `bundle_files`.
        runtime: a folder that holds `runtime.FILES`.
        deltas: of `bundle_deltas`.
    """
    deltas = deltas or {}
    files = {path.name: path for path in sorted(PAGE.iterdir()) if path.is_file() and path.name not in _NOT_SERVED}
    files |= {f"runtime/{name}": runtime / name for name in RUNTIME_FILES} | dict(bundle)
    return {**files, **deltas, LIST: _file_list(files, deltas)}


def write_site(site: Site, output: Path) -> None:
    """Writes the page into a folder, which is complete or not there; an earlier page is replaced.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    if not _may_replace(output):
        raise UserError(f"{output} exists and is not a page of this command; give a new folder, or remove it first.")
    try:
        with folder_beside(output) as work:
            page, old = work / "page", work / "old"
            write_files(site, page)
            if output.exists():
                output.rename(old)
            try:
                page.rename(output)
            except OSError:
                if old.exists():
                    old.rename(output)
                raise
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror or error}); nothing was changed.") from error


def write_files(site: Site, folder: Path) -> None:
    """Writes or copies each file below a folder."""
    for name, source in site.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            target.write_bytes(source)
        else:
            shutil.copyfile(source, target)


def _file_list(files: Mapping[str, Path], deltas: Mapping[str, bytes]) -> bytes:
    listed = {name: describe_file(path) for name, path in files.items()}
    version = sha256(json.dumps(listed, sort_keys=True).encode())[:16]
    led = {name: {"bytes": len(content), "sha256": sha256(content)} for name, content in deltas.items()}
    values = {"version": version, "files": listed, "deltas": led}
    return f"{_LIST_START}{json.dumps(values, indent=1)};\n".encode()


def _may_replace(output: Path) -> bool:
    """Whether nothing is lost: no such folder, an empty one, or files that an earlier page lists and no other."""
    if not output.exists():
        return True
    if not output.is_dir():
        return False
    found = {path.relative_to(output).as_posix() for path in output.rglob("*") if not path.is_dir()}
    try:
        with open_regular(output / LIST, _MOST_LIST_BYTES) as file:
            text = file.read().decode()
        values = json.loads(text.removeprefix(_LIST_START).rstrip().removesuffix(";"))
        listed = {*values["files"], *values.get("deltas", ())}
    except (OSError, ValueError, KeyError, TypeError):
        return not found
    return found <= {*listed, LIST}
