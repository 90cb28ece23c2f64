"""Session benchmark files with one whole session a line: `NAME.train.inter`, `NAME.valid.inter`, `NAME.test.inter`.

    session_id:token <tab> item_id_list:token_seq [<tab> n_given:float]

Every item of a session from the second on is a case: the items before it are its history. With `n_given`, the same
number on every line of a file, the first so many items only ever serve as history. There is no `item_id` column; a
file that has one holds a single case a line, as RecBole itself reads it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from recbole.config import Config
from tqdm import tqdm

from recbole_odrec.errors import UserError

N_GIVEN = "n_given"


class SessionPart(NamedTuple):
    """The sessions of one file.

    Attributes:
        starts: int32 [S + 1]; session s is tokens[starts[s]:starts[s + 1]].
        n_given: items of each session that are no target.
    """

    starts: np.ndarray
    n_given: int

    @property
    def n_sessions(self) -> int:
        return len(self.starts) - 1

    @property
    def n_cases(self) -> int:
        """Prefixes with a next item."""
        return int(self.starts[-1] - self.starts[0]) - self.n_given * self.n_sessions


def joined(first: SessionPart, second: SessionPart) -> SessionPart:
    """Two parts that lie one after the other, as one.

    Raises:
        UserError: they differ in how many items of a session are given.
    """
    if first.n_given != second.n_given:
        raise UserError(
            f"training sessions have {first.n_given} items given and validation sessions {second.n_given}: a refit "
            "trains on both and needs the same."
        )
    return SessionPart(np.concatenate([first.starts, second.starts[1:]]), first.n_given)


class Sessions(NamedTuple):
    """Everything in a data set of session files.

    Attributes:
        tokens: int32 item ids of all sessions, one after the other, 0 for none.
        parts: train, valid, test.
        item_ids: id of each raw item, in order; `[PAD]` is 0.
    """

    tokens: np.ndarray
    parts: list[SessionPart]
    item_ids: dict[str, int]


def session_file_paths(config: Config) -> list[Path]:
    """The data set's files when they hold whole sessions, else an empty list."""
    names = config["benchmark_filename"]
    if not isinstance(names, list) or len(names) != 3:
        return []
    paths = [Path(config["data_path"]) / f"{config['dataset']}.{name}.inter" for name in names]
    if not all(path.is_file() for path in paths):
        return []
    items = config["ITEM_ID_FIELD"]
    headers = [[column.partition(":")[0] for column in _header(path, config["field_separator"])] for path in paths]
    is_whole = [items + config["LIST_SUFFIX"] in header and items not in header for header in headers]
    if any(is_whole) and not all(is_whole):
        raise UserError(
            f"{paths[is_whole.index(True)]} holds whole sessions and {paths[is_whole.index(False)]} single cases "
            f"(column `{items}`): write all three alike."
        )
    return paths if all(is_whole) else []


def _header(path: Path, separator: str) -> list[str]:
    try:
        with path.open(encoding="utf-8") as lines:
            return lines.readline().rstrip("\n").split(separator)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in utf-8 ({error.reason}).") from error


def read_sessions(paths: Sequence[Path], config: Config) -> Sessions:
    """Reads whole sessions into one array, in one pass over each file.

    Items are numbered from 1 in order of their first appearance.

    Raises:
        UserError: the file and line, what stands there and what was expected.
    """
    tokens, ids, parts = array("i"), {"[PAD]": 0}, []
    for path in paths:
        try:
            parts.append(_read_part(path, config, tokens, ids))
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not a text file in utf-8 ({error.reason}).") from error
    return Sessions(np.frombuffer(tokens, dtype=np.int32), parts, ids)


def _read_part(path: Path, config: Config, tokens: array, ids: dict[str, int]) -> SessionPart:
    separator, blank = config["field_separator"], config["seq_separator"]
    columns = [column.partition(":")[0] for column in _header(path, separator)]
    items_at = columns.index(config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"])
    given_at = columns.index(N_GIVEN) if N_GIVEN in columns else None
    starts, n_given, number = array("i", [len(tokens)]), 1, 1
    bar = tqdm(
        total=path.stat().st_size,
        desc=path.name,
        unit="B",
        unit_scale=True,
        delay=2,
        disable=None if config["show_progress"] else True,  # None: drawn on a terminal alone
    )
    with bar, path.open(encoding="utf-8") as lines:
        next(lines)
        for number, line in enumerate(lines, start=2):
            bar.update(len(line))
            values = line.rstrip("\n").split(separator)
            if len(values) != len(columns):
                raise UserError(f"{path}, line {number}: {len(values)} columns, expected {len(columns)} as in line 1.")
            if given_at is not None:
                n_given = _given(path, number, values[given_at], n_given if number > 2 else None)
            session = values[items_at].split(blank)
            if len(session) <= n_given or "" in session:
                raise UserError(
                    f"{path}, line {number}: `{values[items_at][:60]}`, expected at least {n_given + 1} items, "
                    f"one `{blank}` between two."
                )
            tokens.extend([ids.setdefault(item, len(ids)) for item in session])
            starts.append(len(tokens))
    if number == 1:
        raise UserError(f"{path}: no session below the header.")
    return SessionPart(np.frombuffer(starts, dtype=np.int32), n_given)


def _given(path: Path, number: int, word: str, before: int | None) -> int:
    value = int(word) if word.isdecimal() else 0
    if value < 1 or before not in (None, value):
        wanted = "a whole number from 1" if before is None else f"{before} as on the lines above"
        raise UserError(f"{path}, line {number}: `{N_GIVEN}` is `{word}`, expected {wanted}.")
    return value
