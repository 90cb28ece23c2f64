"""Titles of items, from the data set's `.item` file where it has some."""

from __future__ import annotations

import csv
from pathlib import Path

from recbole.config import Config

_TITLE_NAMES = ("title", "name")  # `movie_title`, `item_name`: a column whose name ends so


def read_titles(config: Config, tokens: list[str]) -> list[str] | None:
    """Title of each item, empty where there is none.

    Args:
        config: names the data set; its `<name>.item` is an atomic file.
        tokens: item tokens.

    Returns:
        None where there is no item file, or no column of titles in it.
    """
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not path.is_file():
        return None
    with path.open(encoding=config["encoding"] or "utf-8", errors="replace", newline="") as file:
        lines = csv.reader(file, delimiter=config["field_separator"], quoting=csv.QUOTE_NONE)
        names = [column.partition(":")[0] for column in next(lines, [])]
        title = next((name for name in names if name.lower().endswith(_TITLE_NAMES)), None)
        if title is None or config["ITEM_ID_FIELD"] not in names:
            return None
        item_column, title_column = names.index(config["ITEM_ID_FIELD"]), names.index(title)
        found = {row[item_column]: row[title_column] for row in lines if len(row) == len(names)}
    return [" ".join(found.get(token, "").split()) for token in tokens]
