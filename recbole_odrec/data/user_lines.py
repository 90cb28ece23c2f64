"""Users with their items in time, a user a line, as S3-Rec and its successors publish Beauty and Sports: as a table."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from recbole_odrec.data.convert import check_name
from recbole_odrec.data.plain_text import plain_lines
from recbole_odrec.data.session_sources import check_token
from recbole_odrec.data.table_reader import quoted
from recbole_odrec.errors import UserError
from recbole_odrec.files import written_together


class UserTable(NamedTuple):
    """What a table holds, and where it lies."""

    users: int
    items: int
    interactions: int
    path: Path


def write_user_table(source: Path, folder: Path, name: str) -> UserTable:
    """Writes `folder/name/name.inter`: a row an interaction, its time the place among the user's.

    Args:
        source: a line a user, `.gz` or not: the user, then its items, oldest first, all apart by blanks or tabs.
        folder: what `--data_path` will name.
        name: name of the data set.

    Raises:
        UserError: file and line of what is no such user, a name that would lie elsewhere, or the system refuses to
            write there; then no file is.
    """
    check_name(folder, name)
    users: set[str] = set()
    items: set[str] = set()
    n_rows = 0
    with written_together(folder / name) as work, (work / f"{name}.inter").open("wb") as file:
        file.write(b"user_id:token\titem_id:token\ttimestamp:float\n")
        for number, line in plain_lines(source):
            where = f"{source}, line {number}"
            user, *had = [check_token(word, where) for word in line.replace("\t", " ").split(" ") if word] or [""]
            if not had:
                raise UserError(f"{where}: {quoted(line)}, expected a user and its items, oldest first.")
            if user in users:
                raise UserError(f"{where}: user {quoted(user)} once more, expected one line with all of its items.")
            users.add(user)
            items.update(had)
            n_rows += len(had)
            file.writelines(f"{user}\t{item}\t{place}\n".encode() for place, item in enumerate(had))
        if not users:
            raise UserError(f"{source}: no user in it.")
    return UserTable(len(users), len(items), n_rows, folder / name / f"{name}.inter")
