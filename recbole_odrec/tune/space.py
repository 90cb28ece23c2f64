"""What a study may change, written in YAML, and a configuration drawn from it.

learning_rate: {low: 0.0005, high: 0.01, log: True}    a number; whole ones where both ends are
hidden_dropout_prob: {low: 0.0, high: 0.5, step: 0.1}
readout: [last, item_attention]                        one of a list; a list of one value fixes it
every_teacher: {epochs: [5, 10]}                       a dictionary in which some values are drawn
table: {one_of: {codes: {move_codes_every: [0, 20]}, tensor_train: {}}}    a choice that has keys of its own
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from recbole_odrec.config.kinds import is_number, is_whole
from recbole_odrec.errors import UserError

_ENDS = {"low", "high"}
_NUMBER = {*_ENDS, "log", "step"}


class Drawer(Protocol):
    """Names a value and gets it: an Optuna trial, or a corner of the space."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...
    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...
    def suggest_categorical(self, name: str, choices: list[Any]) -> Any: ...


def draw(space: Mapping[str, Any], drawer: Drawer, within: str = "") -> dict[str, Any]:
    """Keys and values of a configuration.

    Raises:
        UserError: an entry that is none of the above.
    """
    drawn: dict[str, Any] = {}
    for key, entry in space.items():
        name = f"{within}{key}"
        if isinstance(entry, list) and entry:
            drawn[key] = _choose(drawer, name, entry)
        elif isinstance(entry, dict) and entry.keys() & _NUMBER:
            drawn[key] = _number(drawer, name, entry)
        elif isinstance(entry, dict) and entry.keys() == {"one_of"}:
            branches = entry["one_of"]
            if (
                not isinstance(branches, dict)
                or not branches
                or not all(isinstance(b, dict) for b in branches.values())
            ):
                raise _misread(name, entry)
            drawn[key] = chosen = _choose(drawer, name, list(branches))
            drawn |= draw(branches[chosen], drawer, f"{within}{key}={chosen}.")
        elif isinstance(entry, dict) and entry:
            drawn[key] = draw(entry, drawer, f"{name}.")
        else:
            raise _misread(name, entry)
    return drawn


def _number(drawer: Drawer, name: str, entry: dict[str, Any]) -> float:
    low: Any
    high: Any
    low, high, step, log = (entry.get(name) for name in ("low", "high", "step", "log"))
    log = False if log is None else log
    fits = entry.keys() <= _NUMBER and is_number(low) and is_number(high) and low < high and isinstance(log, bool)
    if not fits or (step is not None and (log or not is_number(step) or step <= 0)) or (log and low <= 0):
        raise UserError(
            f"space: {name}={entry!r}, expected {{low: .., high: ..}} with low < high, and a step above 0 or log: True "
            "(low above 0), not both."
        )
    if all(map(is_whole, (low, high, 1 if step is None else step))):
        return drawer.suggest_int(name, low, high, step=step or 1, log=log)
    return drawer.suggest_float(name, low, high, step=step, log=log)


def _choose(drawer: Drawer, name: str, values: list[Any]) -> Any:
    """Optuna's file keeps words and numbers: what is neither goes by its text."""
    if all(value is None or isinstance(value, (bool, int, float, str)) for value in values):
        return drawer.suggest_categorical(name, values)
    texts = {json.dumps(value): value for value in values}
    return texts[drawer.suggest_categorical(name, list(texts))]


def _misread(name: str, entry: object) -> UserError:
    return UserError(
        f"space: {name}={entry!r}, expected a list of values, {{low: .., high: ..}}, a dictionary of these, or "
        "{one_of: {VALUE: {KEY: ..}}}."
    )


class _Corner:
    """Draws an end of every number, and of every list the value at one place (its last where it is short)."""

    def __init__(self, place: int) -> None:
        self.place, self.longest = place, 2

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:
        return high if self.place % 2 else low

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:
        return high if self.place % 2 else low

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        self.longest = max(self.longest, len(choices))
        return choices[min(self.place, len(choices) - 1)]


def corners(space: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Configurations that hold both ends of every number and every value of a list, to be checked before any runs."""
    place, longest = 0, 2
    while place < longest:
        corner = _Corner(place)
        yield draw(space, corner)
        place, longest = place + 1, max(longest, corner.longest)
