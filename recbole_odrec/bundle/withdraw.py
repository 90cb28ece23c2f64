"""Items withdrawn from sale: a list in the manifest, which every answer leaves out. The model stays as it is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_odrec.bundle.manifest import (
    ITEMS,
    MANIFEST,
    MOST_MANIFEST_BYTES,
    read_manifest,
    verify_file,
    write_manifest,
)
from recbole_odrec.bundle.tokens import TokenTable, read_table
from recbole_odrec.errors import UserError
from recbole_odrec.files import cannot_write, folder_beside


def withdraw(bundle: Path, items: Sequence[str], output: Path, as_in: Path | None = None) -> dict[str, Any]:
    """Writes a bundle that never recommends some items, nor those that the given one leaves out already.

    Args:
        bundle: folder of a bundle.
        items: tokens.
        output: folder to make; complete or not there.
        as_in: a bundle whose withdrawn items this one leaves out too, as far as it has them.

    Returns:
        Its manifest; ids of the items are in `withdrawn`.

    Raises:
        UserError: no bundle, an item that is none of its items, none or too many, or a folder that cannot be made.
    """
    items = [*items, *(sold_again(as_in, bundle) if as_in is not None else ())]
    if not items:
        what = "no ITEM" if as_in is None else f"{as_in} leaves out nothing that {bundle} does not"
        raise UserError(f"{what}, expected tokens of items that are not for sale any more.")
    if output.exists():
        raise UserError(f"{output} exists; give a new folder, or remove it first.")
    manifest = read_manifest(bundle)
    for name in manifest["files"]:
        verify_file(bundle, manifest, name)
    ids = read_table(TokenTable, bundle, manifest, ITEMS).find_all(items)
    if 0 in ids:
        raise UserError(f"{items[ids.index(0)]!r:.60} is no item of {bundle}: expected a line of {ITEMS}.")
    withdrawn = sorted({*manifest.get("withdrawn", ()), *ids})
    if len(withdrawn) == manifest["n_items"]:
        raise UserError(f"{bundle} would have no item left to recommend.")
    try:
        with folder_beside(output) as work:
            folder = work / output.name
            folder.mkdir()
            for name in manifest["files"]:
                shutil.copyfile(bundle / name, folder / name)
            manifest = write_manifest(folder, {**manifest, "withdrawn": withdrawn})
            if (folder / MANIFEST).stat().st_size > MOST_MANIFEST_BYTES:
                raise UserError(f"{len(withdrawn):,} items are more than {MANIFEST} can hold: export without them.")
            folder.rename(output)
    except OSError as error:
        raise cannot_write(output, error) from error
    return manifest


def sold_again(old: Path, new: Path) -> list[str]:
    """Tokens of items that one bundle leaves out of its answers, and another one that has them does not.

    Raises:
        UserError: one of them is no bundle, or damaged.
    """
    before, after = read_manifest(old), read_manifest(new)
    if not before.get("withdrawn"):
        return []
    tokens = read_table(TokenTable, old, before, ITEMS)
    out = [tokens[item] for item in before["withdrawn"]]
    left_out = {0, *after.get("withdrawn", ())}
    ids = read_table(TokenTable, new, after, ITEMS).find_all(out)
    return [token for token, item in zip(out, ids, strict=True) if item not in left_out]
