"""A delta: what has to travel so that a device with one bundle has exactly another one. Read here, piece by piece.

    magic       8 bytes, `ODDELTA` and the version's digit
    digest     32 bytes, SHA-256 of all that follows
    length      4 bytes, of the header, little-endian
    header     JSON: `base`, the SHA-256 of the old bundle's manifest, which holds those of its other files;
               `files`: for each file of the new bundle, by name, its `bytes` and `sha256`, the same of the old file of
               that name in `from` (null: there is none), its `codec` and the bytes of its `payload`
    payloads   in the header's order; files that it does not list are gone

Codec `copy` is the old file as it is, without a payload. `deflate` is a zlib stream of instructions, each a number that
is 8 x bytes + kind:

    0  as many bytes, which follow
    1  as many bytes of the old file, copied
    2, 3, 4  as many bytes of the old file, each whole number of 1, 2, 4 bytes (little-endian) plus a difference, modulo
       its range. Differences d follow as 2d, or -2d - 1 where d < 0, in pieces of 2^18 bytes: of each piece the lowest
       bytes of all its numbers, then the next ones.

After kind and bytes, 1 to 4 name their place in the old file: as a step, coded like a difference, from the end of the
last such instruction. Numbers are 7 bits a byte, the lowest first, the eighth bit where more follow.

Standard library and NumPy only.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from recbole_odrec.bundle.manifest import (
    ITEMS,
    MANIFEST,
    MODEL,
    BundleError,
    are_files,
    open_regular,
    parse_json,
)

MAGIC, VERSION = b"ODDELTA", b"1"
FORMAT = "recbole_odrec delta"
INSERT, COPY, WIDTHS = 0, 1, {2: 1, 3: 2, 4: 4}  # kinds; bytes of the numbers that differ
PIECE = 2**18  # bytes in memory; part of the format
_MOST_HEADER_BYTES = 2**20
_START = len(MAGIC + VERSION) + 32 + 4


class Payload:
    """What a file's payload inflates to, at most a piece more than what is asked for.

    Args:
        file: the delta, at the payload.
        size: the payload's bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size
        self._inflate, self._tail, self._ready = zlib.decompressobj(), b"", bytearray()

    def read(self, count: int) -> bytes:
        """Exactly so many bytes.

        Raises:
            ValueError: there are fewer.
        """
        while len(self._ready) < count:
            if not (more := self._more()):
                raise ValueError("a payload ends too early")
            self._ready += more
        taken = bytes(self._ready[:count])
        del self._ready[:count]
        return taken

    def number(self) -> int:
        """The next number; at most 63 bits."""
        value = 0
        for shift in range(0, 63, 7):
            byte = self.read(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number without an end")

    def step(self) -> int:
        """The next number that may be negative."""
        value = self.number()
        return (value >> 1) ^ -(value & 1)

    def close(self) -> None:
        """Raises a ValueError where anything is left."""
        if self._ready or self._more() or not self._inflate.eof or self._inflate.unused_data or self._left:
            raise ValueError("a payload has more than its file")

    def _more(self) -> bytes:
        """At most a piece; nothing at the end."""
        while not self._inflate.eof:
            if not self._tail:
                self._tail = self._file.read(min(PIECE, self._left))
                self._left -= len(self._tail)
            is_last = not self._tail
            found = self._inflate.decompress(self._tail, PIECE)
            self._tail = self._inflate.unconsumed_tail
            if found or is_last:
                return found
        return b""


@contextmanager
def open_delta(path: Path) -> Iterator[tuple[BinaryIO, dict[str, Any]]]:
    """An open delta at its first payload, and its header; every byte of the file has been checked.

    Raises:
        BundleError: no delta, of another version, damaged or not whole.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path))
            start = file.read(_START)
            if start[:7] != MAGIC:
                raise BundleError(f"{path} is not a delta between bundles; make one with recbole-odrec delta.")
            if start[7:8] != VERSION:
                raise BundleError(f"{path} is a delta of another version; make it again, or update recbole_odrec.")
            found = hashlib.sha256(start[40:])
            while piece := file.read(PIECE):
                found.update(piece)
            if found.digest() != start[8:40]:
                raise ValueError("its SHA-256 is another")
            header = _header(file, int.from_bytes(start[40:], "little"))
        except BundleError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise damaged(path, error) from error
        yield file, header


def damaged(path: Path, error: Exception) -> BundleError:
    """The one line about a delta that cannot be used."""
    reason = getattr(error, "strerror", None) or error
    return BundleError(f"{path} cannot be used ({reason}): fetch it again; nothing was changed.")


def _header(file: BinaryIO, size: int) -> dict[str, Any]:
    """Reads and checks the header; leaves the file behind it."""
    left = file.seek(0, os.SEEK_END) - _START - size
    file.seek(_START)
    if size > _MOST_HEADER_BYTES or left < 0:
        raise ValueError("the length of its header cannot be")
    header = parse_json(file.read(size))
    files = header.get("files") if isinstance(header, dict) else None
    if not (
        isinstance(files, dict)
        and header.get("format") == FORMAT
        and re.fullmatch("[0-9a-f]{64}", str(header.get("base")))
        and are_files(files, {MANIFEST, MODEL, ITEMS})
        and all(_is_entry(entry) for entry in files.values())
        and sum(entry["payload"] for entry in files.values()) == left
    ):
        raise ValueError("its header cannot be one")
    return header


def _is_entry(entry: dict[str, Any]) -> bool:
    """Whether codec, payload and old file of an entry fit together; the rest has been checked."""
    if type(entry.get("payload")) is not int or entry["payload"] < 0:
        return False
    if entry.get("codec") == "copy":
        return entry["payload"] == 0 and entry.get("from") == {key: entry[key] for key in ("bytes", "sha256")}
    return entry.get("codec") == "deflate" and (entry.get("from") is None or are_files({"old": entry["from"]}, set()))


def restored(payload: Payload, old: BinaryIO, old_size: int, size: int) -> Iterator[bytes]:
    """Pieces of the new file.

    Args:
        payload: its instructions.
        old: the old file.
        old_size, size: bytes of the old and of the new file.

    Raises:
        ValueError: instructions that cannot be.
    """
    done = place = 0
    while done < size:
        length, kind = divmod(payload.number(), 8)
        if not 1 <= length <= size - done or kind not in (INSERT, COPY, *WIDTHS):
            raise ValueError("an instruction that cannot be")
        done += length
        if kind != INSERT:
            place += payload.step()
            if not 0 <= place <= old_size - length:
                raise ValueError("a place outside the old file")
            old.seek(place)
            place += length
        for start in range(0, length, PIECE):
            count = min(PIECE, length - start)
            piece = payload.read(count) if kind != COPY else b""
            before = old.read(count) if kind != INSERT else b""
            yield added(before, piece, WIDTHS[kind]) if kind in WIDTHS else before + piece
    payload.close()


def added(before: bytes, differences: bytes, width: int) -> bytes:
    """A piece plus its differences, as the format has them."""
    whole = f"<u{width}"
    zigzag = np.frombuffer(differences, np.uint8).reshape(width, -1).T.copy().view(whole)[:, 0]
    one = np.array(1, whole)
    return (np.frombuffer(before, whole) + ((zigzag >> one) ^ (~(zigzag & one) + one))).tobytes()
