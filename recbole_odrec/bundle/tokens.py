"""Item tokens of a bundle, looked up both ways without a Python object an item.

A dictionary of strings takes many times the memory of a compressed model beside it. Here the file's own bytes stay as
they are; beside them lie the end of each line and the lines sorted by a hash of their token.

Dimension key: N items, ids 1 .. N (0 is padding), W the longest token in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MULTIPLIER = np.uint32(0x01000193)  # FNV's prime; 32 bits that wrap around


class TokenTable:
    """Tokens in index order: line i of the file is item i.

    Args:
        content: UTF-8 lines, each with its line feed, none empty.

    Raises:
        ValueError: an empty line, or a last line without its end.
    """

    def __init__(self, content: bytes) -> None:
        self._bytes = np.frombuffer(content, dtype=np.uint8)
        if not content.endswith(b"\n"):
            raise ValueError("the last line is not complete")
        kind = np.int32 if len(content) < 2**31 else np.int64
        self._ends = np.flatnonzero(self._bytes == ord("\n")).astype(kind)  # [N]
        if self._lengths().min() < 1:
            raise ValueError("a token is empty")
        hashes = self._hashes()
        self._by_hash = np.argsort(hashes).astype(np.int32)  # [N]
        self._hashes_sorted = hashes[self._by_hash]

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, item_id: int) -> str:
        """Token of an item, 1 .. N."""
        return self._line(item_id - 1).decode()

    def find(self, token: str) -> int:
        """Id of a token, 0 if there is no such item."""
        raw = token.encode(errors="surrogatepass")
        wanted = _hash(raw)
        first = int(np.searchsorted(self._hashes_sorted, wanted))
        for line in self._by_hash[first : int(np.searchsorted(self._hashes_sorted, wanted, side="right"))]:
            if self._line(int(line)) == raw:
                return int(line) + 1
        return 0

    def find_all(self, tokens: Sequence[str]) -> list[int]:
        """`find` for each token."""
        return [self.find(token) for token in tokens]

    def _line(self, line: int) -> bytes:
        start = int(self._ends[line - 1]) + 1 if line else 0
        return self._bytes[start : int(self._ends[line])].tobytes()

    def _starts(self) -> np.ndarray:
        starts = np.zeros_like(self._ends)
        starts[1:] = self._ends[:-1] + 1
        return starts

    def _lengths(self) -> np.ndarray:
        return self._ends - self._starts()

    def _hashes(self) -> np.ndarray:
        """`_hash` of every token, one byte position at a time: uint32 [N]."""
        position, hashes = self._starts(), np.zeros(len(self), dtype=np.uint32)
        active = np.arange(len(self))
        while len(active):
            hashes[active] = (hashes[active] ^ self._bytes[position[active]]) * _MULTIPLIER
            position[active] += 1
            active = active[position[active] < self._ends[active]]
        return hashes


def _hash(raw: bytes) -> np.uint32:
    value = 0
    for byte in raw:
        value = (value ^ byte) * int(_MULTIPLIER) & 0xFFFFFFFF
    return np.uint32(value)
