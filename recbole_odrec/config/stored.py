"""Configurations out of files, which somebody may have sent: checked as given ones are, and no code is run for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from recbole_odrec.config.kinds import is_bounded
from recbole_odrec.config.reading import plain
from recbole_odrec.config.rules import RULES
from recbole_odrec.errors import UserError
from recbole_odrec.nn.kinds import KINDS


def check_stored(values: Mapping[str, Any], path: Path, parts: Collection[object], how: str) -> None:
    """Refuses values that no run could have had, and parts of somebody's own that nobody but the file names.

    Importing `module:Class` runs the module's code: a file alone gets no code run.

    Args:
        values: what is taken from the file.
        path: the file.
        parts: parts that the user names, as `module:Class`.
        how: how the user names one.

    Raises:
        UserError: the file, the key, its value and what was expected.
    """
    for key, value in values.items():
        value, rule = plain(value), RULES.get(key)
        if rule is not None and not rule.holds(value):
            raise UserError(f"{path} holds {key}={value!r}, expected {rule.expected}.")
        if not is_bounded(value):
            raise UserError(f"{path} holds {key}={value!r}, expected finite numbers below 2**32.")
    for kind in KINDS:
        name = values.get(kind)
        if isinstance(name, str) and ":" in name and name not in parts:
            raise UserError(
                f"{path} names {kind}={name!r}, and importing that runs its code: if you trust it, name it too, "
                f"{how.format(name)}."
            )
