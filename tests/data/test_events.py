"""Tables of events in any order and of any kind become the sessions that are read in memory, or one line says why."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ML_100K

from recbole_odrec.cli import main
from recbole_odrec.config import make_config
from recbole_odrec.data import event_sessions
from recbole_odrec.data.session_dataset import SessionDataset

HEADER = "session_id:token\titem_id:token\ttimestamp:float\n"


def convert(*words: object) -> int:
    return main(["convert", "--no_progress", "--output", ".", *map(str, words)])


def sessions_of(name: str, **settings: object) -> list[list[list[str]]]:
    """Training, validation and test sessions as they come out of a data set."""
    given = {"data_path": ".", "show_progress": False, "state": "ERROR", **settings}
    data = SessionDataset(make_config("SASRecTeacher", name, config_dict=given))
    tokens = data.field2id_token["item_id"][data.tokens]
    return [[list(tokens[a:b]) for a, b in zip(part.starts, part.starts[1:], strict=False)] for part in data.parts]


def all_sessions_of(name: str) -> list[list[str]]:
    return [session for part in sessions_of(name) for session in part]


TEXT = {"benchmark_filename": ["train", "valid", "test"], "USER_ID_FIELD": "session_id"}


@pytest.fixture(scope="module")
def events() -> list[tuple[str, str, str]]:
    """Films of ml-100k's first users in no order: many at one second."""
    rows = [line.split("\t") for line in (ML_100K / "ml-100k.inter").read_text().splitlines()[1:]]
    kept = [(user, item, time) for user, item, _, time in rows if int(user) <= 150]
    np.random.default_rng(0).shuffle(kept)
    return [tuple(map(str, row)) for row in kept]


def write_inter(rows: list[tuple[str, str, str]], path: str = "log.inter") -> Path:
    Path(path).write_text(HEADER + "".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return Path(path)


def write_csv(rows: list[tuple[str, str, str]]) -> Path:
    lines = [f'{time},"{item}",{session},x\n' for session, item, time in rows]
    Path("log.csv").write_text("".join(["timestamp,item_id,session_id,more\n", *lines]), encoding="utf-8")
    return Path("log.csv")


def write_gz(rows: list[tuple[str, str, str]], write: Callable[..., Path]) -> Path:
    path = write(rows)
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return packed


def write_parquet(rows: list[tuple[str, str, str]], kind: pa.DataType, times: pa.DataType, n_files: int = 3) -> Path:
    Path("log").mkdir()
    for at, part in enumerate(np.array_split(np.arange(len(rows)), n_files)):
        session, item, time = ([rows[row][column] for row in part] for column in range(3))
        columns = {
            "timestamp": pa.array(list(map(float if pa.types.is_floating(times) else int, time))).cast(times),
            "item_id": pa.array(item).cast(kind),
            "session_id": pa.array(session).cast(kind),
        }
        pq.write_table(pa.table(columns), f"log/{at}.parquet")
    return Path("log")


SOURCES: dict[str, Callable[..., Path]] = {
    "inter": write_inter,
    "inter.gz": lambda rows: write_gz(rows, write_inter),
    "csv": write_csv,
    "csv.gz": lambda rows: write_gz(rows, write_csv),
    "integers": lambda rows: write_parquet(rows, pa.int32(), pa.float64()),
    "text": lambda rows: write_parquet(rows, pa.large_string(), pa.timestamp("s")),
    "dictionaries": lambda rows: write_parquet(rows, pa.dictionary(pa.int32(), pa.string()), pa.uint32()),
}


@pytest.mark.parametrize("least", [1, 20])
@pytest.mark.parametrize("source", SOURCES)
def test_sessions_are_those_read_in_memory(
    events: list, source: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_odrec.data.event_tables._ROWS", 1000)
    monkeypatch.setattr(event_sessions, "_ROWS", 1000)
    monkeypatch.setattr("recbole_odrec.data.parquet_writer.GROUP_ITEMS", 700)
    shares = ["--min_item_count", least, "--valid_share", 0.2, "--test_share", 0.15]
    assert convert("--name", "text", "--inter", write_inter(events, "all.inter"), *shares) == 0
    assert convert("--name", "arrow", "--format", "parquet", "--inter", SOURCES[source](events), *shares) == 0
    expected = sessions_of("text", **TEXT)
    assert [len(part) for part in expected] == [102, 26, 22]
    assert sessions_of("arrow") == expected
    assert not [path for path in Path("arrow").iterdir() if path.name != "arrow.parquet"]


def in_order(rows: list[tuple[str, str, str]]) -> list[list[str]]:
    """The plain way: exact times, then rows as they stand; sessions by their last event."""
    found: dict[str, list[tuple[Decimal, int, str]]] = {}
    for row, (session, item, time) in enumerate(rows):
        found.setdefault(session, []).append((Decimal(time), row, item))
    ordered = sorted(map(sorted, found.values()), key=lambda session: session[-1][:2])
    return [[item for *_, item in session] for session in ordered if len(session) > 1]


TIMES = {
    "ties": lambda at: "1700000000",
    "fractions": lambda at: f"{1_700_000_000 + at / 7:.2f}",
    "nanoseconds": lambda at: str(1_700_000_000_000_000_000 + at),
    "fractions of nanoseconds": lambda at: f"{1_700_000_000 + at // 9}.{at % 9:09d}",
    "exponents": lambda at: f"{at}e-3" if at % 2 else f"+{at / 1000}",
    "beyond 64 bits": lambda at: str(10**30 + at),
    "signed": lambda at: str(20 - at),
}


@pytest.mark.parametrize("times", TIMES)
def test_times_are_ordered_exactly_and_ties_as_they_stand(times: str) -> None:
    random = np.random.default_rng(1)
    moments = random.permutation(60) if times != "ties" else np.zeros(60, int)
    rows = [
        (f"s{session}", f"i{at}", TIMES[times](int(moments[at])))
        for at, session in enumerate(random.integers(0, 8, 60))
    ]
    assert convert("--name", "x", "--format", "parquet", "--inter", write_inter(rows)) == 0
    assert all_sessions_of("x") == in_order(rows)


@pytest.mark.parametrize(("unit", "kind"), [("ns", "timestamp"), ("ns", "int64"), ("", "float64"), ("", "decimal")])
def test_columns_of_moments_are_ordered_exactly(unit: str, kind: str) -> None:
    random = np.random.default_rng(2)
    moments = 1_700_000_000_000_000_000 + random.permutation(60)
    column = {
        "timestamp": lambda: pa.array(moments).cast(pa.timestamp("ns", "UTC")),
        "int64": lambda: pa.array(moments),
        "float64": lambda: pa.array((moments - moments.min()) / 1000),
        "decimal": lambda: pa.array([Decimal(int(m)) / 10**9 for m in moments], pa.decimal128(28, 9)),
    }[kind]()
    sessions = random.integers(0, 8, 60)
    items = [f"i{at}" for at in range(60)]
    table = pa.table({"session_id": pa.array(sessions), "item_id": items, "timestamp": column})
    pq.write_table(table, "log.parquet")
    assert convert("--name", "x", "--format", "parquet", "--inter", "log.parquet") == 0
    rows = [(str(s), i, str(m)) for s, i, m in zip(sessions, items, moments, strict=True)]
    assert all_sessions_of("x") == in_order(rows)


ODD = [
    "007",
    "7",
    "07",
    "Crème brûlée",
    "a b",
    " a b",
    "日本語",
    '"quoted"',
    "nan",
    "NULL",
    "-",
    "a\u2028b",
    "1e3",
    "1000",
]


@pytest.mark.parametrize("kind", ["inter", "parquet"])
def test_tokens_stay_as_they_are(kind: str) -> None:
    rows = [(f"{session:03d}", item, str(at)) for session in range(6) for at, item in enumerate(ODD)]
    rows += [(f" {session}", item, str(50 + at)) for session in range(6) for at, item in enumerate(reversed(ODD))]
    path = write_inter(rows) if kind == "inter" else write_parquet(rows, pa.string(), pa.int64())
    assert convert("--name", "x", "--format", "parquet", "--inter", path) == 0
    assert all_sessions_of("x") == in_order(rows)


GOOD = "".join(f"{at % 4}\t{at}\t{at}\n" for at in range(12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + GOOD + "1\t\t5\n", "log.inter, line 14: `item_id` is ``, expected a name without tabs"),
        (HEADER + GOOD + "1\t\u2003\t5\n", "log.inter, line 14: `item_id` is `"),
        (HEADER + GOOD + "1\t[PAD]\t5\n", "line 14: `item_id` is `[PAD]`, expected a name"),
        (HEADER + "\t3\t5\n" + GOOD, "line 2: `session_id` is ``, expected a name"),
        (HEADER + GOOD + "1\t3\tnan\n", "line 14: `timestamp` is `nan`, expected a finite number"),
        (HEADER + GOOD + "1\t3\t1_000\n", "line 14: `timestamp` is `1_000`, expected a finite number"),
        (HEADER + GOOD + "1\t3\t1e39\n", "a `timestamp` beyond 3.4e+38"),
        (HEADER + GOOD + "1\t3\t1e999\n", "a `timestamp` beyond 3.4e+38"),
        (HEADER + GOOD + "1\t3\t123456789012345678901234567890.5\n", "more digits than can be told apart"),
        (HEADER + GOOD + "1\t3\n", "line 14: 2 columns, expected 3 as in line 1"),
        (HEADER, "no line below the header"),
        ("session_id:token\titem_id:token\n1\t2\n", "no column `timestamp`"),
        (HEADER + "1\t2\t3\n2\t2\t3\n", "no session of two items in it"),
        (HEADER + "1\t2\t3\n1\t2\t3\n", "1 sessions are too few"),
    ],
)
def test_rows_that_are_no_events_are_named_and_nothing_is_written(capsys, text: str, message: str) -> None:
    Path("log.inter").write_text(text, encoding="utf-8")
    assert convert("--name", "x", "--format", "parquet", "--inter", "log.inter") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in Path.cwd().iterdir()] == ["log.inter"]


def table_of(**columns: object) -> pa.Table:
    usual = {"session_id": [1, 1, 2, 2], "item_id": ["a", "b", "a", "b"], "timestamp": [1, 2, 3, 4]}
    return pa.table({name: values for name, values in {**usual, **columns}.items() if values is not None})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": None}, "log.parquet: no column `item_id`, found `session_id`, `timestamp`"),
        ({"item_id": ["a", None, "a", "b"]}, "log.parquet, row 2: `item_id` is missing, expected a item"),
        ({"item_id": ["a", "b", "a\nb", "b"]}, "row 3: `item_id` is `a\\nb`, expected a name without tabs"),
        ({"item_id": [0.5, 1, 2, 3]}, "`item_id` is a column of double, expected text or whole numbers"),
        ({"timestamp": [1, 2, float("inf"), 3]}, "row 3: `timestamp` is `inf`, expected a finite number"),
        ({"timestamp": [True] * 4}, "`timestamp` is a column of bool, expected numbers or timestamps"),
        ({"session_id": pa.array([2**63] * 4, pa.uint64())}, "`session_id` holds more than 64 bits"),
    ],
)
def test_columns_that_hold_no_events_are_named(capsys, columns: dict, message: str) -> None:
    pq.write_table(table_of(**columns), "log.parquet")
    assert convert("--name", "x", "--format", "parquet", "--inter", "log.parquet") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("x").exists()


def test_files_that_are_no_tables_are_named(capsys) -> None:
    Path("log.parquet").write_bytes(b"PAR1 no, it is not PAR1")
    Path("log.csv").write_text("session_id,item_id,timestamp\n1,2\n")
    Path("log.txt").write_text("1\n")
    Path("empty").mkdir()
    Path("mixed").mkdir()
    pq.write_table(table_of(), "mixed/a.parquet")
    pq.write_table(table_of(session_id=["1", "1", "2", "2"]), "mixed/b.parquet")
    for path, message in {
        "log.parquet": "log.parquet cannot be read (",
        "log.csv": "log.csv cannot be read (CSV parse error: ",
        "log.txt": "log.txt: expected .inter, .csv (.gz or not), .parquet, or a folder of .parquet files",
        "empty": "empty: no .parquet file in this folder",
        "none.inter": "none.inter does not exist",
        "mixed": "mixed/b.parquet: columns of string, string, int64, expected int64, string, int64 as before",
    }.items():
        assert convert("--name", "x", "--format", "parquet", "--inter", path) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not Path("x").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_conversion_leaves_what_was_there(error: type, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(str(at % 20), str(at), str(at)) for at in range(60)]
    assert convert("--name", "x", "--format", "parquet", "--inter", write_inter(rows)) == 0
    before = {path: path.read_bytes() for path in Path("x").rglob("*") if path.is_file()}

    def stop(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("recbole_odrec.data.parquet_writer.write_json", stop)
        for name in ("x", "y"):
            with suppress(error):
                assert convert("--name", name, "--format", "parquet", "--inter", "log.inter") != 0
    assert {path: path.read_bytes() for path in Path("x").rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["log.inter", "x"]
    assert convert("--name", "x", "--format", "parquet", "--inter", write_inter(rows[:40])) == 0
    assert sum(map(len, all_sessions_of("x"))) == 40
