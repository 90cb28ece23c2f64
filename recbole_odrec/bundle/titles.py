"""Titles of items, from the data set's `.item` file where it has some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_odrec.bundle.tokens import MOST_LINE_BYTES
from recbole_odrec.data.table_reader import Header, read_columns

if TYPE_CHECKING:
    from recbole.config import Config

_TITLE_NAMES = ("title", "name")  # `movie_title`, `item_name`: a column whose name ends so
_MOST_CHARACTERS = MOST_LINE_BYTES // 4


def read_titles(config: Config, tokens: list[str]) -> list[str] | None:
    """Title of each item by the data set's `<name>.item`; None where there is no such file, or see `titles_of`.

    Args:
        config: names the data set.
        tokens: item tokens.
    """
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not path.is_file():
        return None
    return titles_of(path, config["field_separator"], config["encoding"], config["ITEM_ID_FIELD"], tokens)


def titles_of(
    path: Path, separator: str, encoding: str | None, item_field: str, tokens: Sequence[str]
) -> list[str] | None:
    """Title of each item, empty where there is none; None where the file has no column of titles, or of items.

    Raises:
        UserError: the item file, the line and what is wrong with it.
    """
    names = list(Header.read(path, separator, encoding).kinds)
    title = next((name for name in names if name.lower().endswith(_TITLE_NAMES)), None)
    if title is None or item_field not in names:
        return None
    columns = read_columns(path, separator, encoding, [item_field, title])
    found = dict(zip(*columns.values(), strict=True))
    return [" ".join(found.get(token, "").split())[:_MOST_CHARACTERS] for token in tokens]
