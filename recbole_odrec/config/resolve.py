"""`resolve`: what a run is, teachers and all, in plain, checked values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml
from recbole.utils import argument_list

from recbole_odrec.config.kinds import TEXT, WEIGHT, list_of, whole
from recbole_odrec.config.layers import Resolved, known_keys, resolve_model
from recbole_odrec.config.properties import our_properties, recipe_properties
from recbole_odrec.errors import UserError
from recbole_odrec.parsing import require

# Both phases must agree on these: the rows, the metric that selects, where things go.
_SHARED_KEYS = (
    *("MAX_ITEM_LIST_LENGTH", "eval_args", "metrics", "topk", "valid_metric", "eval_batch_size", "repeatable"),
    "exclude_seen",
)

_PARTS = list_of(TEXT, "parts of your own, such as ['my_module:MyTable']")

# What a teacher cannot differ in: data, evaluation and machine are the run's.
_OF_THE_RUN = {*argument_list.general_arguments, *argument_list.evaluation_arguments, *argument_list.dataset_arguments}
_OF_THE_RUN -= {"seed", "reproducibility"}

# What a student alone takes from the run: teachers have a whole table.
_STUDENTS = {"n_followers", "follower_gain"}


def resolve(
    model: str,
    dataset: str,
    config_files: Sequence[str] = (),
    config_dict: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> Resolved:
    """What a run of a model on a data set is; of a student, every teacher is written out and checked too.

    Args, Raises: as `resolve_model`.
    """
    run = resolve_model(model, dataset, config_files, config_dict, arguments)
    return _with_teachers(run) if model == "ODRec" else run


def resolve_teacher(
    student: Resolved, model: str, differs: Mapping[str, Any], stored: Mapping[str, Any] | None = None
) -> Resolved:
    """A teacher of a student: its own properties, then what is given for the run, then in what it differs.

    Data, evaluation and machine settings are the student's own, so that both phases see the same rows. What the run
    says of a network that this teacher is not is left out.

    Args:
        student: what the run is.
        model: name of the teacher's.
        differs: keys in which it differs from the run.
        stored: keys from a checkpoint of it, as far as this version knows them.

    Raises:
        UserError: a difference that the teacher does not know, or whose value it cannot have.
    """
    values, known = student.values, known_keys("SASRecTeacher", student.dataset)
    training = {key: values[key] for key in (*our_properties("overall"), "learning_rate") if key in values}
    run = {key: value for key, value in student.given.items() if key in known - _STUDENTS}
    if stored is not None:  # the network is the file's; keys younger than the file have their defaults
        run = {key: value for key, value in run.items() if key not in our_properties(f"model/{model}")}
        stored = {**stored, "recipe": "none"}  # whose keys are no defaults
    shared = {key: values[key] for key in _SHARED_KEYS if key in values}
    heard = {**training, **run, **shared, "train_neg_sample_args": None, **(stored or {})}
    return resolve_model(model, student.dataset, config_dict=differs, heard=heard)


def differences(entry: Mapping[str, Any]) -> dict[str, Any]:
    """In what a teacher of the list differs from the run."""
    return {key: value for key, value in entry.items() if key not in ("model", "weight", "checkpoint")}


def start_of(starts_from: Any, entries: Sequence[Mapping[str, Any]]) -> int:
    """Place in the list, from 0, of the teacher that the student starts from.

    Raises:
        UserError: it is none of them, or more than one.
    """
    models = [entry.get("model") for entry in entries]
    if whole(1, len(models)).holds(starts_from):
        return starts_from - 1
    expected = f"a whole number from 1 to {len(models)}, or a model that stands once in the list of teachers"
    require(isinstance(starts_from, str) and models.count(starts_from) == 1, "starts_from", starts_from, expected)
    return models.index(starts_from)


def _with_teachers(student: Resolved) -> Resolved:
    """The list of teachers, written out as a run records it: with what the recipe says of every teacher."""
    given = dict(student.given)
    _refuse_old_keys(given, [entry for entry in student.defaults["teachers"] if entry.get("weight") != "auto"])
    if "teacher" in given:
        if "teachers" in given:
            raise UserError("teacher and teachers are given: teacher is short for a list of one, leave it out.")
        given["teachers"] = [{"model": given.pop("teacher")}]
    of_every_one = _at_most(recipe_properties(student.values["recipe"]).get("every_teacher", {}), given)
    written = {}
    for place, source in (("defaults", student.defaults), ("given", given)):
        if "teachers" in source:
            written[place] = {**source, "teachers": _written_out(source["teachers"], student.dataset, of_every_one)}
    if "defaults" in written:
        written["defaults"]["teachers"] = [_at_most(entry, given) for entry in written["defaults"]["teachers"]]
    run = replace(student, **{"given": given, **written})
    for entry in run.values["teachers"]:
        if "checkpoint" not in entry:
            resolve_teacher(run, entry["model"], differences(entry))
    start = run.values["teachers"][start_of(run.values["starts_from"], run.values["teachers"])]
    require(start.get("weight") != "auto", "weight of the teacher to start from", "auto", "a number above 0")
    return run


def _at_most(said: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says of teachers, with no more epochs than the run was given: who asks for one wants it quick."""
    return {**said, **({"epochs": given["epochs"]} if said.get("epochs", 0) > given.get("epochs", math.inf) else {})}


def _written_out(entries: Any, dataset: str, of_every_one: Mapping[str, Any]) -> list[dict[str, Any]]:
    is_list = isinstance(entries, list) and entries and all(isinstance(entry, dict) for entry in entries)
    require(bool(is_list), "teachers", entries, "a list such as [{model: SASRecTeacher, hidden_size: 256}]")
    written = []
    for number, entry in enumerate(entries, 1):
        for key, rule in (("weight", WEIGHT), ("checkpoint", TEXT), ("model", TEXT)):
            require(
                rule.holds(entry.get(key, 1 if key == "weight" else "-")),
                f"{key} of teacher {number}",
                entry.get(key),
                rule.expected,
            )
        if "checkpoint" in entry:
            others = sorted(entry.keys() - {"checkpoint", "weight", "parts"})
            parts = entry.get("parts", ["-"])
            require(_PARTS.holds(parts), f"parts of teacher {number}", parts, _PARTS.expected)
            if others:
                raise UserError(f"teacher {number} is a file, which says what it is: leave {', '.join(others)} out.")
            written.append(entry)
        else:
            shared = sorted(entry.keys() & _OF_THE_RUN)
            if shared:
                raise UserError(f"teacher {number} cannot differ in {', '.join(shared)}: leave it to the run itself.")
            model = entry.get("model", "SASRecTeacher")
            require(model != "ODRec", f"model of teacher {number}", model, "another model: ODRec is the student")
            if entry.get("n_followers"):
                raise UserError(
                    f"teacher {number}: followers are a student's, and teach nothing: leave n_followers out."
                )
            known = known_keys(model, dataset)
            own = {key: value for key, value in of_every_one.items() if key in known}
            written.append({"model": model, **own, **entry})
    return written


# ---------------------------------------------------------------------- how 0.1 wrote it


def _refuse_old_keys(given: Mapping[str, Any], teachers: Sequence[Mapping[str, Any]]) -> None:
    """Says how keys of 0.1 are written now: computed from what is given and from the recipe's own teachers."""
    old = ("teacher_config", "n_teachers", "second_teacher", "teacher_weights", "teacher_checkpoint")
    found = [key for key in old if key in given]
    if not found:
        return
    asked = " ".join(f"{key}={given[key]!r}" for key in found)
    try:
        entries = _as_list(given, teachers)
    except (TypeError, ValueError, AttributeError):  # values that 0.1 refused too: there is nothing to write anew
        example = "[{model: SASRecTeacher, n_layers: 2}, {model: GRU4RecTeacher, weight: 0.5}, {checkpoint: FILE}]"
        raise UserError(f"{asked}: teachers are one list now, an entry each: teachers: {example}.") from None
    written = yaml.safe_dump(entries, default_flow_style=True, sort_keys=False, width=10**6).strip()
    raise UserError(f'{asked} is written --teachers="{written}" now (in a file: teachers: {written}).')


def _as_list(given: Mapping[str, Any], teachers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """0.1's keys as a list: its second teacher first, for the student starts from the first of the list."""
    own = dict(teachers[-1])
    if given.get("teacher", own["model"]) != own["model"]:
        own = {"model": given["teacher"]}
    of_own = given.get("teacher_config") or {}
    files = given.get("teacher_checkpoint") or []
    entries = [{"checkpoint": file} for file in ([files] if isinstance(files, str) else files)]
    entries = entries or [{**own, **of_own} for _ in range(given.get("n_teachers", 1))]
    weights = given.get("teacher_weights") or [1] * len(entries)
    second = given.get("second_teacher", teachers[0] if len(teachers) > 1 else {})
    if second and not given.get("teacher_checkpoint"):
        second = {"model": own["model"], **second}
        alike = of_own if second["model"] == own["model"] else {}
        entries.insert(0, {"model": second["model"], **alike, **second})
        weights = [second.get("weight", 1), *(weight / sum(weights) for weight in weights)]
    if not entries:
        raise ValueError("no teacher")
    entries = [{key: value for key, value in entry.items() if key != "weight"} for entry in entries]
    if len(set(weights)) == 1:
        return entries
    return [{**entry, "weight": weight} for entry, weight in zip(entries, weights, strict=True)]
