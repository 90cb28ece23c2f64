"""What is compared: one row a model and data set, each a YAML file of its settings, beside the results.

    results/accuracy/rows/<data set>/<row>.yaml

A file says everything that makes the run, so that a default that changes in the property files changes no row; or it
says `is_default: true` and only in what the run differs from what the package does by itself (`meaning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from recbole_odrec.config.properties import our_properties
from recbole_odrec.errors import UserError, did_you_mean
from recbole_odrec.parts import NEIGHBOURS
from recbole_odrec.registry import OUR_MODELS

KINDS = ("RecBole", "counting", "teacher", "student")  # in the order of the tables
TEACHER = "sasrec-teacher"  # the full teacher, which every student stands beside
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class TeacherRow:
    """A row whose trained model teaches.

    Attributes:
        row: its name.
        weight: how much its scores count beside the other teachers'.
        seeds: as many seeds of it teach, the student's own first.
    """

    row: str
    weight: float = 1
    seeds: int = 1


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name, dataset: of its file, and on the command line.
        title: what the table calls it.
        model: ODRec, one of our teachers or neighbourhood models, or a RecBole model.
        place: among the rows of its kind, the smallest first.
        settings: every key of the run but its seed, its teachers, and where files lie; of a default, those that differ.
        teachers: rows that teach it; the student starts from the first.
        teaches: name of the row whose several teachers this is, measured in its runs; "" where a row has its own.
        is_bold: run with three seeds, first of all.
        is_aside: what one part is worth, or was before something better: in the long tables alone.
        is_default: what the settings do not say is what the package, or RecBole for its models, has by default.
        of_sessions: its data set is session files: epochs are selected, then the model is trained anew on training and
            validation sessions and tested. Otherwise the run that selects them is the one that is tested.
    """

    name: str
    dataset: str
    title: str
    model: str
    place: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    teachers: tuple[TeacherRow, ...] = ()
    teaches: str = ""
    is_bold: bool = False
    is_aside: bool = False
    is_default: bool = False
    of_sessions: bool = True

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        if self.model not in OUR_MODELS:
            return "RecBole"
        if self.model in NEIGHBOURS:
            return "counting"
        return "student" if self.model == "ODRec" else "teacher"

    @property
    def names_of_teachers(self) -> list[str]:
        """A name a run that teaches, so one of several seeds several times."""
        return [teacher.row for teacher in self.teachers for _ in range(teacher.seeds)]


def read_rows(folder: Path) -> dict[str, dict[str, Row]]:
    """Rows by data set and name, in the order of the tables.

    Args:
        folder: holds a folder a data set.

    Raises:
        UserError: a file that is no row, or a row that names another one that is not there.
    """
    rows = [_read_row(path) for path in folder.glob("*/*.yaml")]
    found: dict[str, dict[str, Row]] = {}
    for row in sorted(rows, key=lambda row: (row.dataset, KINDS.index(row.kind), row.place, row.name)):
        found.setdefault(row.dataset, {})[row.name] = row
    for row in rows:
        named = [*(teacher.row for teacher in row.teachers), *([row.teaches] if row.teaches else [])]
        for name in named:
            if name not in found[row.dataset]:
                hint = did_you_mean(name, found[row.dataset])
                raise UserError(f"{row.dataset}/{row.name}.yaml names the row `{name}`, which is not there{hint}.")
    return {dataset: _of_data(dataset, of_one) for dataset, of_one in found.items()}


def _of_data(dataset: str, rows: dict[str, Row]) -> dict[str, Row]:
    """The rows of a data set, told how it is tested."""
    said = [our_properties(f"dataset/{dataset}"), *(row.settings for row in rows.values())]
    of_sessions = any("benchmark_filename" in keys for keys in said)
    return {name: replace(row, of_sessions=of_sessions) for name, row in rows.items()}


def _read_row(path: Path) -> Row:
    keys = {entry.name for entry in fields(Row)} - {"name", "dataset", "of_sessions"}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        unknown = sorted(values.keys() - keys)
        if unknown:
            raise UserError(f"{path}: unknown key `{unknown[0]}`{did_you_mean(unknown[0], keys)}.")
        values["teachers"] = tuple(TeacherRow(**teacher) for teacher in values.get("teachers", ()))
        return Row(path.stem, path.parent.name, **values)
    except (OSError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not a row of `benchmark accuracy`: {' '.join(str(error).split())}.") from error
