"""What a row means today, and whether a run of it was that.

A row in which `is_default` stands leaves keys to the package; when a default changes, so does the row, and a run from
before is none of it any more.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole.utils import argument_list

from recbole_odrec.benchmark.accuracy.ranks import unpack
from recbole_odrec.benchmark.accuracy.rows import Row
from recbole_odrec.config import setting_names
from recbole_odrec.config.resolve import resolve
from recbole_odrec.data.window_length import KEY, USUAL
from recbole_odrec.errors import UserError

# bfloat16 where it is fast; RecBole writes out a None.
OF_MACHINE = {"score_dtype", "enable_amp", "train_neg_sample_args"}
# What a run adds to its settings: of them, `follower_gain` is chosen on validation.
OF_RUN = {"seed", "refit_epochs", "teachers", "follower_gain"}
# Which rows are read, and how they are split.
DATA_KEYS = {*argument_list.dataset_arguments, "eval_args", "repeatable"}
# What rows said of data before runs wrote their data keys down: that they are whole sessions.
_OF_SESSIONS = {"USER_ID_FIELD", "benchmark_filename"}
_NEEDED = {"seed": int, "seconds": (int, float), "data": dict, "parameters": dict, "config": dict}  # of a run's file


def meaning(row: Row) -> dict[str, Any]:
    """Every setting of the row's runs, defaults too, but for what the machine or the run itself decides.

    Raises:
        UserError: the row's settings are those of no run.
    """
    values = _values(row, row.settings)
    names = {*setting_names(row.model), *DATA_KEYS} - OF_MACHINE - OF_RUN
    return {key: values[key] for key in sorted(names & values.keys())}


def data_keys(row: Row) -> dict[str, Any]:
    """Of `meaning`, the keys that say what the data are: as they are given, before RecBole fills them in."""
    return {key: value for key, value in meaning(row).items() if key in DATA_KEYS}


def difference(row: Row, rows: Mapping[str, Row], run: Mapping[str, Any]) -> str:
    """In what a run was not what its row means, or one of its teachers not what that row means; "" if in nothing.

    Args:
        row: of the run; one that leaves nothing to defaults means what it says for ever.
        rows: of the data set, by name.
        run: content of the run's file.
    """
    if not row.is_default:
        return ""
    had = run["config"]
    taught = had.get("teachers") or []
    if (names := [one["row"] for one in taught]) != (now := row.names_of_teachers):
        return f"teachers: {names} then, {now} now"
    for one, weight in zip(taught, row.weights_of_teachers, strict=True):
        if weight not in ("auto", one["weight"]):
            return f"weight of {one['row']}: {one['weight']} then, {weight} now"
    for name, then in ((row.name, had), *((one["row"], one["config"]) for one in taught)):
        if not rows[name].is_default:
            continue
        decided = then.get("decided", {})  # from the data, over what was asked
        then = {**_unwritten(rows[name]), **then}
        for key, value in meaning(rows[name]).items():
            if (key, value) == (KEY, "auto"):
                value = USUAL  # where the data did not decide on more
            if key not in decided and then.get(key, "nothing") != value:
                return f"{key} of {name}: {then.get(key, 'nothing')!r} then, {value!r} now"
    return ""


def read_run(path: Path, rows: Mapping[str, Mapping[str, Row]]) -> tuple[dict[str, Any], str]:
    """The content of a run's file, and why it is no run of its row any more: "" if it is, or if the row is gone.

    Args:
        path: of the file.
        rows: all there are, by data set and name.

    Raises:
        UserError: a file that is no run, or a row whose settings are those of no run.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        named = f"{run['dataset']}/{run['row']}"
        if named != f"{path.parent.name}/{path.name.split('.')[0]}":
            raise ValueError(f"it is of {named}")
        for key, kind in _NEEDED.items():
            if not isinstance(run[key], kind):
                raise ValueError(f"{key}={run[key]!r}")
        if run["test"] is not None:
            for cases in ("test_ranks", "test_sessions", "test_repeats"):  # an earlier version wrote no repeats
                unpack(run[cases])
        of_data = rows.get(run["dataset"], {})
        return run, difference(of_data[run["row"]], of_data, run) if run["row"] in of_data else ""
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        why = f"is not a run of `benchmark accuracy` ({error}); remove it to run it anew."
        raise UserError(f"{path} {why}") from error


def _values(row: Row, settings: Mapping[str, Any]) -> dict[str, Any]:
    files = {"teachers": [{"checkpoint": "x"} for _ in row.teachers]} if row.teachers else {}
    try:
        return resolve(row.model, row.dataset, config_dict={**settings, **files}).values
    except UserError as error:
        raise UserError(f"{row.dataset}/{row.name}.yaml: {error}") from error


def _unwritten(row: Row) -> dict[str, Any]:
    """Data keys of a run from before they were written down: the defaults, and whole sessions where the row said so."""
    settings = {key: value for key, value in row.settings.items() if key in _OF_SESSIONS}
    return {key: value for key, value in _values(row, settings).items() if key in DATA_KEYS}
