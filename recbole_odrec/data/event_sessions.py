"""Sessions out of a table of events that no memory holds: grouped and sorted by DuckDB, on disk where memory ends.

Dimension key: S sessions, T of their items.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from recbole_odrec.data.convert import check_name, cut_sizes
from recbole_odrec.data.event_tables import EventTable
from recbole_odrec.data.parquet_manifest import SPLITS, SUFFIX, parquet_module
from recbole_odrec.data.parquet_writer import ParquetWriter, parquet_written
from recbole_odrec.data.table_reader import LARGEST, one_line
from recbole_odrec.errors import UserError
from recbole_odrec.files import folder_beside

MEMORY = "1GB"  # of DuckDB
_ROWS = 1 << 20  # of a batch of its answer


class Shares(NamedTuple):
    """What is cut off the end of the sessions in time: see `convert.split_by_time`."""

    valid: float
    test: float


def convert_events(
    table: EventTable, folder: Path, name: str, shares: Shares, min_item_count: int = 1, show_progress: bool = False
) -> Path:
    """Writes `folder/name/name.parquet/`: the sessions that `session_sources.read_interactions` would read.

    Args:
        table: the events.
        folder: what `--data_path` will name.
        name: name of the data set.
        shares: of the sessions, for validation and test.
        min_item_count: rarer items are left out first.
        show_progress: progress bars, on a terminal.

    Returns:
        The folder.

    Raises:
        UserError: a row that holds no event, too few sessions, no room; then nothing is written.
    """
    check_name(folder, name)
    target = folder / name / f"{name}{SUFFIX}"
    with parquet_written(target) as writer, folder_beside(target) as work, _sorting(work, table) as database:
        _load(database, table, show_progress)
        when = _moment(database, table)
        n_sessions = _group(database, when, min_item_count)
        if not n_sessions:
            raise UserError(f"{table.paths[0]}: no session of two items in it.")
        sizes = cut_sizes(n_sessions, shares.valid, shares.test)
        _write(database, writer, when, sizes, show_progress)
    return target


@contextmanager
def _sorting(work: Path, table: EventTable) -> Iterator[Any]:
    duckdb = parquet_module("duckdb")
    settings = {
        **{"memory_limit": MEMORY, "threads": min(torch.get_num_threads(), 4), "temp_directory": str(work / "spill")},
        **dict.fromkeys(("autoinstall_known_extensions", "autoload_known_extensions"), False),
    }
    try:
        with duckdb.connect(str(work / "events.duckdb"), config=settings) as database:
            database.execute("SET enable_progress_bar = false")
            yield database
    except (duckdb.Error, RuntimeError) as error:
        if "interrupted" in str(error).lower():  # Ctrl-C, in DuckDB's words
            raise KeyboardInterrupt from error
        if not isinstance(error, duckdb.Error):
            raise
        raise UserError(
            f"{table.paths[0]}: DuckDB cannot sort it ({one_line(error)[:200]}): make room in {work.parent.absolute()}."
        ) from error


def _load(database: Any, table: EventTable, show_progress: bool) -> None:
    """Table `events`."""
    arrow = parquet_module("pyarrow")
    bar = tqdm(
        desc=table.paths[0].name, unit=" rows", unit_scale=True, delay=2, disable=None if show_progress else True
    )
    refusals: list[BaseException] = []

    def counted() -> Iterator[Any]:
        try:
            for batch in batches:
                bar.update(len(batch))
                yield batch
        except (UserError, KeyboardInterrupt) as error:  # DuckDB would make one of its own errors of it
            refusals.append(error)
            raise

    batches = table.batches()
    first = next(batches)
    try:
        with bar:
            database.register("first", arrow.Table.from_batches([first]))
            database.execute("CREATE TABLE events AS SELECT * FROM first")
            database.register("incoming", arrow.RecordBatchReader.from_batches(first.schema, counted()))
            database.execute("INSERT INTO events SELECT * FROM incoming")
    except Exception:  # whatever type DuckDB makes of it; none is kept back
        if refusals:
            raise refusals[0] from None  # what the reader itself refused, in its own words
        raise


def _moment(database: Any, table: EventTable) -> str:
    """An expression to order by: numbers exactly as they stand, though float64 would merge some of them."""
    if database.execute("SELECT typeof(time) FROM events LIMIT 1").fetchall()[0][0] != "VARCHAR":
        return "time"
    n_digits, is_whole, is_small = database.execute(
        "SELECT max(length(time)), bool_and(regexp_full_match(time, '[+-]?[0-9]+')), "
        "bool_and(coalesce(abs(TRY_CAST(time AS DOUBLE)) <= $1, false)) FROM events",
        [LARGEST],
    ).fetchall()[0]
    if not is_small:
        raise UserError(f"{table.paths[0]}: a `{table.names[2]}` beyond {LARGEST:.2g}, which is the most.")
    if n_digits <= 15:
        return "CAST(time AS DOUBLE)"
    kind = "HUGEINT" if is_whole else "DECIMAL(38, 18)"
    if not database.execute(f"SELECT bool_and(TRY_CAST(time AS {kind}) IS NOT NULL) FROM events").fetchall()[0][0]:
        raise UserError(
            f"{table.paths[0]}: a `{table.names[2]}` of more digits than can be told apart, expected at most 38, or 20 "
            "before the point and 18 behind it."
        )
    return f"CAST(time AS {kind})"


def _group(database: Any, when: str, min_item_count: int) -> int:
    """Tables `items` (code from 0) and `sessions` (rank from 0, by their last event); how many sessions."""
    database.execute(
        "CREATE TABLE items AS SELECT item, CAST(row_number() OVER () - 1 AS INTEGER) AS code FROM "
        "(SELECT item, count(*) AS n FROM events GROUP BY item) WHERE n >= $1",
        [min_item_count],
    )
    join, counted = ("LEFT JOIN items USING (item)", "code") if min_item_count > 1 else ("", "*")
    database.execute(
        "CREATE TABLE sessions AS SELECT session, CAST(row_number() OVER (ORDER BY last) - 1 AS INTEGER) AS rank FROM "
        f"(SELECT session, max({{'moment': {when}, 'row': row}}) AS last, count({counted}) AS n "
        f"FROM events {join} GROUP BY session) WHERE n > 1"
    )
    return database.execute("SELECT count(*) FROM sessions").fetchall()[0][0]


def _write(database: Any, writer: ParquetWriter, when: str, sizes: tuple[int, ...], show_progress: bool) -> None:
    names = database.sql("SELECT CAST(item AS VARCHAR) AS item FROM items ORDER BY code").to_arrow_table()["item"]
    ids = np.zeros(len(names), np.int32)  # of each code, in order of first appearance
    n_ids, ends, splits = 0, np.cumsum(sizes), dict(enumerate(SPLITS))
    answer = database.sql(
        "SELECT rank, code FROM events JOIN items USING (item) JOIN sessions USING (session) "
        f"ORDER BY rank, {when}, row"
    ).to_arrow_reader(_ROWS)
    codes_of = np.full(len(names) + 1, -1, np.int64)  # of each id
    with tqdm(
        desc="sessions", unit_scale=True, total=int(ends[-1]), delay=2, disable=None if show_progress else True
    ) as bar:
        for ranks, codes in _whole_sessions(answer):
            new, first = np.unique(codes[ids[codes] == 0], return_index=True)
            new = new[np.argsort(first)]
            ids[new] = np.arange(n_ids + 1, n_ids + 1 + len(new))
            codes_of[n_ids + 1 : n_ids + 1 + len(new)] = new
            n_ids += len(new)
            cuts = np.searchsorted(ranks, ends[:-1])
            for split, part in enumerate(np.split(np.arange(len(ranks)), cuts)):
                if len(part):
                    starts = np.flatnonzero(np.diff(ranks[part], prepend=-1))
                    writer.add(splits[split], ids[codes[part]], np.diff(starts, append=len(part)).astype(np.int32))
            bar.update(int(ranks[-1]) - bar.n)
    taken = parquet_module("pyarrow").array(codes_of[1 : n_ids + 1])
    writer.finish(names.take(taken).to_pylist())


def _whole_sessions(answer: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rank and item code of events [T], the last session of a batch kept until it is whole."""
    ranks, codes = np.zeros(0, np.int32), np.zeros(0, np.int32)
    for batch in answer:
        more = (batch.column(at).to_numpy() for at in (0, 1))
        ranks, codes = (np.concatenate(each) for each in zip((ranks, codes), more, strict=True))
        whole = int(np.searchsorted(ranks, ranks[-1]))
        if whole:
            yield ranks[:whole], codes[:whole]
            ranks, codes = ranks[whole:], codes[whole:]
    yield ranks, codes
