"""What is in a Parquet folder of sessions: `NAME.parquet/manifest.json`, checked before a part is opened.

NAME.parquet/manifest.json            counts of each split, of each part and of each of its row groups
NAME.parquet/items.parquet            item_id (string), train, valid (int64, how often it occurs); row i is id i + 1
NAME.parquet/train-00000.parquet ..   items (list of int32 ids) [, n_given (int32)]: a session a row
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from recbole.config import Config

from recbole_odrec.data.table_reader import one_line
from recbole_odrec.errors import UserError

SPLITS = ("train", "valid", "test")
MANIFEST, ITEMS, SUFFIX, VERSION = "manifest.json", "items.parquet", ".parquet", 1
_PART = re.compile(r"(train|valid|test)-[0-9]{5,}\.parquet")


class RowGroup(NamedTuple):
    """One row group of a part.

    Attributes:
        path: of the part.
        number: of the group in it, from 0.
        n_sessions, n_items, n_cases: how many are in it.
    """

    path: Path
    number: int
    n_sessions: int
    n_items: int
    n_cases: int


class Manifest(NamedTuple):
    """A folder, as its manifest has it.

    Attributes:
        folder: where it is.
        n_items: items, padding not among them.
        groups: of each split, in order.
        content: hash of all sessions and items, hex.
    """

    folder: Path
    n_items: int
    groups: dict[str, list[RowGroup]]
    content: str


def parquet_module(name: str = "pyarrow.parquet") -> ModuleType:
    """pyarrow's module, or DuckDB.

    Raises:
        UserError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"Parquet needs {name.partition('.')[0]}: pip install 'recbole_odrec[parquet]'.") from error


def parquet_folder(config: Config) -> Path | None:
    """The data set's Parquet folder, if it has one.

    Raises:
        UserError: it has text files too: which of them is meant?
    """
    name = config["dataset"]
    folder, parts = Path(config["data_path"]) / f"{name}{SUFFIX}", config["benchmark_filename"]
    if not folder.is_dir():
        return None
    texts = [f"{name}.inter", *(f"{name}.{part}.inter" for part in parts or SPLITS)]
    for text in texts:
        if folder.with_name(text).is_file():
            raise UserError(f"{folder} and {text} are beside each other, expected one of them: move the other away.")
    return folder


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest and looks at every part: it is there, has its size, and nothing else is.

    Raises:
        UserError: what is missing, damaged or too much.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} holds no {MANIFEST}: `recbole-odrec convert --format parquet` writes one."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({one_line(error)}): convert the data again.") from error
    try:
        if found["version"] != VERSION:
            raise ValueError(f"version {found['version']!r}, expected {VERSION}")
        sizes = {ITEMS: _whole(found["items"]["bytes"])}
        groups = {split: list(_groups(folder, split, found["splits"][split], sizes)) for split in SPLITS}
        content = found["content"]
        if not (isinstance(content, str) and re.fullmatch("[0-9a-f]{32}", content)):
            raise ValueError(f"content {content!r}")
        manifest = Manifest(folder, _whole(found["items"]["count"]), groups, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = one_line(error)[:100]
        raise UserError(
            f"{path} is none that `recbole-odrec convert` has written ({reason}): convert again."
        ) from error
    _check_files(folder, sizes)
    return manifest


def _whole(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r}, expected a whole number from 1")
    return value


def _groups(folder: Path, split: str, parts: Any, sizes: dict[str, int]) -> Iterator[RowGroup]:
    if not parts:
        raise ValueError(f"no {split} session")
    for part in parts:
        name = part["file"]
        if not _PART.fullmatch(name) or name in sizes or not name.startswith(split):
            raise ValueError(f"a part {name!r}")
        sizes[name] = _whole(part["bytes"])
        for number, (n_sessions, n_items, n_cases) in enumerate(part["row_groups"]):
            yield RowGroup(folder / name, number, _whole(n_sessions), _whole(n_items), _whole(n_cases))


def _check_files(folder: Path, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} does not exist, and {MANIFEST} lists it: convert the data again.")
        if path.stat().st_size != size:
            raise UserError(
                f"{path} has {path.stat().st_size:,} bytes, and {MANIFEST} lists {size:,}: convert the data again."
            )
    others = sorted(path.name for path in folder.iterdir() if path.name not in {MANIFEST, *sizes})
    if others:
        raise UserError(f"{folder} holds {others[0]}, which {MANIFEST} does not list: move it away.")
