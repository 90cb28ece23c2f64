"""Sessions out of a Parquet folder: all of them into memory, or the training part block by block.

Dimension key: S sessions, N items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from recbole.config import Config

from recbole_odrec.data.case_runs import SessionRuns
from recbole_odrec.data.parquet_manifest import (
    ITEMS,
    MANIFEST,
    SPLITS,
    Manifest,
    RowGroup,
    parquet_module,
    read_manifest,
)
from recbole_odrec.data.session_file import N_GIVEN, SessionPart, Sessions, make_part
from recbole_odrec.data.table_reader import PADDING, one_line
from recbole_odrec.data.window_plan import SessionBlock
from recbole_odrec.errors import UserError

SHUFFLE_BUFFER = 20_000_000  # cases: what our models have by default, for RecBole's
_MOST = 2**31 - 1  # items in one block, whose positions are int32


class StreamedPart(NamedTuple):
    """Training sessions that stay in their files.

    Attributes:
        manifest: the folder.
        splits: which of its splits are trained on.
        most_cases: of a block, where a single row group has not more.
        counts_of: of each split, how often each item occurs in it, int64 [N].
    """

    manifest: Manifest
    splits: tuple[str, ...]
    most_cases: int
    counts_of: dict[str, np.ndarray]

    @property
    def groups(self) -> list[RowGroup]:
        """All row groups."""
        return [group for split in self.splits for group in self.manifest.groups[split]]

    @property
    def n_sessions(self) -> int:
        """Sessions of all row groups."""
        return sum(group.n_sessions for group in self.groups)

    @property
    def n_cases(self) -> int:
        """Prefixes with a next item."""
        return sum(group.n_cases for group in self.groups)

    @property
    def counts(self) -> np.ndarray:
        """How often each item occurs in all splits, int64 [N]."""
        return np.sum([self.counts_of[split] for split in self.splits], axis=0)

    def n_cases_of(self, numbers: Sequence[int]) -> int:
        """Prefixes with a next item in some row groups."""
        groups = self.groups
        return sum(groups[number].n_cases for number in numbers)

    def dealt(self, generator: torch.Generator | None, n_hands: int = 1) -> list[list[int]]:
        """Row groups in an order drawn from the generator, or as they stand; the next one to who has fewest cases.

        Args:
            n_hands: no more than there are row groups: so each gets one.
        """
        groups = self.groups
        order = range(len(groups)) if generator is None else torch.randperm(len(groups), generator=generator).tolist()
        hands: list[list[int]] = [[] for _ in range(n_hands)]
        n_cases = [0] * n_hands
        for number in order:
            hand = n_cases.index(min(n_cases))
            hands[hand].append(number)
            n_cases[hand] += groups[number].n_cases
        return hands

    def blocks(self, numbers: Sequence[int], n_buffers: int = 1) -> Iterator[SessionBlock]:
        """Row groups in this order, so many at a time as the buffer holds, or one of several that share its size."""
        groups, most_cases = self.groups, self.most_cases // n_buffers
        block: list[int] = []
        n_cases = 0
        for number in numbers:
            if block and n_cases + groups[number].n_cases > most_cases:
                yield self._block(block)
                block, n_cases = [], 0
            block.append(number)
            n_cases += groups[number].n_cases
        yield self._block(block)

    def _block(self, numbers: list[int]) -> SessionBlock:
        groups = self.groups
        tokens, part = _read([groups[number] for number in sorted(numbers)], len(self.counts_of["train"]))
        return SessionBlock(tokens, SessionRuns(part))


def read_parquet(config: Config, folder: Path) -> Sessions:
    """The data set of a folder: as `read_sessions`, where training has no more cases than `shuffle_buffer`.

    Otherwise `tokens` holds validation and test sessions alone, and the first part is a `StreamedPart`.

    Raises:
        UserError: what is missing or damaged, or more in memory than can be counted.
    """
    manifest = read_manifest(folder)
    item_ids, counts = _read_items(manifest)
    trained = SPLITS[:2] if config["refit_epochs"] else SPLITS[:1]
    streamed = StreamedPart(manifest, trained, config["shuffle_buffer"] or SHUFFLE_BUFFER, counts)
    is_streamed = streamed.n_cases > streamed.most_cases
    held = SPLITS[1:] if is_streamed else SPLITS
    if sum(group.n_items for split in held for group in manifest.groups[split]) > _MOST:
        raise UserError(f"{folder}: more than {_MOST:,} items in memory, which is the most: lower shuffle_buffer.")
    tokens: list[np.ndarray] = []
    parts: list[Any] = [streamed] if is_streamed else []
    n_before = 0
    for split in held:
        read, part = _read(manifest.groups[split], len(item_ids))
        parts.append(SessionPart(part.starts + np.int32(n_before), part.given))
        tokens.append(read)
        n_before += len(read)
    return Sessions(np.concatenate(tokens), parts, item_ids)


def _read_items(manifest: Manifest) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Id of each item, padding first, and how often it occurs in each split that may be trained on, int64 [N]."""
    path = manifest.folder / ITEMS
    columns = {"item_id": "string", **dict.fromkeys(SPLITS[:2], "int64")}
    table = _read_columns(path, columns, None)
    names = table["item_id"].to_pylist()
    ids = {PADDING: 0, **{name: number for number, name in enumerate(names, start=1)}}
    if len(names) != manifest.n_items or len(ids) != manifest.n_items + 1:
        raise UserError(f"{path} lists {len(ids) - 1:,} items, expected {manifest.n_items:,}: convert the data again.")
    return ids, {split: np.concatenate([[0], table[split].to_numpy()]) for split in SPLITS[:2]}


def _read(groups: Sequence[RowGroup], n_items: int) -> tuple[np.ndarray, SessionPart]:
    """Sessions of row groups, one after the other: int32 item ids, and where the sessions lie."""
    tokens, lengths, given = [], [], []
    for path, of_path in groupby(groups, key=lambda group: group.path):
        of_part = list(of_path)
        table = _read_columns(path, {"items": "list<int32>", N_GIVEN: "int32"}, of_part)
        lists = table["items"].combine_chunks()
        tokens.append(lists.flatten().to_numpy())
        lengths.append(np.diff(lists.offsets.to_numpy()))
        given.append(table[N_GIVEN].to_numpy() if N_GIVEN in table.column_names else np.ones(len(table), np.int32))
        _check_part(path, of_part, tokens[-1], lengths[-1], given[-1], n_items)
    starts = np.concatenate([[0], *lengths])
    return np.concatenate(tokens), make_part(np.cumsum(starts, dtype=np.int32), np.concatenate(given))


def _check_part(
    path: Path, groups: Sequence[RowGroup], tokens: np.ndarray, lengths: np.ndarray, given: np.ndarray, n_items: int
) -> None:
    expected = tuple(map(sum, zip(*((g.n_sessions, g.n_items, g.n_cases) for g in groups), strict=True)))
    found = len(lengths), len(tokens), len(tokens) - int(given.sum(dtype=np.int64))
    if found != expected:
        raise UserError(
            f"{path}: {' / '.join(f'{n:,}' for n in found)} sessions, items and cases, and {MANIFEST} lists "
            f"{' / '.join(f'{n:,}' for n in expected)}: convert the data again."
        )
    if tokens.min() < 1 or tokens.max() >= n_items:
        raise UserError(f"{path}: item ids {tokens.min()} .. {tokens.max()}, expected 1 .. {n_items - 1}.")
    if given.min() < 1 or (lengths <= given).any():
        raise UserError(f"{path}: a session with no item behind its first {N_GIVEN}, expected one at least.")


def _read_columns(path: Path, kinds: Mapping[str, str], groups: Sequence[RowGroup] | None) -> Any:
    """A table of these columns, of the types that they must have; `n_given` may be absent.

    Raises:
        UserError: a file that is damaged or has other columns, or a value is missing in them.
    """
    parquet = parquet_module()
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            found = {field.name: str(field.type) for field in file.schema_arrow}
            names = [name for name in kinds if name in found or name != N_GIVEN]
            for name in names:
                kind = found.get(name, "nothing").replace("item: ", "").replace("element: ", "")
                if kind != kinds[name]:
                    raise UserError(f"{path}: column `{name}` is {kind}, expected {kinds[name]}: convert again.")
            numbers = range(file.num_row_groups) if groups is None else [group.number for group in groups]
            table = file.read_row_groups(list(numbers), columns=names, use_threads=False)
            table.validate(full=True)
    except UserError:
        raise
    except Exception as error:  # a damaged file raises whatever its bytes happen to mean
        raise UserError(f"{path} cannot be read ({one_line(error)[:160]}): convert the data again.") from error
    for name in names:
        column = table[name].combine_chunks()
        if column.null_count or getattr(column, "values", column).null_count:
            raise UserError(f"{path}: a value of `{name}` is missing: convert the data again.")
    return table
