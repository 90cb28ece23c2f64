"""Writes a Parquet folder of sessions: parts of bounded size, the items, the manifest; all of it or nothing.

Dimension key: S sessions of a chunk, T of their items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.data.parquet_manifest import ITEMS, MANIFEST, SPLITS, SUFFIX, VERSION, parquet_module
from recbole_odrec.data.session_file import N_GIVEN
from recbole_odrec.errors import UserError
from recbole_odrec.files import cannot_write, folder_beside, write_json

GROUP_ITEMS = 1 << 17  # of a row group: half a megabyte, so that a buffer is filled out of many places
PART_ITEMS = 1 << 24  # of a file
_OPTIONS: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
_COUNTED = ("sessions", "interactions", "cases")  # of a row group, in this order


class ParquetWriter:
    """Sessions in the order in which they are added, split by split.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._arrow, self._parquet = parquet_module("pyarrow"), parquet_module()
        self._folder = folder
        self._parts: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        self._counts = {split: np.zeros(0, np.int64) for split in SPLITS}
        self._hash = hashlib.blake2b(digest_size=16)
        self._chunks: list[tuple[np.ndarray, ...]] = []
        self._n_waiting, self._n_in_part = 0, 0
        self._file: Any = None
        self._split = ""

    def add(self, split: str, tokens: np.ndarray, lengths: np.ndarray, n_given: np.ndarray | None = None) -> None:
        """Whole sessions.

        Args:
            split: train, then valid, then test.
            tokens: int32 [T], ids of items from 1, one session after the other.
            lengths: items of each session, int32 [S].
            n_given: items of each that only serve as history, int32 [S]; all sessions of a split have it, or none.
        """
        if split != self._split:
            self._end_part()
            self._split = split
        ends = np.cumsum(lengths, dtype=np.int64)
        first = 0
        while first < len(lengths):
            n_before = int(ends[first - 1]) if first else 0
            last = min(int(np.searchsorted(ends, n_before + GROUP_ITEMS - self._n_waiting)) + 1, len(lengths))
            rows, items = slice(first, last), slice(n_before, int(ends[last - 1]))
            self._chunks.append((tokens[items], lengths[rows], *(() if n_given is None else (n_given[rows],))))
            self._n_waiting += items.stop - items.start
            if self._n_waiting >= GROUP_ITEMS:
                self._end_group()
            first = last

    def _end_group(self) -> None:
        if not self._chunks:
            return
        arrow = self._arrow
        tokens, lengths, *given = (
            np.concatenate(arrays).astype(np.int32) for arrays in zip(*self._chunks, strict=True)
        )
        self._chunks, self._n_waiting = [], 0
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)]).astype(np.int32)
        columns = {"items": arrow.ListArray.from_arrays(arrow.array(starts), arrow.array(tokens))}
        if given:
            columns[N_GIVEN] = arrow.array(given[0])
        table = arrow.table(columns)
        if self._file is None:
            parts = self._parts[self._split]
            name = f"{self._split}-{len(parts):05d}{SUFFIX}"
            parts.append({"file": name, "row_groups": []})
            self._file = self._parquet.ParquetWriter(self._folder / name, table.schema, **_OPTIONS)
        self._file.write_table(table, row_group_size=len(lengths))
        n_given = given[0].sum(dtype=np.int64) if given else len(lengths)
        self._parts[self._split][-1]["row_groups"].append([len(lengths), len(tokens), len(tokens) - int(n_given)])
        for values in (tokens, lengths, *given):
            self._hash.update(values.tobytes())
        self._count(tokens, starts, given)
        self._n_in_part += len(tokens)
        if self._n_in_part >= PART_ITEMS:
            self._end_part()

    def _count(self, tokens: np.ndarray, starts: np.ndarray, given: Sequence[np.ndarray]) -> None:
        """As `head_tail.training_counts`: what is given as mere history does not count, a first item does."""
        if given:
            lengths, n_history = np.diff(starts), np.where(given[0] == 1, 0, given[0])
            tokens = tokens[np.arange(len(tokens)) - np.repeat(starts[:-1], lengths) >= np.repeat(n_history, lengths)]
        found, known = np.bincount(tokens), self._counts[self._split]
        counts = np.zeros(max(len(found), len(known)), np.int64)
        counts[: len(known)] += known
        counts[: len(found)] += found
        self._counts[self._split] = counts

    def _end_part(self) -> None:
        self._end_group()
        if self._file is not None:
            self._file.close()
        self._file, self._n_in_part = None, 0

    def finish(self, items: Sequence[str]) -> None:
        """Writes the items, in order of their ids from 1, and the manifest."""
        self._end_part()
        arrow, parquet = self._arrow, self._parquet
        columns: dict[str, Any] = {"item_id": arrow.array(items, arrow.string())}
        for split in SPLITS[:2]:
            counts = np.zeros(len(items) + 1, np.int64)
            counts[: len(self._counts[split])] = self._counts[split]
            columns[split] = arrow.array(counts[1:])
        parquet.write_table(arrow.table(columns), self._folder / ITEMS, **_OPTIONS)
        for item in items:
            self._hash.update(item.encode() + b"\0")
        for part in (part for parts in self._parts.values() for part in parts):
            part["bytes"] = (self._folder / part["file"]).stat().st_size
        manifest = {
            "version": VERSION,
            "content": self._hash.hexdigest(),
            "items": {"count": len(items), "bytes": (self._folder / ITEMS).stat().st_size},
            **{name: {split: self._total(split, at) for split in SPLITS} for at, name in enumerate(_COUNTED)},
            "splits": self._parts,
        }
        write_json(self._folder / MANIFEST, manifest)

    def _total(self, split: str, at: int) -> int:
        return sum(group[at] for part in self._parts[split] for group in part["row_groups"])


@contextmanager
def parquet_written(folder: Path) -> Iterator[ParquetWriter]:
    """A writer whose files become `folder` when all is written, in place of an older conversion; or nothing does.

    Raises:
        UserError: a folder of something else is there, or the system refuses to write.
    """
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} exists and is no conversion of ours (no {MANIFEST}): move it away.")
    try:
        with folder_beside(folder) as work:
            new, old = work / "new", work / "old"
            new.mkdir()
            yield ParquetWriter(new)
            if folder.exists():
                folder.rename(old)
            try:
                new.rename(folder)
            except BaseException:
                if old.exists():
                    old.rename(folder)
                raise
    except OSError as error:
        raise cannot_write(folder, error) from error
