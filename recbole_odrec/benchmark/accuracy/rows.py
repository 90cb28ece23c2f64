"""What is compared: one row a model and data set, each a YAML file of its settings, beside the results.

    results/accuracy/rows/<data set>/<row>.yaml

A file says everything that makes the run, so that a default that changes in the property files changes no row; or it
says `is_default: true` and only in what the run differs from what the package does by itself (`meaning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recbole_odrec.config.kinds import ANYTHING, FLAG, TEXT, WEIGHT, Rule, list_of, table, whole
from recbole_odrec.config.properties import our_properties
from recbole_odrec.config.reading import read_yaml
from recbole_odrec.errors import UserError, did_you_mean
from recbole_odrec.parts import NEIGHBOURS
from recbole_odrec.registry import OUR_MODELS, model_class

KINDS = ("RecBole", "counting", "teacher", "student")  # in the order of the tables
TEACHER = "sasrec-teacher"  # the full teacher, which every student stands beside
SEEDS = (1, 2, 3)

_RULES: dict[str, Rule] = {
    **dict.fromkeys(("title", "model", "teaches"), TEXT),
    **dict.fromkeys(("is_bold", "is_aside", "is_default"), FLAG),
    "place": whole(0),
    "settings": table(ANYTHING, "of a run's keys and values"),
    "teachers": list_of(table(ANYTHING, ""), "rows that teach, such as [{row: sasrec-teacher}]"),
}
_RULES_OF_TEACHER: dict[str, Rule] = {"row": TEXT, "weight": WEIGHT, "seeds": whole(1, len(SEEDS))}
_OF_THE_RUN = {"seed", "teachers", "refit_epochs", "checkpoint_dir"}  # no row's: each of its runs has its own


@dataclass(frozen=True)
class TeacherRow:
    """A row whose trained model teaches.

    Attributes:
        row: its name.
        weight: how much its scores count beside the other teachers', or `auto`: chosen on validation.
        seeds: as many seeds of it teach, the student's own first.
    """

    row: str
    weight: float | str = 1
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

    @property
    def weights_of_teachers(self) -> list[float | str]:
        """A weight a run that teaches."""
        return [teacher.weight for teacher in self.teachers for _ in range(teacher.seeds)]


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
        _check_names(row, found[row.dataset])
    return {dataset: _of_data(dataset, of_one) for dataset, of_one in found.items()}


def _of_data(dataset: str, rows: dict[str, Row]) -> dict[str, Row]:
    """The rows of a data set, told how it is tested."""
    said = [our_properties(f"dataset/{dataset}"), *(row.settings for row in rows.values())]
    of_sessions = any("benchmark_filename" in keys for keys in said)
    return {name: replace(row, of_sessions=of_sessions) for name, row in rows.items()}


def _read_row(path: Path) -> Row:
    values = read_yaml(path)
    _check(path, values, _RULES, "title", "model", "place")
    try:
        model_class(values["model"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    for teacher in values.get("teachers", ()):
        _check(path, teacher, _RULES_OF_TEACHER, "row")
    of_run = sorted(values.get("settings", {}).keys() & _OF_THE_RUN)
    if of_run:
        raise UserError(f"{path}: settings hold {of_run[0]}, which each run of the row has of its own: leave it out.")
    values["teachers"] = tuple(TeacherRow(**teacher) for teacher in values.get("teachers", ()))
    return Row(path.stem, path.parent.name, **values)


def _check(path: Path, values: Mapping[str, Any], rules: Mapping[str, Rule], *needed: str) -> None:
    for key, value in values.items():
        if key not in rules:
            raise UserError(f"{path}: unknown key `{key}`{did_you_mean(key, rules)}.")
        if not rules[key].holds(value):
            raise UserError(f"{path}: {key}={value!r}, expected {rules[key].expected}.")
    for key in needed:
        if key not in values:
            what = f"is not a row of `benchmark accuracy`: it lacks `{key}`"
            raise UserError(f"{path} {what}, expected {rules[key].expected}.")


def _check_names(row: Row, others: Mapping[str, Row]) -> None:
    """The rows that a row names are there, and teach; so no run waits for itself."""
    where, taught_by = f"{row.dataset}/{row.name}.yaml", [teacher.row for teacher in row.teachers]
    for name in [*taught_by, *([row.teaches] if row.teaches else [])]:
        if name not in others:
            raise UserError(f"{where} names the row `{name}`, which is not there{did_you_mean(name, others)}.")
    for name in taught_by:
        if others[name].kind == "student" or others[name].teaches:
            raise UserError(f"{where}: the row `{name}` cannot teach, expected rows of one trained teacher each.")
    if row.teachers and (row.kind != "student" or row.teaches):
        raise UserError(
            f"{where}: teachers are those of a row with model ODRec, and without `teaches`: leave them out."
        )
    if row.teaches and not others[row.teaches].teachers:
        raise UserError(f"{where}: teaches={row.teaches!r}, expected a row that has teachers.")
