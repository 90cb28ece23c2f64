"""Titles of items, from the data set's `.item` file where it has some."""

from __future__ import annotations

from pathlib import Path

from recbole.config import Config

from recbole_odrec.bundle.tokens import MOST_LINE_BYTES
from recbole_odrec.data.table_reader import Header, read_columns

_TITLE_NAMES = ("title", "name")  # `movie_title`, `item_name`: a column whose name ends so
_MOST_CHARACTERS = MOST_LINE_BYTES // 4


def read_titles(config: Config, tokens: list[str]) -> list[str] | None:
    """Title of each item, empty where there is none.

    Args:
        config: names the data set; its `<name>.item` is an atomic file.
        tokens: item tokens.

    Returns:
        None where there is no item file, or no column of titles in it.

    Raises:
        UserError: the item file, the line and what is wrong with it.
    """
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not path.is_file():
        return None
    separator, encoding = config["field_separator"], config["encoding"]
    names = list(Header.read(path, separator, encoding).kinds)
    title = next((name for name in names if name.lower().endswith(_TITLE_NAMES)), None)
    if title is None or config["ITEM_ID_FIELD"] not in names:
        return None
    columns = read_columns(path, separator, encoding, [config["ITEM_ID_FIELD"], title])
    found = dict(zip(*columns.values(), strict=True))
    return [" ".join(found.get(token, "").split())[:_MOST_CHARACTERS] for token in tokens]
