"""`recbole-odrec convert`: published data into RecBole's session benchmark files, a Parquet folder or a table."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from recbole_odrec.arguments import CommandParser
from recbole_odrec.data.convert import PARTS, Split, split_by_time, write_benchmark, write_parquet
from recbole_odrec.data.event_sessions import Shares, convert_events
from recbole_odrec.data.event_tables import EventTable
from recbole_odrec.data.parquet_manifest import MANIFEST
from recbole_odrec.data.plain_text import plain_to_parquet, read_plain_cases, read_plain_sessions
from recbole_odrec.data.session_sources import (
    SourceSessions,
    read_interactions,
    read_pickle,
)
from recbole_odrec.data.user_lines import write_user_table
from recbole_odrec.errors import UserError


def convert(words: Sequence[str]) -> None:
    """Reads one source, writes three files, a folder or a table, prints what is in them."""
    asked = _parser().parse_args(words)
    source = _source(asked)
    if source == "users":
        users, items, interactions, path = write_user_table(asked.users, asked.output, asked.name)
        sys.stdout.write(f"{users:,} users, {items:,} items, {interactions:,} interactions, {path}\n")
        return
    if asked.format == "parquet":
        folder = _to_parquet(asked, source)
        counts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        written = [(counts["sessions"][part], counts["cases"][part], folder) for part in PARTS]
    else:
        split = _split(asked, source)
        paths = write_benchmark(split, asked.output, asked.name, asked.expand, asked.max_length, asked.show_progress)
        written = [(len(part.sessions), part.n_cases, path) for part, path in zip(split, paths, strict=True)]
    for part, (n_sessions, n_cases, path) in zip(PARTS, written, strict=True):
        sys.stdout.write(f"{part}: {n_sessions:,} sessions, {n_cases:,} cases, {path}\n")


def _to_parquet(asked: Namespace, source: str) -> Path:
    """Events are sorted on disk, plain text goes through line by line; a pickle is whole once it is read."""
    if source == "train_pickle":
        return write_parquet(_split(asked, source), asked.output, asked.name, asked.show_progress)
    if source == "train_sessions":
        files, shares = (asked.train_sessions, asked.test_prefixes), (asked.valid_share, asked.test_share)
        return plain_to_parquet(*files, asked.output, asked.name, shares, asked.show_progress)
    table = EventTable.at(asked.inter, (asked.session_field, asked.item_field, asked.time_field))
    shares = Shares(asked.valid_share, asked.test_share)
    return convert_events(table, asked.output, asked.name, shares, asked.min_item_count, asked.show_progress)


def _split(asked: Namespace, source: str) -> Split:
    return split_by_time(*_read(asked, source), asked.valid_share, asked.test_share)


def _parser() -> CommandParser:
    parser = CommandParser("convert", "Published data into RecBole's session benchmark files, or a table of users.")
    parser.add_argument("--name", required=True, help="name of the data set: --dataset=NAME afterwards")
    parser.add_argument("--output", type=Path, default=Path("dataset"), help="folder for NAME/, --data_path afterwards")
    plain = parser.add_argument_group("plain text, .gz or not")
    plain.add_argument("--train_sessions", type=Path, help="a session a line, items separated by blanks")
    plain.add_argument("--test_prefixes", type=Path, help="a case a line: items, a tab, the next item")
    pickles = parser.add_argument_group("pickles of SR-GNN, GCE-GNN and their successors; classes in them are refused")
    pickles.add_argument("--train_pickle", type=Path, help="sessions, or (prefixes, next items)")
    pickles.add_argument("--test_pickle", type=Path, help="the same")
    table = parser.add_argument_group("a table of interactions, split by time")
    table.add_argument(
        "--inter",
        type=Path,
        help="atomic file with a session, an item and a time column; with --format parquet of any size, "
        "and .csv, .parquet or a folder of .parquet files too",
    )
    table.add_argument("--session_field", default="session_id")
    table.add_argument("--item_field", default="item_id")
    table.add_argument("--time_field", default="timestamp")
    table.add_argument("--min_item_count", type=int, default=1, help="leave rarer items out (default: %(default)s)")
    users = parser.add_argument_group("users whose last two items are left out: written as a table, NAME.inter")
    users.add_argument("--users", type=Path, help="a line a user, .gz or not: the user, then its items, oldest first")
    shares = parser.add_argument_group("split")
    shares.add_argument("--valid_share", type=float, default=0.1, help="of the training sessions, the last ones")
    shares.add_argument("--test_share", type=float, default=0.1, help="of all sessions, where no test file is given")
    parser.add_argument(
        "--format", choices=("inter", "parquet"), default="inter", help="three .inter files, or NAME.parquet/ to stream"
    )
    parser.add_argument("--expand", action="store_true", help="a line a prefix, as stock RecBole reads it")
    parser.add_argument("--max_length", type=int, help="with --expand: most recent items that a prefix keeps")
    parser.add_argument("--no_progress", dest="show_progress", action="store_false", help="no progress bar")
    return parser


# Options that belong to some sources alone, and which; another source would ignore them without a word.
_OF_SESSIONS = ("train_sessions", "train_pickle", "inter")
_BELONG = {
    "test_prefixes": ("train_sessions",),
    "test_pickle": ("train_pickle",),
    **dict.fromkeys(("valid_share", "test_share", "expand", "format"), _OF_SESSIONS),
    **dict.fromkeys(("session_field", "item_field", "time_field", "min_item_count"), ("inter",)),
}


def _refuse_ignored(asked: Namespace, source: str) -> None:
    usual = _parser().get_default
    for option, sources in _BELONG.items():
        if source not in sources and getattr(asked, option) != usual(option):
            raise UserError(f"--{option} belongs to --{sources[0]}, and --{source} is given: leave it out.")
    if (asked.test_prefixes or asked.test_pickle) and asked.test_share != usual("test_share"):
        raise UserError(f"--test_share {asked.test_share:g}, and the test sessions are given: leave it out.")
    if asked.min_item_count < 1:
        raise UserError(f"--min_item_count {asked.min_item_count}, expected a number from 1.")


def _source(asked: Namespace) -> str:
    """The one source that was given."""
    given = [name for name in (*_OF_SESSIONS, "users") if getattr(asked, name)]
    if len(given) != 1:
        raise UserError(
            f"{len(given)} sources given, expected one of --train_sessions FILE, --train_pickle FILE, --inter FILE, "
            "--users FILE."
        )
    if asked.max_length is not None and (not asked.expand or asked.max_length < 1):
        raise UserError(f"--max_length {asked.max_length}, expected a number from 1, together with --expand.")
    if asked.expand and asked.format == "parquet":
        raise UserError("--expand writes rows of text, and --format parquet is given: leave one of them out.")
    _refuse_ignored(asked, given[0])
    return given[0]


def _read(asked: Namespace, source: str) -> tuple[SourceSessions, SourceSessions | None]:
    """Training and test sessions."""
    if source == "train_sessions":
        test = asked.test_prefixes and read_plain_cases(asked.test_prefixes)
        return read_plain_sessions(asked.train_sessions), test
    if source == "train_pickle":
        return read_pickle(asked.train_pickle), asked.test_pickle and read_pickle(asked.test_pickle)
    columns = asked.session_field, asked.item_field, asked.time_field
    return read_interactions(asked.inter, *columns, asked.min_item_count), None
