"""`recbole-odrec keys`: every key with its default and meaning, as Markdown; `docs/keys.md` is its output.

A key of a part (table, encoder, read-out, objective) stands in that part's `Settings`, every other one in a property
file with a comment beside it. Nothing is written down a second time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from recbole_odrec.config import properties_folder
from recbole_odrec.neighbours import NEIGHBOUR_MODELS
from recbole_odrec.nn.kinds import KINDS
from recbole_odrec.parsing import defaults
from recbole_odrec.trainer.objectives import OBJECTIVES

_COMMENTED = re.compile(r"(?P<key>\w+):.*?\s#\s*(?:\((?P<type>[^)]*)\)\s*)?(?P<meaning>.*)")
_HEAD = """\
# Keys

Written by `recbole-odrec keys` from the property files and the parts' settings; do not edit.

On the command line a key is `--key=value`, in a file `key: value`, from Python an entry of `config_dict`. An argument
goes over a file, a file over a recipe, a recipe over the defaults here. Keys of RecBole itself stay as it documents
them. A key of a part that is not chosen is refused, by name of the part it belongs to.
"""


def reference() -> str:
    """The page."""
    folder = properties_folder()
    models = sorted((folder / "model").glob("*.yaml"), key=lambda path: (path.stem != "ODRec", path.stem))
    sections = [_HEAD, *_section("Every model of ours", _of_file(folder / "overall.yaml"))]
    for path in models:
        sections += _section(path.stem, _of_file(path))
    for kind, (known, _) in KINDS.items():
        for name, part in known.items():
            sections += _section(f"`{kind}: {name}`", _of_settings(part.Settings))
    for name, part in NEIGHBOUR_MODELS.items():
        sections += _section(f"`model: {name}`", _of_settings(part.Settings))
    for name, part in OBJECTIVES.items():
        sections += _section(f"Objective {name}", _of_settings(part.Settings))
    for what in ("recipe", "dataset"):
        for path in sorted((folder / what).glob("*.yaml")):
            sections += _section(f"`{what}: {path.stem}`", _of_file(path))
    return "\n".join(sections)


def _section(title: str, rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    rows = list(rows)
    if rows:
        yield f"## {title}\n"
        yield "| key | value | meaning |\n| --- | --- | --- |"
        yield "\n".join(f"| `{key}` | `{value}` | {meaning} |" for key, value, meaning in rows) + "\n"


def _of_file(path: Path) -> Iterator[tuple[str, str, str]]:
    text = path.read_text(encoding="utf-8")
    meanings = {
        found["key"]: found["meaning"] for line in text.splitlines() if (found := _COMMENTED.fullmatch(line.rstrip()))
    }
    for key, value in yaml.safe_load(text).items():
        yield key, _shown(value), meanings[key].replace("|", "\\|")


def _of_settings(settings: type) -> Iterator[tuple[str, str, str]]:
    values = defaults(settings)
    for field in fields(settings):
        yield field.name, _shown(values[field.name]), field.metadata["meaning"].replace("|", "\\|")


def _shown(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("...\n").strip()
