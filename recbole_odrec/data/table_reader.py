"""The one reader of text: atomic files (`.inter`, `.item`, `.user`, ..), session files and what `convert` takes.

A line ends with a line feed, a carriage return before it goes with it. A value is what stands between two separators,
as it stands: no word means "missing", no quotation mark holds anything together. A byte-order mark is no part of it.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recbole_odrec.errors import UserError

PADDING = "[PAD]"  # RecBole's name of id 0: no item, no user, no word of any column
_KINDS = ("token", "token_seq", "float", "float_seq")
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NUMBER = re.compile(NUMBER)
LARGEST = float(np.finfo(np.float32).max)  # RecBole's tensors hold 32 bits
_SHOWN = 60  # characters of a value in a message


def text_lines(path: Path, encoding: str | None = None) -> Iterator[tuple[int, str]]:
    """Lines of a text file (`.gz` or not), numbered from 1, without their end.

    Raises:
        UserError: the file, the line where there is one, and why it cannot be read.
    """
    number, encoding = 0, encoding or "utf-8"
    try:
        name = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding=name, newline="\n") as file:
            for number, line in enumerate(file, start=1):
                text = line.removesuffix("\n").removesuffix("\r")
                if "\r" in text or "\0" in text:
                    raise UserError(f"{path}, line {number}: {quoted(text)} holds a carriage return or a zero byte.")
                yield number, text
    except UnicodeError as error:
        before = error.object[: error.start].count(b"\n") if isinstance(error, UnicodeDecodeError) else 0
        reason = getattr(error, "reason", error)
        raise UserError(f"{path}, line {number + 1 + before}: not a text file in {encoding} ({reason}).") from error
    except LookupError as error:
        raise UserError(f"encoding={encoding!r}, expected a text encoding such as utf-8 or latin-1.") from error
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        place = f"{path}, after line {number}" if number else path
        raise UserError(f"{place}: cannot be read ({one_line(reason)}).") from error


def one_line(text: object) -> str:
    """Whatever a message is made of, on one line."""
    return " ".join(str(text).split())


def quoted(value: object) -> str:
    """The beginning of a value from a file, for a message of one line."""
    shown = str(value)
    return f"`{shown[:_SHOWN]}`" if shown.isprintable() else f"`{ascii(shown[:_SHOWN])[1:-1]}`"


class Header(NamedTuple):
    """First line of a table.

    Attributes:
        path: of its file.
        kinds: type of each column, by name, in the order of the file.
    """

    path: Path
    kinds: dict[str, str]

    @classmethod
    def read(cls, path: Path, separator: str, encoding: str | None = None) -> Header:
        """The header of a file; see `parse`."""
        return cls.parse(path, next(text_lines(path, encoding), (1, ""))[1], separator)

    @classmethod
    def parse(cls, path: Path, line: str, separator: str) -> Header:
        """Reads `name:type` of every column.

        Raises:
            UserError: another type, or a name that comes twice.
        """
        kinds: dict[str, str] = {}
        for column in line.split(separator):
            name, _, kind = column.partition(":")
            if kind not in _KINDS or not name:
                raise UserError(
                    f"{path}, line 1: column {quoted(column)}, expected `name:type` with a type among "
                    f"{', '.join(_KINDS)}."
                )
            if name in kinds:
                raise UserError(f"{path}, line 1: two columns {quoted(name)}, expected each name once.")
            kinds[name] = kind
        return cls(path, kinds)

    def require(self, needed: Mapping[str, str], hint: str = "") -> None:
        """Refuses a table without these columns, or with another type of theirs.

        Args:
            needed: name -> type.
            hint: what to do about a missing one.
        """
        missing = [name for name in needed if name not in self.kinds]
        if missing:
            raise UserError(
                f"{self.path}, line 1: no column {', '.join(map(quoted, missing))}, found "
                f"{', '.join(map(quoted, self.kinds))}{hint}."
            )
        for name, kind in needed.items():
            if self.kinds[name] != kind:
                raise UserError(f"{self.path}, line 1: column `{name}:{self.kinds[name]}`, expected `{name}:{kind}`.")


class Column(NamedTuple):
    """One column of a table: its checks name the file and the line.

    Attributes:
        path, name: where it stands.
        values: as they stand in the file, from line 2 on.
        is_needed: whether a value may be missing.
    """

    path: Path
    name: str
    values: list[str]
    is_needed: bool

    def refuse(self, row: int, expected: str) -> UserError:
        """What stands in that row (from 0) and what was expected."""
        return value_error(self.path, row + 2, self.name, self.values[row], expected)

    def tokens(self) -> np.ndarray:
        """Object array of str; NaN, RecBole's mark of a missing value, where nothing stands."""
        self._check_missing("token")
        if PADDING in self.values:
            raise self.refuse(self.values.index(PADDING), f"another name: {PADDING} is reserved for padding")
        values = np.array(self.values, dtype=object)
        if "" in self.values:
            values[values == ""] = np.nan
        return values

    def numbers(self) -> np.ndarray:
        """float64; NaN where nothing stands."""
        self._check_missing("float")
        for row, value in enumerate(self.values):
            if value and not _NUMBER.fullmatch(value):
                raise self.refuse(row, "a finite number")
        numbers = np.array([float(value) if value else np.nan for value in self.values])
        beyond = np.flatnonzero(np.abs(numbers) > LARGEST)
        if len(beyond):
            raise self.refuse(int(beyond[0]), f"a number up to {LARGEST:.2g}")
        return numbers

    def moments(self) -> np.ndarray:
        """As `numbers`, to be ordered by; exact where float64 would merge some: int64, or objects of Decimal.

        Only numbers of more than 15 digits are merged: nanoseconds, whole or as a fraction of seconds.
        """
        numbers = self.numbers()
        is_long = max(map(len, self.values)) > 15 and "" not in self.values
        if not is_long or len(np.unique(numbers)) == len(set(self.values)):
            return numbers
        try:
            return np.array(list(map(int, self.values)), dtype=np.int64)
        except (ValueError, OverflowError):
            return np.array(list(map(Decimal, self.values)), dtype=object)

    def keys(self) -> np.ndarray:
        """As `tokens`, each once: rows are found by them."""
        tokens, lines = self.tokens(), {}
        for row, token in enumerate(self.values):
            if lines.setdefault(token, row) != row:
                raise self.refuse(row, f"each name once: line {lines[token] + 2} has it")
        return tokens

    def token_lists(self, separator: str) -> list[np.ndarray]:
        """Lists of tokens."""
        self._check_missing("token_seq")
        lists = [list(filter(None, value.split(separator))) for value in self.values]
        for row, tokens in enumerate(lists):
            if self.is_needed and not tokens:
                raise self.refuse(row, "a list of tokens")
            if PADDING in tokens:
                raise self.refuse(row, f"no {PADDING} among the tokens: it is reserved for padding")
        return [np.array(tokens, dtype=object) for tokens in lists]

    def number_lists(self, separator: str) -> list[np.ndarray]:
        """Lists of numbers, float64."""
        self._check_missing("float_seq")
        lists = [list(filter(None, value.split(separator))) for value in self.values]
        for row, words in enumerate(lists):
            if not all(map(_NUMBER.fullmatch, words)):
                raise self.refuse(row, "finite numbers")
        return [np.array(list(map(float, words))) for words in lists]

    def _check_missing(self, kind: str) -> None:
        if self.is_needed and not all(map(str.strip, self.values)):
            row = next(row for row, value in enumerate(self.values) if not value.strip())
            raise UserError(f"{self.path}, line {row + 2}: `{self.name}` is empty, expected a {kind}.")


def value_error(path: Path, line: int, name: str, value: object, expected: str) -> UserError:
    """The refusal of a value in a file."""
    return UserError(f"{path}, line {line}: `{name}` is {quoted(value)}, expected {expected}.")


def read_columns(path: Path, separator: str, encoding: str | None, wanted: Sequence[str]) -> dict[str, list[str]]:
    """Values of some columns, from line 2 on.

    Raises:
        UserError: a line with another number of columns than the header, or none below it.
    """
    return next(column_blocks(path, separator, encoding, wanted, None))


def column_blocks(
    path: Path, separator: str, encoding: str | None, wanted: Sequence[str], n_rows: int | None
) -> Iterator[dict[str, list[str]]]:
    """As `read_columns`, so many rows at a time; all at once when None."""
    lines = text_lines(path, encoding)
    names = list(Header.parse(path, next(lines, (1, ""))[1], separator).kinds)
    rows, n_separators, number = [], len(names) - 1, 1

    def columns() -> dict[str, list[str]]:
        values = separator.join(rows).split(separator)
        return {name: values[names.index(name) :: len(names)] for name in wanted}

    for number, line in lines:
        if line.count(separator) != n_separators:
            found = line.count(separator) + 1
            raise UserError(f"{path}, line {number}: {found} columns, expected {len(names)} as in line 1.")
        rows.append(line)
        if len(rows) == n_rows:
            yield columns()
            rows = []
    if rows:
        yield columns()
    elif number == 1:
        raise UserError(f"{path}: no line below the header.")
