"""Kinds of values: what holds of one, and how a message puts it."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What holds of a key's value, and how a message puts it."""

    holds: Callable[[Any], bool]
    expected: str

    def __or__(self, other: Rule) -> Rule:
        return Rule(lambda value: self.holds(value) or other.holds(value), f"{self.expected} or {other.expected}")


def is_number(value: object) -> bool:
    """Whether it is a finite number; True is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> bool:
    """Whether it is a whole number; True is none."""
    return isinstance(value, int) and not isinstance(value, bool)


LARGEST = 2**31 - 1  # of a whole number: counts and sizes end up in 32 bits somewhere


def whole(low: int, high: int = LARGEST) -> Rule:
    """A whole number from `low` to `high`."""
    return Rule(lambda value: is_whole(value) and low <= value <= high, f"a whole number from {low} to {high}")


def word(*allowed: str, any_case: bool = False) -> Rule:
    """One of the words."""
    known = {name.lower() if any_case else name for name in allowed}
    return Rule(
        lambda value: isinstance(value, str) and (value.lower() if any_case else value) in known,
        f"one of {', '.join(allowed)}",
    )


def list_of(rule: Rule, what: str, length: int | None = None) -> Rule:
    """A list, not empty, whose every value fulfils a rule."""
    return Rule(
        lambda value: (
            isinstance(value, list) and 0 < len(value) == (length or len(value)) and all(map(rule.holds, value))
        ),
        f"a list of {what}",
    )


def table(values: Rule, what: str, *keys: str) -> Rule:
    """A dictionary whose every value fulfils a rule, and whose keys are among those given."""
    return Rule(
        lambda value: (
            isinstance(value, dict) and set(value) <= set(keys or value) and all(map(values.holds, value.values()))
        ),
        f"a dictionary {what}",
    )


NOTHING = Rule(lambda value: value is None, "None")
ANYTHING = Rule(lambda value: True, "any value")
FLAG = Rule(lambda value: isinstance(value, bool), "True or False")
TEXT = Rule(lambda value: isinstance(value, str) and value != "", "a word")
POSITIVE = Rule(lambda value: is_number(value) and value > 0, "a number above 0")
WEIGHT = POSITIVE | word("auto")  # of a teacher; auto is chosen on validation
NOT_NEGATIVE = Rule(lambda value: is_number(value) and value >= 0, "a number of at least 0")
SHARE = Rule(lambda value: is_number(value) and 0 <= value < 1, "a number in [0, 1)")

_END = r"\s*[-+]?(?:inf|\d+(?:\.\d*)?)\s*"
_INTERVAL = re.compile(rf"\s*[\[(]({_END}),({_END})[\])]\s*")


def _is_interval(value: object) -> bool:
    found = [_INTERVAL.fullmatch(part) for part in value.split(";")] if isinstance(value, str) else [None]
    return all(match is not None and float(match[1]) <= float(match[2]) for match in found)


INTERVAL = Rule(_is_interval, "an interval such as '[5,inf)', several with ; between")
FIELDS = table(
    list_of(TEXT, "columns"), "from the kind of file to a list of columns, such as {'inter': ['user_id', 'item_id']}"
)
_GPUS = re.compile(r"(\d{1,3}(\s*,\s*\d{1,3})*|((GPU|MIG)-[\w/-]+,?)+)?")
GPUS = Rule(
    lambda value: isinstance(value, (str, int)) and _GPUS.fullmatch(str(value)) is not None,
    "numbers or names of GPUs as a word, such as '0' or '0,1'",
)


def is_bounded(value: object) -> bool:
    """Whether every number in a value, however deep, is finite and fits 32 bits."""
    if isinstance(value, (list, dict)):
        return all(map(is_bounded, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, (int, float)) or abs(value) < 2**32


def is_codec(value: object) -> bool:
    """Whether Python knows an encoding of this name."""
    try:
        return isinstance(value, str) and codecs.lookup(value) is not None
    except (LookupError, ValueError):
        return False
