"""ONNX Runtime for the web: the two files the page needs, from npm or from a folder, checked before they are used.

`npm ci` installs what `page/package-lock.json` pins; the two files are kept in the user's cache folder, all the rest
(over 100 MB) is thrown away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from recbole_odrec.bundle.manifest import describe_file
from recbole_odrec.errors import UserError

PAGE = Path(__file__).parent / "page"
VERSION = "1.30.0"  # of onnxruntime-web, as page/package.json asks for it

# One thread and SIMD: runs on any host, without the headers that shared memory needs.
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_LOCKED = ("package.json", "package-lock.json")
_DIST = Path("node_modules", "onnxruntime-web", "dist")
_TIMEOUT = 600  # seconds


def find_runtime(offline: Path | None = None, say: Callable[[str], object] = lambda line: None) -> Path:
    """Folder that holds FILES, each with its right content.

    Args:
        offline: a folder with the files, or with the `node_modules` they are in; nothing is fetched then.
        say: told before something is fetched.

    Raises:
        UserError: no such files, npm is missing, or it fails.
    """
    if offline is not None:
        return _from_folder(offline)
    kept = cache_folder() / f"onnxruntime-web-{VERSION}"
    if wrong_file(kept) is None:
        return kept
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"the page needs onnxruntime-web {VERSION}, which npm fetches, and there is no npm here: install Node.js, "
            f"or copy {' and '.join(FILES)} from another machine into a folder and give --offline-dir FOLDER."
        )
    say(f"fetching onnxruntime-web {VERSION} with npm, once")
    _fetch(npm, kept)
    return kept


def cache_folder() -> Path:
    """The user's cache folder for this package."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(base) / "recbole_odrec"


def wrong_file(folder: Path) -> str | None:
    """Name of the first file that is missing or another one, None where all is right."""
    for name, digest in FILES.items():
        try:
            found = describe_file(folder / name)["sha256"]
        except OSError:
            return name
        if found != digest:
            return name
    return None


def _from_folder(folder: Path) -> Path:
    places = [folder, folder / "dist", folder / "onnxruntime-web" / "dist", folder / _DIST]
    found = next((place for place in places if (place / next(iter(FILES))).is_file()), None)
    if found is None:
        raise UserError(
            f"--offline-dir {folder} does not hold {' and '.join(FILES)}: give the folder `dist` of "
            f"onnxruntime-web {VERSION}, or one with its node_modules."
        )
    wrong = wrong_file(found)
    if wrong is not None:
        raise UserError(f"{found / wrong} is missing or not the file of onnxruntime-web {VERSION}; copy it again.")
    return found


def _fetch(npm: str, kept: Path) -> None:
    """Installs into a temporary folder and renames: the folder `kept` is whole or not there."""
    work = None
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=kept.parent, prefix=".npm-"))
        for name in _LOCKED:
            shutil.copy(PAGE / name, work)
        _npm_ci(npm, work)
        chosen = work / "chosen"
        chosen.mkdir()
        for name in FILES:
            if (work / _DIST / name).is_file():
                shutil.copy(work / _DIST / name, chosen)
        wrong = wrong_file(chosen)
        if wrong is not None:
            raise UserError(f"npm ci gave no {wrong} of onnxruntime-web {VERSION}; use --offline-dir FOLDER.")
        if kept.exists():  # damaged
            kept.rename(work / "old")
        try:
            chosen.rename(kept)
        except OSError:
            if wrong_file(kept) is not None:  # else another process was faster
                raise
    except OSError as error:
        raise UserError(
            f"{kept.parent} cannot be written ({error.strerror}): set XDG_CACHE_HOME to another folder."
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _npm_ci(npm: str, work: Path) -> None:
    # No package of these runs a script on this machine; nothing but their files is wanted.
    command = [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"npm ci could not run ({error}); use --offline-dir FOLDER.") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        reason = " ".join(" ".join(lines[:3]).replace("npm error", "").split())[:160] or f"exit code {done.returncode}"
        raise UserError(f"npm ci failed ({reason}): check the connection, or use --offline-dir FOLDER.")
