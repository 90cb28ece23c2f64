"""Item tokens and titles of a bundle, looked up without a Python object an item.

A dictionary of strings takes many times the memory of a compressed model beside it. Here the file's own bytes stay as
they are; beside them lie the end of each line and the lines sorted by a hash of their token.

Dimension key: N items, ids 1 .. N (0 is padding), W the longest token in bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from recbole_odrec.bundle.manifest import BundleError, read_file

MOST_LINE_BYTES = 4096  # of a token or a title
_MULTIPLIER = np.uint32(0x01000193)  # FNV's prime; 32 bits that wrap around
_PIECE = 2**18


class Lines:
    """Lines of text, one an item: line i of the file is item i.

    Args:
        content: UTF-8 lines, each with its line feed, none longer than MOST_LINE_BYTES.

    Raises:
        ValueError: another content.
    """

    def __init__(self, content: bytes) -> None:
        if not content.endswith(b"\n"):
            raise ValueError("the last line is not complete")
        _require_utf8(content)
        self._bytes = np.frombuffer(content, dtype=np.uint8)
        kind = np.int32 if len(content) < 2**31 else np.int64
        self._ends = np.flatnonzero(self._bytes == ord("\n")).astype(kind)  # [N]
        self._longest = int(self._lengths().max())  # W
        if self._longest > MOST_LINE_BYTES:
            raise ValueError(f"a line of {self._longest:,} bytes, at most {MOST_LINE_BYTES:,} are read")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, item_id: int) -> str:
        """Line of an item, 1 .. N."""
        return self._line(item_id - 1).decode()

    def _line(self, line: int) -> bytes:
        start = int(self._ends[line - 1]) + 1 if line else 0
        return self._bytes[start : int(self._ends[line])].tobytes()

    def _starts(self) -> np.ndarray:
        starts = np.zeros_like(self._ends)
        starts[1:] = self._ends[:-1] + 1
        return starts

    def _lengths(self) -> np.ndarray:
        return self._ends - self._starts()


class TokenTable(Lines):
    """Tokens in index order, looked up both ways.

    Args:
        content: as for `Lines`; no line is empty, none stands twice.

    Raises:
        ValueError: another content.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        if self._lengths().min() < 1:
            raise ValueError("a token is empty")
        hashes = self._hashes()
        self._by_hash = np.argsort(hashes).astype(np.int32)  # [N]
        self._hashes_sorted = hashes[self._by_hash]
        self._require_unique()

    def find(self, token: str) -> int:
        """Id of a token, 0 if there is no such item."""
        return self.find_all([token])[0]

    def find_all(self, tokens: Sequence[str]) -> list[int]:
        """`find` for each token."""
        raws = [_raw(token, self._longest) for token in tokens]
        wanted = np.fromiter(map(_hash, raws), np.uint32, len(raws))
        first = np.searchsorted(self._hashes_sorted, wanted).tolist()
        last = np.searchsorted(self._hashes_sorted, wanted, side="right").tolist()
        return [self._among(raw, *places) for raw, *places in zip(raws, first, last, strict=True)]

    def _among(self, raw: bytes, first: int, last: int) -> int:
        """Id of the token among those of its hash, 0 if it is not there."""
        return next((int(line) + 1 for line in self._by_hash[first:last] if self._line(int(line)) == raw), 0)

    def _require_unique(self) -> None:
        """Equal tokens have equal hashes: only lines that share theirs are compared."""
        first = np.flatnonzero(self._hashes_sorted[1:] == self._hashes_sorted[:-1]).tolist()
        seen: set[bytes] = set()
        for place in {*first, *(place + 1 for place in first)}:
            raw = self._line(int(self._by_hash[place]))
            if raw in seen:
                raise ValueError(f"token {raw.decode()!r:.60} stands twice")
            seen.add(raw)

    def _hashes(self) -> np.ndarray:
        """`_hash` of every token, one byte position at a time: uint32 [N]."""
        position, hashes = self._starts(), np.zeros(len(self), dtype=np.uint32)
        active = np.arange(len(self))
        while len(active):
            hashes[active] = (hashes[active] ^ self._bytes[position[active]]) * _MULTIPLIER
            position[active] += 1
            active = active[position[active] < self._ends[active]]
        return hashes


Table = TypeVar("Table", bound=Lines)


def read_table(kind: type[Table], folder: Path, manifest: Mapping[str, Any], name: str) -> Table:
    """Reads a file with a line an item out of a bundle.

    Args:
        kind: `Lines`, or `TokenTable` for tokens.
        folder: the bundle.
        manifest: of `read_manifest`.
        name: of the file.

    Raises:
        BundleError: it is not the file that was exported, or not such lines, or not as many as there are items.
    """
    content = read_file(folder, manifest, name)
    try:
        table = kind(content)
        if len(table) != manifest["n_items"]:
            raise ValueError(f"{len(table)} items, the manifest says {manifest['n_items']}")
    except ValueError as error:
        raise BundleError(f"{folder / name}: {error}; export the bundle again.") from error
    return table


def _require_utf8(content: bytes) -> None:
    """Decodes piece by piece: the whole text would take up to four times the file's memory."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(content), _PIECE):
            decoder.decode(content[start : start + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error


def _raw(token: str, longest: int) -> bytes:
    """A token's bytes; nothing, which no token is, where it is longer than every token: hashing it would take long."""
    return token.encode(errors="surrogatepass") if len(token) <= longest else b""


def _hash(raw: bytes) -> int:
    value = 0
    for byte in raw:
        value = (value ^ byte) * int(_MULTIPLIER) & 0xFFFFFFFF
    return value
