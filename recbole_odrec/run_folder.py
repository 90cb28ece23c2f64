"""One folder a run: made new each time, found again by `--resume`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from recbole.config import Config
from recbole.utils import get_local_time

from recbole_odrec.errors import UserError
from recbole_odrec.files import folder_made, write_json
from recbole_odrec.trainer import checkpoint


def new_run_folder(config: Config, identity: dict[str, Any]) -> Path:
    """Makes `<checkpoint_dir>/<model>-<dataset>-<time>/` and notes in it what it is a run of (`identify`)."""
    parent = Path(config["checkpoint_dir"])
    name = f"{config['model']}-{config['dataset']}-{get_local_time()}"
    for attempt in range(1, 1000):
        folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
        with folder_made(parent):
            try:
                folder.mkdir()
            except FileExistsError:  # another run started within this second
                continue
            try:
                write_json(folder / "run.json", identity)
            except UserError:
                folder.rmdir()
                raise
        return folder
    raise UserError(f"no free run folder {parent / name}.")


def find_unfinished(config: Config, resume: bool | str) -> Path:
    """The run to continue: the folder given, or the newest unfinished run of this configuration.

    Raises:
        UserError: there is none, or the folder given is a run of another configuration.
    """
    if isinstance(resume, str):
        folder = Path(resume)
        noted = _read(folder)
        if noted is None:
            raise UserError(f"--resume={resume}: not a run folder (no run.json in it).")
        if noted["fingerprint"] != identify(config)["fingerprint"]:
            raise UserError(f"--resume={resume}: a run of another configuration ({_difference(noted, config)}).")
        return folder
    folders = Path(config["checkpoint_dir"]).glob(f"{config['model']}-{config['dataset']}-*")
    newest_first = sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in newest_first:
        noted = _read(folder)
        if noted and noted["fingerprint"] == identify(config)["fingerprint"] and not (folder / "result.json").is_file():
            return folder
    raise UserError(
        f"nothing to resume: no unfinished run of this configuration under {config['checkpoint_dir']}/ "
        f"({config['model']} on {config['dataset']}); start it without --resume."
    )


def identify(config: Config) -> dict[str, Any]:
    """What a configuration is, taken before a data set is read: data sets add to it.

    A teacher given as a file counts by what is in it, wherever it lies.
    """
    files = [entry["checkpoint"] for entry in config["teachers"] or [] if "checkpoint" in entry]
    weights = [np.fromfile(file, np.uint8) for file in files if Path(file).is_file()]
    return {"fingerprint": checkpoint.fingerprint(config, *weights), "config": checkpoint.plain_config(config)}


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        noted = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return noted if isinstance(noted, dict) and "fingerprint" in noted else None


def _difference(noted: dict[str, Any], config: Config) -> str:
    now, then = checkpoint.plain_config(config), noted["config"]
    keys = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
    return ", ".join(f"{key}: {then.get(key)!r} there, {now.get(key)!r} here" for key in keys[:3])
