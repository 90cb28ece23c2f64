"""`recbole-odrec add-items`: a delta with items that training has never seen; nothing is trained.

They get codes, or rounded columns, by the sessions that they have appeared in since and by what an `.item` file says
of them (`placing.py`). Encoder, codebooks or projection, and all other items stay as they are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from recbole_odrec.bundle.delta_maker import make_delta
from recbole_odrec.bundle.item_facts import read_facts
from recbole_odrec.bundle.item_model import ItemModel
from recbole_odrec.bundle.manifest import (
    ITEMS,
    MODEL,
    PROGRAM,
    TITLES,
    read_file,
    read_manifest,
    verify_file,
    write_manifest,
)
from recbole_odrec.bundle.placing import cases, fitted, told_by
from recbole_odrec.bundle.titles import titles_of
from recbole_odrec.bundle.tokens import MOST_LINE_BYTES, TokenTable, read_table
from recbole_odrec.bundle.user_state import space_of
from recbole_odrec.data.session_sources import check_token, joined_cases
from recbole_odrec.data.table_reader import quoted, text_lines
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_atomically


def add_items(
    bundle: Path,
    items: Path | None,
    output: Path,
    item_file: Path | None = None,
    item_field: str = "item_id",
    fields: Sequence[str] = (),
) -> tuple[dict[str, Any], list[str]]:
    """Writes the delta to a bundle that knows the new items of some sessions, or of an item file, too.

    Args:
        bundle: the bundle on the devices.
        items: sessions with new items among known ones, a line each, oldest item first.
        output: file to write; an earlier one is replaced.
        item_file: atomic file that says something of items, new and known ones.
        item_field: its column of item tokens.
        fields: its columns that count; all when empty.

    Returns:
        The delta's header, and the new items in the order of their ids.

    Raises:
        UserError: a bundle that cannot grow, or files without a new item that something known tells of.
    """
    given = [str(path) for path in (items, item_file) if path is not None]
    if not given:
        raise UserError(
            "no file says what is new: give sessions with --items, an .item file with --item_file, or both."
        )
    manifest = read_manifest(bundle)
    for name in manifest["files"]:
        verify_file(bundle, manifest, name)
    if PROGRAM in manifest["files"]:
        raise UserError(f"{bundle} holds {PROGRAM}, which cannot grow: export it without --executorch.")
    model = ItemModel(bundle / MODEL, manifest["max_length"])
    sessions = [] if items is None else [*read_sessions(items)]
    known = read_table(TokenTable, bundle, manifest, ITEMS)
    new, of_new, of_known = cases(sessions, _looked_up(sessions, known), manifest["n_items"])
    facts = {} if item_file is None else read_facts(item_file, item_field, fields)
    told = told_by(facts, known, model.rows, new) if facts else None
    if not new:
        raise UserError(
            f"{' and '.join(given)}: no item that {bundle} does not know beside one that it knows: nothing to add."
        )
    integers = fitted(model, of_new, of_known, manifest["n_items"], len(new), told)
    titles = (None if item_file is None else titles_of(item_file, "\t", None, item_field, new)) or [""] * len(new)
    lines = {ITEMS: new, TITLES: titles}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "bundle"
        folder.mkdir()
        for name in manifest["files"]:
            added = "".join(f"{line}\n" for line in lines.get(name, ())).encode()
            content = read_file(bundle, manifest, name)
            (folder / name).write_bytes(model.grown(integers) if name == MODEL else content + added)
        values = {**manifest, "n_items": manifest["n_items"] + len(new)}
        if user := manifest.get("user_state"):  # sessions become the same vectors as before
            values["user_state"] = {**user, "space": space_of(manifest)}
        write_manifest(folder, values)
        read_table(TokenTable, folder, read_manifest(folder), ITEMS)  # as a device will
        header, content = make_delta(bundle, folder)
    write_atomically(output, partial(_write, content))
    return header, new


def read_sessions(path: Path) -> Iterator[list[str]]:
    """Sessions of plain lines, or of the column `item_id_list` of a file with RecBole's header.

    Where such a file has targets, too (`item_id`), a line is a case, and cases are joined as `convert` joins them.

    Raises:
        UserError: no such file, or a line without items.
    """
    names = []
    for number, line in text_lines(path):
        if number == 1 and ":token" in line:
            names = line.split("\t")
        break
    if not names:
        yield from (_items(path, number, line.replace("\t", " ")) for number, line in text_lines(path))
        return
    lists = [name for name in names if name.endswith(":token_seq")]
    if not lists:
        raise UserError(
            f"{path}: {quoted(chr(9).join(names))} names no list of items (:token_seq): give sessions, a line each."
        )
    items = "item_id_list:token_seq" if "item_id_list:token_seq" in lists else lists[0]
    target = f"{items.removesuffix(':token_seq').removesuffix('_list')}:token"
    columns = [names.index(name) for name in (items, target) if name in names]
    rows = (_row(path, number, line, columns) for number, line in islice(text_lines(path), 1, None))
    if len(columns) == 1:
        yield from rows
    else:
        yield from (list(session) for session, _ in joined_cases(map(tuple, rows)))


def _row(path: Path, number: int, line: str, columns: Sequence[int]) -> list[str]:
    values = dict(enumerate(line.split("\t")))
    return [item for column in columns for item in _items(path, number, values.get(column, ""), line)]


def _items(path: Path, number: int, text: str, line: str | None = None) -> list[str]:
    items = [check_token(item, f"{path}, line {number}") for item in text.split(" ") if item]
    if not items or any(len(token.encode()) >= MOST_LINE_BYTES for token in items):
        shown = quoted(text if line is None else line)
        raise UserError(f"{path}, line {number}: {shown}, expected items of a session, apart by blanks.")
    return items


def _looked_up(sessions: Sequence[Sequence[str]], known: TokenTable) -> list[list[int]]:
    """Ids of each session's items, 0 for new ones."""
    words = sorted({token for session in sessions for token in session})
    ids = dict(zip(words, known.find_all(words), strict=True))
    return [[ids[token] for token in session] for session in sessions]


def _write(content: bytes, file: Any) -> None:
    file.write(content)
