"""Tables of events, of any size and in any order, as batches of Arrow: `.inter` and CSV (`.gz` or not), Parquet.

Dimension key: R rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recbole_odrec.data.parquet_manifest import SUFFIX, parquet_module
from recbole_odrec.data.table_reader import NUMBER, PADDING, Header, column_blocks, one_line, quoted
from recbole_odrec.errors import UserError

_ROWS = 1 << 16  # of a batch
_TEXT = (".inter", ".csv")
COLUMNS = ("session", "item", "time")  # as they are called from here on


class EventTable(NamedTuple):
    """Files of one kind with the same three columns.

    Attributes:
        paths: the files, in order: of two events at one time, the first is the first.
        kind: `.inter`, `.csv` or `.parquet`.
        names: of the session, item and time column.
    """

    paths: Sequence[Path]
    kind: str
    names: tuple[str, str, str]

    @classmethod
    def at(cls, path: Path, names: tuple[str, str, str]) -> EventTable:
        """The table in a file, or in a folder of Parquet files in order of their names.

        Raises:
            UserError: another kind of file, or none.
        """
        if path.is_dir():
            paths = sorted(path.glob(f"*{SUFFIX}"))
            if not paths:
                raise UserError(f"{path}: no {SUFFIX} file in this folder.")
            return cls(paths, SUFFIX, names)
        kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        if kind not in (*_TEXT, SUFFIX) or (kind == SUFFIX and path.suffix == ".gz"):
            raise UserError(f"{path}: expected .inter, .csv (.gz or not), {SUFFIX}, or a folder of {SUFFIX} files.")
        if not path.is_file():
            raise UserError(f"{path} does not exist.")
        return cls([path], kind, names)

    def batches(self) -> Iterator[Any]:
        """Checked record batches: row (int64, from 0), session, item (string or int64), time (string, number or int64).

        Raises:
            UserError: the file and its row, what stands there and what was expected.
        """
        arrow = parquet_module("pyarrow")
        n_rows, kinds = 0, None
        for path in self.paths:
            n_before = n_rows
            for batch in self._of_file(path):
                columns = [_plain(path, name, column) for name, column in zip(self.names, batch, strict=True)]
                found = [str(column.type) for column in columns]
                if found != (kinds := kinds or found):
                    raise UserError(f"{path}: columns of {', '.join(found)}, expected {', '.join(kinds)} as before.")
                for name, what, column in zip(self.names, COLUMNS, columns, strict=True):
                    _check(self._place(path, n_rows - n_before), name, what, column)
                rows = arrow.array(range(n_rows, n_rows + len(batch[0])), arrow.int64())
                yield arrow.record_batch([rows, *columns], names=["row", *COLUMNS])
                n_rows += len(batch[0])
        if not n_rows:
            raise UserError(
                f"{self.paths[0]}: no line below the header." if self.kind != SUFFIX else f"{self.paths[0]}: no row."
            )

    def _place(self, path: Path, n_before: int) -> Any:
        is_text = self.kind == ".inter"
        return lambda row: f"{path}, {'line' if is_text else 'row'} {n_before + row + (2 if is_text else 1)}"

    def _of_file(self, path: Path) -> Iterator[list[Any]]:
        """The three columns [R] of a batch after the other."""
        if self.kind == ".inter":
            return _inter_batches(path, self.names)
        return _arrow_batches(path, self.kind, self.names)


def _inter_batches(path: Path, names: tuple[str, str, str]) -> Iterator[list[Any]]:
    arrow = parquet_module("pyarrow")
    Header.read(path, "\t").require(dict(zip(names, ("token", "token", "float"), strict=True)))
    for block in column_blocks(path, "\t", None, names, _ROWS):
        yield [arrow.array(block[name], arrow.string()) for name in names]


def _arrow_batches(path: Path, kind: str, names: tuple[str, str, str]) -> Iterator[list[Any]]:
    """pyarrow's readers; a damaged file raises whatever its bytes happen to mean."""
    opened = _csv if kind == ".csv" else _parquet
    try:
        found, batches = opened(path, names)
        absent = [name for name in names if name not in found]
        if absent:
            raise UserError(f"{path}: no column {quoted(absent[0])}, found {', '.join(map(quoted, found))}.")
        for batch in batches:
            yield [batch.column(batch.schema.get_field_index(name)) for name in names]
    except (UserError, GeneratorExit):
        raise
    except Exception as error:
        raise UserError(f"{path} cannot be read ({one_line(error)[:160]}).") from error


def _csv(path: Path, names: tuple[str, str, str]) -> tuple[Sequence[str], Iterator[Any]]:
    """All values as they stand; the second number is the first row's columns."""
    arrow, csv = parquet_module("pyarrow"), parquet_module("pyarrow.csv")
    with csv.open_csv(path) as reader:
        found = reader.schema.names
    text = csv.ConvertOptions(
        column_types=dict.fromkeys(names, arrow.string()),
        include_columns=[n for n in names if n in found],
        strings_can_be_null=False,
    )
    return found, csv.open_csv(path, convert_options=text)


def _parquet(path: Path, names: tuple[str, str, str]) -> tuple[Sequence[str], Iterator[Any]]:
    file = parquet_module().ParquetFile(path, page_checksum_verification=True)
    found = file.schema_arrow.names
    return found, file.iter_batches(_ROWS, columns=[name for name in names if name in found], use_threads=False)


def _plain(path: Path, name: str, column: Any) -> Any:
    """Text as string, whole numbers and moments as int64; others as they are."""
    arrow = parquet_module("pyarrow")
    types, kind = arrow.types, column.type
    if types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view":
        return column.cast(arrow.string())
    try:
        if types.is_date32(kind):
            return column.cast(arrow.int32()).cast(arrow.int64())
        return column.cast(arrow.int64()) if types.is_integer(kind) or types.is_timestamp(kind) else column
    except arrow.ArrowInvalid as error:
        raise UserError(f"{path}: `{name}` holds more than 64 bits ({one_line(error)[:100]}).") from error


def _check(place: Any, name: str, what: str, column: Any) -> None:
    """Refuses the first value that is no token, or no time."""
    arrow, compute = parquet_module("pyarrow"), parquet_module("pyarrow.compute")
    is_text, is_whole = column.type == arrow.string(), column.type == arrow.int64()
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise UserError(f"{place(row)}: `{name}` is missing, expected a {what}.")
    if what == "time":
        is_number = arrow.types.is_floating(column.type)
        if not (is_text or is_whole or is_number or arrow.types.is_decimal128(column.type)):
            raise UserError(f"{place(0)}: `{name}` is a column of {column.type}, expected numbers or timestamps.")
        if is_text:
            is_good, expected = compute.match_substring_regex(column, f"^({NUMBER})$"), "a finite number"
        else:
            is_good, expected = compute.is_finite(column) if is_number else None, "a finite number"
    else:
        if not (is_text or is_whole):
            raise UserError(f"{place(0)}: `{name}` is a column of {column.type}, expected text or whole numbers.")
        expected = f"a name without tabs and line breaks, neither empty nor {PADDING}"
        is_good = None
        if is_text:
            is_odd = compute.match_substring_regex(column, r"^\s*$|[\t\n\r\x00]")
            is_odd = compute.or_(is_odd, compute.equal(compute.utf8_trim_whitespace(column), ""))
            is_good = compute.invert(compute.or_(is_odd, compute.equal(column, PADDING)))
    if is_good is not None and not compute.all(is_good).as_py():
        row = is_good.to_pylist().index(False)
        raise UserError(f"{place(row)}: `{name}` is {quoted(column[row].as_py())}, expected {expected}.")
