"""The errors that a user can cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: its message is one line that says what was given, what was expected and what to do.

    The command line prints that line and exits with code 2; from Python it is an ordinary ValueError. Whatever of what
    was given would break the line, or the terminal, is written as Python writes it.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class InfeasibleRateError(UserError):
    """A compression rate that no table of this size has.

    Args:
        message: see `UserError`.
        highest: the highest rate that there is.
    """

    def __init__(self, message: str, highest: float) -> None:
        super().__init__(message)
        self.highest = highest


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """' (did you mean `x`?)' for the nearest known name, or '' when none is near."""
    near = difflib.get_close_matches(str(given), list(known), n=1, cutoff=0.6)
    return f" (did you mean `{near[0]}`?)" if near else ""
