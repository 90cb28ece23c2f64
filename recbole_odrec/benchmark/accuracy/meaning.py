"""What a row means today, and whether a run of it was that.

A row in which `is_default` stands leaves keys to the package; when a default changes, so does the row, and a run from
before is none of it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_odrec.benchmark.accuracy.rows import Row
from recbole_odrec.config import setting_names
from recbole_odrec.config.resolve import resolve

# bfloat16 where it is fast; RecBole writes out a None.
OF_MACHINE = {"score_dtype", "enable_amp", "train_neg_sample_args"}
# What a run adds to its settings: of them, `follower_gain` is chosen on validation.
OF_RUN = {"seed", "refit_epochs", "teachers", "follower_gain"}


def meaning(row: Row) -> dict[str, Any]:
    """Every setting of the row's runs, defaults too, but for what the machine or the run itself decides."""
    files = {"teachers": [{"checkpoint": "x"} for _ in row.teachers]} if row.teachers else {}
    values = resolve(row.model, row.dataset, config_dict={**row.settings, **files}).values
    return {key: values[key] for key in setting_names(row.model) if key in values.keys() - OF_MACHINE - OF_RUN}


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
    for name, then in ((row.name, had), *((one["row"], one["config"]) for one in taught)):
        decided = then.get("decided", {})  # from the data, over what was asked
        for key, value in meaning(rows[name]).items() if rows[name].is_default else ():
            if key not in decided and then.get(key, "nothing") != value:
                return f"{key} of {name}: {then.get(key, 'nothing')!r} then, {value!r} now"
    return ""
