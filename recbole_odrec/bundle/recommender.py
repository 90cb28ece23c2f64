"""Recommends from a bundle: ONNX Runtime and NumPy, neither PyTorch nor RecBole.

Dimension key: B sessions, L positions, K the bundle's `topk`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import numpy as np

from recbole_odrec.bundle.answers import Recommendation, Recommendations, without
from recbole_odrec.bundle.histories import check_options, checked_ids, checked_tokens, given_path, is_list
from recbole_odrec.bundle.manifest import ITEMS, MANIFEST, MODEL, TITLES, BundleError, read_manifest, verify_file
from recbole_odrec.bundle.onnx_session import (
    UserFeed,
    encode,
    no_user,
    open_session,
    return_free_memory,
    run_model,
)
from recbole_odrec.bundle.tokens import Lines, TokenTable, read_table
from recbole_odrec.bundle.user_state import UserState, are_weights

# Sessions are scored together as long as their scores stay within this many numbers (64 MB).
_SCORES_AT_ONCE = 16_000_000
_LOOKED_UP_AT_ONCE = 4096  # tokens


class Recommender:
    """A verified bundle, ready to recommend.

    Checks, in this order: manifest, format version, size and SHA-256 of each file, the model itself; item tokens and
    titles when first needed; every answer of the model. These find accidents. They are no protection from a model made
    to do harm: ONNX Runtime runs what it is given, so load bundles from people you trust.

    Args:
        folder: a bundle written by `recbole-odrec export`.
        threads: CPU threads of one call.

    Attributes:
        manifest: content of `manifest.json`.

    Raises:
        BundleError: the folder is no bundle, of another version, or not as it was exported. (A `UserError`, which is
            a `ValueError`: one line, from every method and whatever it was given.)

    Example:
        >>> recommender = Recommender("my_bundle")
        >>> for item, score, title in recommender.recommend(["50", "172", "1"], k=5):
        ...     print(item, title)
    """

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        self.folder, self._threads = given_path(folder, "folder", "a bundle"), threads
        self.manifest = read_manifest(self.folder)
        self.n_items: int = self.manifest["n_items"]
        self.max_length: int = self.manifest["max_length"]
        self.topk: int = self.manifest["topk"]
        for name in sorted(self.manifest["files"]):
            verify_file(self.folder, self.manifest, name)
        weights = self.manifest.get("user_state")
        if weights is not None and not are_weights(weights):
            raise BundleError(f"{self.folder / MANIFEST}: `user_state` is {weights!r:.60}; export the bundle again.")
        self._user_size: int = weights["size"] if weights else 0
        self._session = open_session(self.folder / MODEL, threads, self._user_size)
        return_free_memory()
        self._withdrawn = np.array(self.manifest.get("withdrawn", ()), np.int64)

    @cached_property
    def tokens(self) -> TokenTable:
        """Item tokens; made when first needed, so that who works with ids never pays for it."""
        return read_table(TokenTable, self.folder, self.manifest, ITEMS)

    @cached_property
    def _titles(self) -> Lines | None:
        has_titles = TITLES in self.manifest["files"]
        return read_table(Lines, self.folder, self.manifest, TITLES) if has_titles else None

    def update(self, delta: str | Path) -> None:
        """Makes the bundle's folder the one that a delta leads to, and answers from it from now on.

        Delta, bundle and every file that comes out are checked first, and the new model is loaded; then the folder is
        replaced at once. Where anything fails, the old bundle is there and answers. The delta that led to this bundle
        changes nothing. Not for use while another thread is asking, nor by two processes at a time.

        Args:
            delta: a file that `recbole-odrec delta` has written.

        Raises:
            BundleError: it is damaged, or leads from another bundle.
            UserError: the new bundle cannot be written beside the old one (no room, no permission).
        """

        from recbole_odrec.bundle.update import update_bundle  # late: who never updates loads less

        def checked(folder: Path) -> Recommender:
            new = Recommender(folder, self._threads)
            _ = new.tokens, new._titles  # what is read when first needed must be right too
            return new

        new = update_bundle(self.folder, given_path(delta, "delta", "a delta"), checked)
        new.folder = self.folder
        vars(self).clear()
        vars(self).update(vars(new))

    def state(self, content: bytes | None = None) -> UserState:
        """What is known of a user, to be kept by whoever asks; nothing yet, or what `UserState.to_bytes` gave before.

        Raises:
            BundleError: not such content, or a bundle that was exported without `--user_state`.
        """
        if not self._user_size:
            raise BundleError(f"{self.folder} takes no state of a user: export it with --user_state.")
        return UserState(lambda: self.manifest, self._encode, content)

    def recommend(
        self, history: Sequence[str | int], k: int = 20, exclude_seen: bool = False, state: UserState | None = None
    ) -> Recommendations:
        """The k best next items of one session.

        Args:
            history: raw item tokens, oldest first; of a longer one the most recent `max_length` known items count.
            k: 1 to the bundle's `topk`.
            exclude_seen: leave the items of the history out (those beyond `max_length` too).
            state: what is known of the user from earlier sessions; not changed.

        Returns:
            Best first; `.unknown` names skipped tokens. Shorter than k only where so many items are left out.

        Raises:
            BundleError: a history without any known item (there is nothing to go by: show your most popular items),
                or arguments of another kind.
        """
        return self.recommend_batch([history], k, exclude_seen, state)[0]

    def recommend_batch(
        self,
        histories: Sequence[Sequence[str | int]],
        k: int = 20,
        exclude_seen: bool = False,
        state: UserState | None = None,
    ) -> list[Recommendations]:
        """`recommend` for many sessions, with a state of one user; an error names the session it is about."""
        if not is_list(histories):
            raise BundleError(f"histories={histories!r:.60}, expected a list of histories.")
        check_options(k, exclude_seen, self.topk)
        user = self._feed(state)
        rows, unread, unknown = [], [], []
        for number, history in enumerate(histories):
            words, ids = self._known(history, number)
            rows.append(np.array([item for item in ids if item], np.int64))
            unread.append(set(words[: -len(ids)]) if exclude_seen and len(ids) < len(words) else ())
            unknown.append([word for word, item in zip(words[-len(ids) :], ids, strict=True) if not item])
        ids, scores = self._answers(rows, exclude_seen, user)
        return [
            Recommendations(islice(self._named(row, row_scores, left_out), k), skipped)
            for row, row_scores, left_out, skipped in zip(ids, scores, unread, unknown, strict=True)
        ]

    def recommend_ids(
        self, histories: Sequence[Sequence[int]], k: int = 20, exclude_seen: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same without tokens: item ids are lines of `items.txt`, counted from 1.

        Returns:
            ids int64 [B, k] and scores float32 [B, k], best first; id 0 with score -inf where the catalogue is too
            small. Equal scores come in the order of ids.
        """
        check_options(k, exclude_seen, self.topk)
        if not is_list(histories):
            raise BundleError(f"histories={histories!r:.60}, expected a list of histories.")
        rows = [checked_ids(history, number, self.n_items) for number, history in enumerate(histories)]
        ids, scores = self._answers([row[-self.max_length :] for row in rows], exclude_seen)
        for number, row in enumerate(rows if exclude_seen else []):
            # What lies beyond the maximum never reached the model, yet must not be recommended as unseen.
            if len(row) > self.max_length:
                seen = row[: -self.max_length]
                ids[number], scores[number] = without(seen, ids[number], scores[number])
        return ids[:, :k], scores[:, :k]

    # ------------------------------------------------------------------ the model

    def _feed(self, state: UserState | None) -> UserFeed:
        if state is None:
            return no_user(self._user_size)
        if not isinstance(state, UserState) or not self._user_size:
            raise BundleError(f"state={state!r:.60}, expected one of `Recommender.state` of this bundle.")
        return state.feed(self.manifest, self.tokens.find_all)

    def _encode(self, session: Sequence[str | int]) -> tuple[list[str], np.ndarray]:
        """Known tokens of a session and its representation [D]."""
        words, ids = self._known(session)
        item_seq = np.array([[item for item in ids if item]], np.int64)
        known = [word for word, item in zip(words, self.tokens.find_all(words), strict=True) if item]
        return known, encode(self._session, item_seq, self._user_size)[0]

    def _known(self, history: Sequence[str | int], number: int = 0) -> tuple[list[str], list[int]]:
        """Tokens of a history and the ids of the last of them; an error where none is known."""
        words = checked_tokens(history, number)
        ids = self._look_up(words)
        if not any(ids):
            what = f"none of its {len(words)} items is known" if words else "it is empty"
            raise BundleError(f"history {number}: {what}, so there is nothing to go by; show popular items instead.")
        return words, ids

    def _answers(
        self, rows: list[np.ndarray], exclude_seen: bool, user: UserFeed | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids and scores [B, K] of sessions of at most `max_length` ids, as many at once as fit into memory."""
        ids = np.zeros((len(rows), self.topk), np.int64)
        scores = np.zeros((len(rows), self.topk), np.float32)
        at_once = max(1, _SCORES_AT_ONCE // max(self.n_items, *map(len, rows), 1))
        for start in range(0, len(rows), at_once):
            some = rows[start : start + at_once]
            item_seq = np.zeros((len(some), max(map(len, some))), np.int64)  # [B, L], padded on the right
            for padded, row in zip(item_seq, some, strict=True):
                padded[: len(row)] = row
            part = slice(start, start + len(some))
            user = no_user(self._user_size) if user is None else user
            answer = run_model(self._session, item_seq, exclude_seen, self.n_items, self.topk, user)
            ids[part], scores[part] = without(self._withdrawn, *answer) if len(self._withdrawn) else answer
        return ids, scores

    def _look_up(self, words: list[str]) -> list[int]:
        """Ids of the last words, 0 for unknown ones: as many words as hold `max_length` known items, or all."""
        blocks: list[list[int]] = []
        n_known, end = 0, len(words)
        while end and n_known < self.max_length:
            start = max(0, end - _LOOKED_UP_AT_ONCE)
            blocks.append(self.tokens.find_all(words[start:end]))
            n_known, end = n_known + len(blocks[-1]) - blocks[-1].count(0), start
        ids = list(chain.from_iterable(reversed(blocks)))
        known = [place for place, item in enumerate(ids) if item]
        return ids[known[-self.max_length] :] if len(known) > self.max_length else ids

    def _named(self, ids: np.ndarray, scores: np.ndarray, left_out: Collection[str]) -> Iterator[Recommendation]:
        for item, score in zip(ids.tolist(), scores.tolist(), strict=True):
            if item and (token := self.tokens[item]) not in left_out:
                title = self._titles[item] if self._titles else ""
                yield Recommendation(token, score, title or None)
