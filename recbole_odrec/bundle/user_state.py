"""What a device keeps of its user between sessions: at most 4 KB of JSON, made, read and erased there alone.

The score of item i in the present session is

    product of session and item  +  vector_weight * (u . e_i)  +  seen_weight * log2(1 + n_i)

where u is the mean of the representations of earlier sessions, each `decay` times the weight of the one after it, and
n_i says how often the user has had the item in them. The three numbers are learnt by `export --user_state`.

Dimension key: D embedding.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.bundle.manifest import MODEL, BundleError, open_regular, parse_json
from recbole_odrec.bundle.onnx_session import UserFeed, no_user

FORMAT, FORMAT_VERSION = "recbole_odrec user", 1
MOST_BYTES = 4096
LARGEST_SIZE = 512  # D: the vector takes at most two thirds of the bytes
_KEYS = ("format", "version", "model", "sessions", "weight", "vector", "seen")

Manifest = Callable[[], Mapping[str, Any]]  # of the bundle as it is now
Encode = Callable[[Sequence[str | int]], tuple[list[str], np.ndarray]]  # session -> its known tokens, representation


class UserState:
    """What is known of one user; of `Recommender.state`.

    Attributes:
        sessions: how many have been added.
        seen: how often the user has had each item, in sessions; what was had last stands last.
    """

    def __init__(self, manifest: Manifest, encode: Encode, content: bytes | None = None) -> None:
        self._manifest, self._encode = manifest, encode
        self.clear()
        if content is not None:
            try:
                self._read(content)
            except (ValueError, RecursionError) as error:
                raise BundleError(
                    f"this is not what a device keeps of a user ({error}); delete it to begin anew."
                ) from error
            self._cut()  # a model of more dimensions leaves less room for what was seen

    def clear(self) -> None:
        """Forgets everything."""
        self.sessions, self.seen = 0, dict[str, int]()
        self._forget_vector()

    def add(self, session: Sequence[str | int]) -> None:
        """Remembers a session that is over; what no longer fits is forgotten, what was had least and longest ago first.

        Args:
            session: item tokens, oldest first.

        Raises:
            BundleError: as `Recommender.recommend`; nothing has changed then.
        """
        tokens, vector = self._encode(session)
        if self._model != space_of(self._manifest()):  # the bundle has been updated
            self._forget_vector()
        decay = self._manifest()["user_state"]["decay"]
        self._total = np.float32(decay) * self._total + vector
        self._weight = decay * self._weight + 1
        self.sessions += 1
        for token in dict.fromkeys(tokens):
            self.seen[token] = self.seen.pop(token, 0) + 1
        self._cut()

    def _cut(self) -> None:
        too_many = len(self.to_bytes()) - MOST_BYTES
        for token in sorted(self.seen, key=self.seen.__getitem__):  # of equal ones the first
            if too_many <= 0:
                break
            too_many -= len(_json([token, self.seen.pop(token)])) + 1  # its comma

    def to_bytes(self) -> bytes:
        """JSON in UTF-8, at most 4,096 bytes."""
        values = (
            *(FORMAT, FORMAT_VERSION, self._model, self.sessions, self._weight),
            base64.b64encode(self._total.astype("<f4").tobytes()).decode(),
            list(self.seen.items()),
        )
        return _json(dict(zip(_KEYS, values, strict=True)))

    def feed(self, manifest: Mapping[str, Any], find_all: Callable[[Sequence[str]], list[int]]) -> UserFeed:
        """Values of the model's inputs.

        Args:
            manifest: of the bundle that is asked: in the space of another training the vector says nothing.
            find_all: ids of tokens, 0 for those that are no items any more.
        """
        weights = manifest["user_state"]
        values = no_user(weights["size"])
        if self._weight and self._model == space_of(manifest):
            values["user_vector"] = np.float32(weights["vector_weight"] / self._weight) * self._total
        if self.seen and weights["seen_weight"]:
            values["user_items"] = np.array(find_all(list(self.seen)), np.int64)
            counts = np.array(list(self.seen.values()), np.float64)
            values["user_scores"] = (weights["seen_weight"] * np.log2(1 + counts)).astype(np.float32)
        return values

    def _forget_vector(self) -> None:
        manifest = self._manifest()
        self._model = space_of(manifest)
        self._weight = 0.0  # sum of the weights of the sessions in `_total`
        size = manifest.get("user_state", {"size": 0})["size"]  # none: who takes no state must still forget it
        self._total = np.zeros(size, np.float32)  # [D]

    def _read(self, content: bytes) -> None:
        if not isinstance(content, (bytes, bytearray)):
            raise ValueError(f"{type(content).__name__}, expected bytes")
        if len(content) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES:,} bytes")
        values = parse_json(content)
        if not isinstance(values, dict) or set(values) != set(_KEYS) or values["format"] != FORMAT:
            raise ValueError(f"expected `{FORMAT}`")
        if values["version"] != FORMAT_VERSION:
            raise ValueError(f"version {values['version']!r:.20}, this one reads {FORMAT_VERSION}")
        sessions, weight, seen = values["sessions"], values["weight"], values["seen"]
        if not _is_count(sessions) or not isinstance(seen, list) or not all(map(_is_pair, seen)):
            raise ValueError("`sessions` or `seen` is none")
        if (
            isinstance(weight, bool)
            or not isinstance(weight, (int, float))
            or not (
                weight == 0 or 1 <= weight <= sessions  # the last session has 1
            )
        ):
            raise ValueError("`weight` is none")
        if len(dict(seen)) < len(seen):
            raise ValueError("an item stands twice")
        try:
            total = np.frombuffer(base64.b64decode(values["vector"], validate=True), "<f4")
        except (TypeError, ValueError, binascii.Error):
            raise ValueError("`vector` is none") from None
        self.sessions, self.seen = sessions, dict(seen)
        if values["model"] != self._model:
            return  # of another model: what was seen stays, the vector says nothing
        if len(total) != len(self._total) or not np.isfinite(total).all():
            raise ValueError("`vector` is of another size, or not finite")
        self._weight, self._total = float(weight), total.astype(np.float32)


def read_state(path: Path, new: Callable[[bytes | None], UserState]) -> UserState:
    """The state in a file, an empty one where there is no such file.

    Args:
        path: the file.
        new: `Recommender.state`.

    Raises:
        BundleError: it holds something else, or cannot be read.
    """
    try:
        with open_regular(path, MOST_BYTES) as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return new(None)
    except OSError as error:
        raise BundleError(f"{path} is not what a device keeps of a user ({error.strerror}); delete it.") from error
    try:
        return new(content)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def are_weights(values: Any) -> bool:
    """Whether this is what a manifest says of a user's state."""
    return (
        isinstance(values, dict)
        and type(values.get("size")) is int
        and 1 <= values["size"] <= LARGEST_SIZE
        and all(
            type(values.get(name)) in (int, float) and math.isfinite(values[name]) and abs(values[name]) <= 1000
            for name in ("vector_weight", "decay", "seen_weight")
        )
        and 0 <= values["decay"] <= 1
        and re.fullmatch("[0-9a-f]{16}", str(values.get("space", "0" * 16))) is not None
    )


def space_of(manifest: Mapping[str, Any]) -> str:
    """What the space of a bundle's vectors is called: as its manifest says, in older ones by its model."""
    return manifest.get("user_state", {}).get("space") or manifest["files"][MODEL]["sha256"][:16]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is str and _is_count(pair[1])
