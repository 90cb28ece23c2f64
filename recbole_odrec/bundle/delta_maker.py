"""Writes the delta between two bundles (its format: `delta.py`).

Weights that are alike (`alike.py`) differ number by number: their differences travel, unless the weights themselves are
smaller. All else is copied from the old file where a block of it stands there too; what does not travels.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zlib
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.bundle.alike import SHORTEST, Alike, weights_alike
from recbole_odrec.bundle.delta import COPY, FORMAT, INSERT, MAGIC, PIECE, VERSION, WIDTHS, open_delta
from recbole_odrec.bundle.manifest import ITEMS, MANIFEST, MODEL, describe_file, read_manifest, verify_file
from recbole_odrec.bundle.update import restore
from recbole_odrec.bundle.withdraw import sold_again
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_atomically

_MOST_BLOCKS = 2**20  # of an old file, in memory
_LEVEL = 9
_KINDS = {width: kind for kind, width in WIDTHS.items()}


def write_delta(old: str | Path, new: str | Path, output: str | Path, sell_again: bool = False) -> dict[str, Any]:
    """Writes what has to travel so that a device with one bundle has exactly another one.

    The delta has been applied, and what came out compared with the new bundle, before it is in its place.

    Args:
        old: the bundle on the device.
        new: the bundle that it shall have.
        output: file to write; an earlier one is replaced.
        sell_again: whether items that the old bundle leaves out of its answers may come back.

    Returns:
        The delta's header.

    Raises:
        UserError: one of them is no bundle or damaged, withdrawn items would come back, or the file cannot be written.
    """
    output = Path(output)
    if output.is_dir():
        raise UserError(f"{output} is a folder, expected the file to write.")
    if not sell_again and (items := sold_again(Path(old), Path(new))):
        raise UserError(
            f"{new} recommends items again that {old} leaves out ({' '.join(items):.60}): make it with "
            f"recbole-odrec withdraw --bundle {new} --as_in {old}, or add --sell_again."
        )
    header, content = make_delta(Path(old), Path(new))
    write_atomically(output, lambda file: file.write(content))
    return header


def items_lost(old: Path, new: Path) -> list[str]:
    """Items that one bundle knows and another one does not, those that devices got by `add-items` among them."""
    before, after = ((folder / ITEMS).read_bytes() for folder in (old, new))
    if after.startswith(before):
        return []
    known = {*after.split(b"\n")}
    return [line.decode() for line in before.split(b"\n") if line not in known]


def make_delta(old: Path, new: Path, names: Collection[str] | None = None) -> tuple[dict[str, Any], bytes]:
    """Header and content of a delta, which has been applied and compared with the new bundle.

    Args:
        old, new: bundles.
        names: files that are wanted; None for all.

    Raises:
        UserError: one of them is no bundle, or damaged.
    """
    before, after = (_contents(folder, names) for folder in (old, new))
    files: dict[str, dict[str, Any]] = {}
    payloads = []
    for name, entry in after.items():
        if before.get(name) == entry:
            payload, codec = b"", "copy"
        else:
            whole = (old / name).read_bytes() if name in before else b""
            payload, codec = encoded(whole, (new / name).read_bytes(), name == MODEL), "deflate"
        files[name] = {**entry, "from": before.get(name), "codec": codec, "payload": len(payload)}
        payloads.append(payload)
    header = {"format": FORMAT, "base": before[MANIFEST]["sha256"], "files": files}
    text = json.dumps(header, separators=(",", ":")).encode()
    rest = b"".join([len(text).to_bytes(4, "little"), text, *payloads])
    content = MAGIC + VERSION + hashlib.sha256(rest).digest() + rest
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "delta"
        trial.write_bytes(content)
        with open_delta(trial) as (file, _):
            (Path(folder) / "new").mkdir()
            restore(old, file, header, Path(folder) / "new", trial)
    return header, content


def summarize_delta(header: dict[str, Any], output: str | Path) -> str:
    """What travels of each file, of how much; last the delta's path."""
    files = header["files"]
    lines = [
        f"{name}: {entry['payload']:,} of {entry['bytes']:,} bytes" if entry["payload"] else f"{name}: as it is"
        for name, entry in files.items()
    ]
    size, whole = Path(output).stat().st_size, sum(entry["bytes"] for entry in files.values())
    return "\n".join([*lines, f"{size:,} bytes in place of {whole:,}, {100 * size / whole:.1f} %", str(output)])


def _contents(folder: Path, names: Collection[str] | None) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file of a whole bundle."""
    manifest = read_manifest(folder)
    for name in manifest["files"]:
        verify_file(folder, manifest, name)
    found = {MANIFEST: describe_file(folder / MANIFEST), **manifest["files"]}
    return {
        name: {key: entry[key] for key in ("bytes", "sha256")}
        for name, entry in found.items()
        if names is None or name in names
    }


def encoded(old: bytes, new: bytes, is_model: bool = False) -> bytes:
    """The payload that makes one file of another.

    Args:
        old, new: their content.
        is_model: they are ONNX models.
    """
    return encoded_alike(old, new, weights_alike(old, new) if is_model and old else ())


def encoded_alike(old: bytes, new: bytes, stretches: Iterable[Alike]) -> bytes:
    """The payload that makes one content of another, in which stretches are alike, in the new one's order."""
    writer = _Writer(old, new)
    done = 0
    for alike in stretches:
        writer.matched(done, alike.place)
        writer.differing(alike)
        done = alike.place + alike.length
    writer.matched(done, len(new))
    return zlib.compress(bytes(writer.out), _LEVEL)


class _Writer:
    """Instructions for one file."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self.old, self.new, self.out = old, new, bytearray()
        self._place = 0  # end of the last stretch of the old file
        self._block = max(SHORTEST, len(old) // _MOST_BLOCKS)

    @cached_property
    def _index(self) -> dict[bytes, int]:
        """First place of each block of the old file."""
        places = range(0, len(self.old) - self._block + 1, self._block)
        return {self.old[place : place + self._block]: place for place in reversed(places)}

    def matched(self, start: int, stop: int) -> None:
        """A stretch of the new file from what the old one has, and from bytes that travel."""
        new, old, block = self.new, self.old, self._block
        at, kept = start, start  # kept: start of what has not been written yet
        while at + block <= stop:
            wanted, beside = new[at : at + block], self._place + at - kept
            place = beside if old[beside : beside + block] == wanted else self._index.get(wanted)
            if place is None:
                at += 1
                continue
            back = 0
            while at - back > kept and place > back and new[at - back - 1] == old[place - back - 1]:
                back += 1
            length = back + _agreeing(old, place, new, at, stop)
            self._inserted(kept, at - back)
            self._instruct(COPY, length, place - back)
            at = kept = at - back + length
        self._inserted(kept, stop)

    def differing(self, alike: Alike) -> None:
        """Weights: their differences or, where that is less, themselves."""
        whole = self.new[alike.place : alike.place + alike.length]
        differences = _differences(self.old[alike.old_place : alike.old_place + alike.length], whole, alike.width)
        if len(zlib.compress(whole, _LEVEL)) <= len(zlib.compress(differences, _LEVEL)):
            self._inserted(alike.place, alike.place + alike.length)
        else:
            self._instruct(_KINDS[alike.width], alike.length, alike.old_place)
            self.out += differences

    def _inserted(self, start: int, stop: int) -> None:
        if stop > start:
            self._number(8 * (stop - start) + INSERT)
            self.out += self.new[start:stop]

    def _instruct(self, kind: int, length: int, place: int) -> None:
        self._number(8 * length + kind)
        step = place - self._place
        self._number(2 * step if step >= 0 else -2 * step - 1)
        self._place = place + length

    def _number(self, value: int) -> None:
        while value >= 128:
            self.out.append(value % 128 + 128)
            value //= 128
        self.out.append(value)


def _agreeing(old: bytes, place: int, new: bytes, at: int, stop: int) -> int:
    """How many bytes agree from two places on."""
    most, found = min(len(old) - place, stop - at), 0
    while found < most:
        size = min(4096, most - found)
        pair = old[place + found : place + found + size], new[at + found : at + found + size]
        if pair[0] != pair[1]:
            return found + next(i for i, (one, other) in enumerate(zip(*pair, strict=True)) if one != other)
        found += size
    return found


def _differences(old: bytes, new: bytes, width: int) -> bytes:
    """Differences of numbers as the format has them: what `delta.added` undoes."""
    planes = []
    for start in range(0, len(new), PIECE):
        before, after = (np.frombuffer(content[start : start + PIECE], f"<u{width}") for content in (old, new))
        step = (after - before).view(f"<i{width}")
        zigzag = (step << 1) ^ (step >> (8 * width - 1))
        planes.append(zigzag.view(np.uint8).reshape(-1, width).T.tobytes())
    return b"".join(planes)
