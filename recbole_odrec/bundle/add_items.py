"""Items that training has never seen get codes from the sessions that they have appeared in since; nothing is trained.

What an item's row must be follows from the sessions that lead to it. For items that the model knows, both are there: a
ridge regression from the mean session before an item to the item's row says where a new one belongs, and the nearest
codes are what it gets. Encoder, codebooks and all other items stay as they are.

Dimension key: D embedding, n new items, C cases, M codebooks, K entries, W = D / M.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.bundle.codes_model import CodesModel
from recbole_odrec.bundle.delta_maker import make_delta
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
from recbole_odrec.bundle.tokens import MOST_LINE_BYTES, TokenTable, read_table
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_atomically

_RIDGE = 0.01  # of the mean square of what is regressed on
_MOST_CASES = 50_000  # of known items, from the end of the file

Case = tuple[list[int], int]  # ids of a history, and the item behind it


def add_items(bundle: Path, items: Path, output: Path) -> tuple[dict[str, Any], list[str]]:
    """Writes the delta to a bundle that knows the new items of some sessions too.

    Args:
        bundle: the bundle on the devices.
        items: sessions with new items among known ones, a line each, oldest item first.
        output: file to write; an earlier one is replaced.

    Returns:
        The delta's header, and the new items in the order of their ids.

    Raises:
        UserError: a bundle that cannot grow, a file without a new item that stands beside a known one.
    """
    manifest = read_manifest(bundle)
    for name in manifest["files"]:
        verify_file(bundle, manifest, name)
    if PROGRAM in manifest["files"]:
        raise UserError(f"{bundle} holds {PROGRAM}, which cannot grow: export it without --executorch.")
    model = CodesModel(bundle / MODEL, manifest["max_length"])
    sessions = [*read_sessions(items)]
    known = read_table(TokenTable, bundle, manifest, ITEMS)
    ids = _looked_up(sessions, known)
    new, of_new, of_known = cases(sessions, ids, manifest["n_items"])
    if not new:
        raise UserError(f"{items} has no item that {bundle} does not know beside one that it knows: nothing to add.")
    codes = fitted(model, of_new, of_known, manifest["n_items"], len(new))
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "bundle"
        folder.mkdir()
        for name in manifest["files"]:
            content = read_file(bundle, manifest, name)
            added = {ITEMS: "".join(f"{token}\n" for token in new), TITLES: "\n" * len(new)}.get(name, "")
            (folder / name).write_bytes(model.grown(codes) if name == MODEL else content + added.encode())
        write_manifest(folder, {**manifest, "n_items": manifest["n_items"] + len(new)})
        read_table(TokenTable, folder, read_manifest(folder), ITEMS)  # as a device will
        header, content = make_delta(bundle, folder)
    write_atomically(output, partial(_write, content))
    return header, new


def read_sessions(path: Path) -> Iterator[list[str]]:
    """Sessions of plain lines, or of the column `item_id_list` of a file with RecBole's header.

    Raises:
        UserError: no such file, or a line without items.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UserError(f"{path} cannot be read ({reason}), expected sessions, a line each.") from error
    column, first = 0, 0
    if lines and ":token" in lines[0]:
        names = [name.partition(":")[2] for name in lines[0].split("\t")]
        if "token_seq" not in names:
            raise UserError(
                f"{path}: {lines[0]!r:.60} names no list of items (:token_seq): give sessions, a line each."
            )
        column, first = names.index("token_seq"), 1
    for number, line in enumerate(lines[first:], first + 1):
        session = line.split("\t")[column].split() if line.count("\t") >= column else []
        if not session or any(len(token.encode()) >= MOST_LINE_BYTES for token in session):
            raise UserError(f"{path}, line {number}: {line!r:.60}, expected items of a session, apart by blanks.")
        yield session


def _looked_up(sessions: Sequence[Sequence[str]], known: TokenTable) -> list[list[int]]:
    """Ids of each session's items, 0 for new ones."""
    words = sorted({token for session in sessions for token in session})
    ids = dict(zip(words, known.find_all(words), strict=True))
    return [[ids[token] for token in session] for session in sessions]


def cases(
    sessions: Sequence[Sequence[str]], ids: Sequence[Sequence[int]], n_items: int
) -> tuple[list[str], list[Case], list[Case]]:
    """What stands before each item, new and known ones apart.

    Where a new item stands at the head of its session, what follows says where it belongs.

    Returns:
        The new items that have a case, those of new items, whose ids follow the known ones', those of known items.
    """
    new: dict[str, int] = {}
    of_new, of_known = [], []
    for session, found in zip(sessions, ids, strict=True):
        for place, (token, item) in enumerate(zip(session, found, strict=True)):
            before = [other for other in found[:place] if other]
            if item and before:
                of_known.append((before, item))
            elif not item and token not in session[:place]:
                around = before or [other for other in found[place:] if other]
                if around:
                    of_new.append((around, new.setdefault(token, n_items + 1 + len(new))))
    return [*new], of_new, of_known[-_MOST_CASES:]


def fitted(model: CodesModel, of_new: Iterable[Case], of_known: Sequence[Case], n_items: int, n_new: int) -> np.ndarray:
    """Codes of the new items: uint8 [n, M].

    Raises:
        UserError: no case of a known item.
    """
    if not of_known:
        raise UserError("no known item follows another one in these sessions: give those of some days, as they were.")
    means, counts = _means(model, of_new, n_items + 1, n_new)
    of_old, seen = _means(model, of_known, 0, n_items + 1)
    is_seen = seen > 0
    # As sure of its mean as a new item is: many sessions of one count as much as those that new ones have.
    weights = np.sqrt(np.minimum(seen[is_seen], np.median(counts)))[:, None]
    left, right = of_old[is_seen] * weights, model.rows[is_seen] * weights
    square = left.T @ left
    ridge = _RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    rows = means @ np.linalg.solve(square + ridge, left.T @ right)
    return nearest(rows, model.books)


def _means(model: CodesModel, some: Iterable[Case], first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean session of items first .. first + count - 1 [count, D], and of how many [count]."""
    histories, items = zip(*some, strict=True)
    sessions, places = model.sessions(histories), np.array(items) - first
    counts = np.bincount(places, minlength=count)
    sums = np.zeros((count, sessions.shape[1]))
    np.add.at(sums, places, sessions)
    return sums / np.maximum(counts, 1)[:, None], counts


def nearest(rows: np.ndarray, books: np.ndarray) -> np.ndarray:
    """Of each row, part by part, the entry at the least distance: [n, D], [M, K, W] -> uint8 [n, M]."""
    parts = rows.reshape(len(rows), len(books), -1)
    products = np.einsum("nmw,mkw->nmk", parts, books)
    return (products - (books**2).sum(2) / 2).argmax(2).astype(np.uint8)


def _write(content: bytes, file: Any) -> None:
    file.write(content)
