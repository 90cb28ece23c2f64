"""Recommends from a bundle: ONNX Runtime and NumPy, neither PyTorch nor RecBole.

Dimension key: B sessions, L positions, K the bundle's `topk`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_odrec.bundle.manifest import ITEMS, MODEL, TITLES, BundleError, read_file, read_manifest, verify_file
from recbole_odrec.bundle.tokens import TokenTable

# Sessions are scored together as long as their scores stay within this many numbers (64 MB).
_SCORES_AT_ONCE = 16_000_000


class Recommendation(NamedTuple):
    """One recommended item.

    Attributes:
        item: its raw token.
        score: inner product of session and item; comparable within one answer.
        title: from the data set's item file, None where there is none.
    """

    item: str
    score: float
    title: str | None


class Recommendations(list[Recommendation]):
    """An answer, best item first.

    Attributes:
        unknown: tokens of the history that the model has never seen; they were skipped.
    """

    def __init__(self, items: Iterable[Recommendation], unknown: Sequence[str]) -> None:
        super().__init__(items)
        self.unknown = tuple(unknown)


class Recommender:
    """A verified bundle, ready to recommend.

    Checks, in this order: manifest, format version, size and SHA-256 of each file, the model itself.

    Args:
        folder: a bundle written by `recbole-odrec export`.
        threads: CPU threads of one call.

    Attributes:
        manifest: content of `manifest.json`.

    Raises:
        BundleError: the folder is no bundle, of another version, or not as it was exported.

    Example:
        >>> recommender = Recommender("my_bundle")
        >>> for item, score, title in recommender.recommend(["50", "172", "1"], k=5):
        ...     print(item, title)
    """

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.n_items: int = self.manifest["n_items"]
        self.max_length: int = self.manifest["max_length"]
        self.topk: int = self.manifest["topk"]
        for name in sorted({*self.manifest["files"], MODEL, ITEMS}):
            verify_file(self.folder, self.manifest, name)
        self._session = open_session(self.folder / MODEL, threads)
        _return_free_memory()

    @cached_property
    def tokens(self) -> TokenTable:
        """Item tokens; made when first needed, so that who works with ids never pays for it."""
        try:
            table = TokenTable(read_file(self.folder, self.manifest, ITEMS))
        except ValueError as error:
            raise BundleError(f"{self.folder / ITEMS}: {error}; export the bundle again.") from error
        if len(table) != self.n_items:
            raise BundleError(f"{self.folder / ITEMS}: {len(table)} items, the manifest says {self.n_items}.")
        return table

    @cached_property
    def _titles(self) -> list[str]:
        if TITLES not in self.manifest["files"]:
            return []
        return read_file(self.folder, self.manifest, TITLES).decode(errors="replace").split("\n")

    def recommend(self, history: Sequence[str | int], k: int = 20, exclude_seen: bool = False) -> Recommendations:
        """The k best next items of one session.

        Args:
            history: raw item tokens, oldest first; of a longer one the most recent `max_length` known items count.
            k: 1 to the bundle's `topk`.
            exclude_seen: leave the items of the history out (those beyond `max_length` too).

        Returns:
            Best first; `.unknown` names skipped tokens. Shorter than k only where so many items are left out.

        Raises:
            BundleError: a history without any known item (there is nothing to go by: show your most popular items),
                or arguments of another kind.
        """
        return self.recommend_batch([history], k, exclude_seen)[0]

    def recommend_batch(
        self, histories: Sequence[Sequence[str | int]], k: int = 20, exclude_seen: bool = False
    ) -> list[Recommendations]:
        """`recommend` for many sessions; an error names the session it is about."""
        if isinstance(histories, (str, bytes)) or not isinstance(histories, (Sequence, np.ndarray)):
            raise BundleError(f"histories={histories!r:.60}, expected a list of histories.")
        self._check_k(k)
        known, unknown = [], []
        for number, history in enumerate(histories):
            words = _checked_tokens(history, number)
            ids = self.tokens.find_all(words)
            known.append([item for item in ids if item])
            unknown.append([word for word, item in zip(words, ids, strict=True) if not item])
            if not known[-1]:
                what = f"none of its {len(words)} items is known" if words else "it is empty"
                raise BundleError(
                    f"history {number}: {what}, so there is nothing to go by; show popular items instead."
                )
        ids, scores = self.recommend_ids(known, k, exclude_seen)
        return [
            Recommendations(self._named(row, row_scores), skipped)
            for row, row_scores, skipped in zip(ids, scores, unknown, strict=True)
        ]

    def recommend_ids(
        self, histories: Sequence[Sequence[int]], k: int = 20, exclude_seen: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same without tokens: item ids are lines of `items.txt`, counted from 1.

        Returns:
            ids int64 [B, k] and scores float32 [B, k], best first; id 0 with score -inf where the catalogue is too
            small. Equal scores come in the order of ids.
        """
        self._check_k(k)
        if not isinstance(exclude_seen, (bool, np.bool_)):
            raise BundleError(f"exclude_seen={exclude_seen!r}, expected True or False.")
        rows = []
        for number, history in enumerate(histories):
            row = np.asarray(history)
            if row.ndim != 1 or not len(row) or row.dtype.kind not in "iu":
                raise BundleError(f"history {number}: expected a list of at least one item id, a whole number.")
            if row.min() < 1 or row.max() > self.n_items:
                raise BundleError(f"history {number}: item ids go from 1 to {self.n_items}.")
            rows.append(row.astype(np.int64))
        if not rows:
            return np.zeros((0, k), np.int64), np.zeros((0, k), np.float32)
        at_once = max(1, _SCORES_AT_ONCE // self.n_items)
        parts = [self._run(rows[start : start + at_once], exclude_seen) for start in range(0, len(rows), at_once)]
        ids, scores = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return ids[:, :k], scores[:, :k]

    # ------------------------------------------------------------------ the model

    def _run(self, rows: list[np.ndarray], exclude_seen: bool) -> tuple[np.ndarray, np.ndarray]:
        """Ids and scores [B, K] of sessions that fit into memory together."""
        lengths = [min(len(row), self.max_length) for row in rows]
        item_seq = np.zeros((len(rows), max(lengths)), np.int64)  # [B, L], padded on the right
        for padded, row, length in zip(item_seq, rows, lengths, strict=True):
            padded[:length] = row[-length:]
        feed = {"item_seq": item_seq, "exclude_seen": np.asarray(exclude_seen)}
        ids, scores = self._session.run(["item_ids", "scores"], feed)
        # As unsigned numbers, negative ids are too large as well.
        if np.isnan(scores).any() or (ids.view(np.uint64) > self.n_items).any():
            raise BundleError(f"{self.folder / MODEL} gives scores or items that cannot be; export it again.")
        if exclude_seen:
            for number, row in enumerate(rows):
                # What lies beyond the maximum never reached the model, yet must not be recommended as unseen.
                if len(row) > self.max_length:
                    seen = set(row[: -self.max_length].tolist())
                    ids[number], scores[number] = _without(seen, ids[number], scores[number])
        return ids, scores

    def _check_k(self, k: int) -> None:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= self.topk:
            raise BundleError(f"k={k!r}, expected 1 to {self.topk}; for more, export with a larger --topk.")

    def _named(self, ids: np.ndarray, scores: np.ndarray) -> list[Recommendation]:
        return [
            Recommendation(self.tokens[item], float(score), self._title(item))
            for item, score in zip(ids.tolist(), scores, strict=True)
            if item
        ]

    def _title(self, item: int) -> str | None:
        return (self._titles[item - 1] or None) if item <= len(self._titles) else None


def _without(seen: set[int], ids: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves seen items to the end, as places that no item fills."""
    is_kept = np.array([item not in seen for item in ids.tolist()])
    order = np.argsort(~is_kept, kind="stable")
    is_kept = is_kept[order]
    return ids[order] * is_kept, np.where(is_kept, scores[order], -np.inf)


def _checked_tokens(history: Any, number: int) -> list[str]:
    if isinstance(history, (str, bytes)) or not isinstance(history, (Sequence, np.ndarray)):
        raise BundleError(f"history {number}: {history!r:.60}, expected a list of item tokens.")
    words = []
    for token in history:
        if isinstance(token, bool) or not isinstance(token, (str, int, np.integer)):
            raise BundleError(f"history {number}: item {token!r:.60}, expected a token such as '50'.")
        words.append(str(token))
    return words


def open_session(model: Path | bytes, threads: int = 1) -> Any:
    """ONNX Runtime's session for a bundle's model.

    Args:
        model: file or content.
        threads: CPU threads of one call; 0 for all.

    Raises:
        BundleError: ONNX Runtime cannot load it, or its inputs and outputs are not a bundle's.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what goes wrong comes as an exception
    path = "the model" if isinstance(model, bytes) else str(model)
    try:
        content = model if isinstance(model, bytes) else str(model)
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no public class
        reason = " ".join(str(error).split())[:120]
        raise BundleError(f"{path} cannot be loaded by ONNX Runtime ({reason}).") from error
    names = {value.name for value in [*session.get_inputs(), *session.get_overridable_initializers()]}
    outputs = [value.name for value in session.get_outputs()]
    if names != {"item_seq", "exclude_seen"} or outputs != ["item_ids", "scores"]:
        raise BundleError(f"{path} has other inputs or outputs than a bundle's model.")
    return session


def _return_free_memory() -> None:
    """Gives back what loading took and no longer needs: GNU's allocator would keep it, others have no such call."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
