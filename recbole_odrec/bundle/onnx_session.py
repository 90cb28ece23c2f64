"""A bundle's model in ONNX Runtime: what goes in and comes out is checked, so that no answer is wrong without a word.

Dimension key: B sessions, L positions, K the bundle's `topk`.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.bundle.manifest import BundleError

# Name -> type and rank. The second input has a default, which ONNX Runtime lists apart.
_INPUTS = {"exclude_seen": ("tensor(bool)", 0), "item_seq": ("tensor(int64)", 2)}
_OUTPUTS = {"item_ids": ("tensor(int64)", 2), "scores": ("tensor(float)", 2)}
# Of a model that is told what the device knows of its user (`user_state`).
_USER_INPUTS = {
    "user_items": ("tensor(int64)", 1),
    "user_scores": ("tensor(float)", 1),
    "user_vector": ("tensor(float)", 1),
}
_USER_OUTPUTS = {"session": ("tensor(float)", 2)}

UserFeed = dict[str, np.ndarray]  # values of the user's inputs


def no_user(size: int) -> UserFeed:
    """What is said of a user of whom nothing is known; nothing to a model that does not ask (size 0)."""
    nothing = {name: np.zeros(1, kind) for name, kind in (("user_items", np.int64), ("user_scores", np.float32))}
    return {**nothing, "user_vector": np.zeros(size, np.float32)} if size else {}


def open_session(model: Path | bytes, threads: int = 1, user_size: int = 0) -> Any:
    """ONNX Runtime's session for a bundle's model.

    Args:
        model: file or content.
        threads: CPU threads of one call; 0 for all.
        user_size: numbers of the user's vector, 0 for a model that takes none.

    Raises:
        BundleError: ONNX Runtime cannot load it, or its inputs and outputs are not a bundle's.
    """
    import onnxruntime

    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or not 0 <= threads < 2**15:
        raise BundleError(f"threads={threads!r:.60}, expected a number of threads, 0 for all.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    options.log_severity_level = 4  # what goes wrong comes as an exception
    path = "the model" if isinstance(model, bytes) else str(model)
    try:
        content = model if isinstance(model, bytes) else str(model)
        providers = ["CPUExecutionProvider"]  # no second try, which ONNX Runtime would announce on the screen
        session = onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
        values = [*session.get_inputs(), *session.get_overridable_initializers()]
        inputs = {value.name: _kind(value) for value in values}
        outputs = {value.name: _kind(value) for value in session.get_outputs()}
    except Exception as error:  # ONNX Runtime's exceptions share no public class, and a name may be no text
        raise BundleError(f"{path} cannot be loaded by ONNX Runtime ({_reason(error)}).") from error
    of_user = (_USER_INPUTS, _USER_OUTPUTS) if user_size else ({}, {})
    if inputs != _INPUTS | of_user[0] or outputs != _OUTPUTS | of_user[1]:
        raise BundleError(f"{path} has other inputs or outputs than a bundle's model.")
    return session


def run_model(
    session: Any, item_seq: np.ndarray, exclude_seen: bool, n_items: int, topk: int, user: UserFeed | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Runs the model.

    Args:
        session: of `open_session`.
        item_seq: int64 [B, L], padded on the right.
        exclude_seen: leave the items of each session out.
        n_items, topk: of the manifest.
        user: values of the user's inputs, for a model that has them.

    Returns:
        Ids int64 and scores float32 [B, K], best first; id 0 with score -inf in places that no item fills.

    Raises:
        BundleError: the model fails, or its answer cannot be one.
    """
    feed = {"item_seq": item_seq, "exclude_seen": np.asarray(exclude_seen), **(user or {})}
    try:
        ids, scores = session.run(["item_ids", "scores"], feed)
    except Exception as error:
        raise BundleError(f"the model cannot answer ({_reason(error)}); export it again.") from error
    if (ids.shape, scores.shape) != ((len(item_seq), topk),) * 2:
        raise BundleError(f"the model gives {ids.shape} ids and {scores.shape} scores, expected {topk} a session.")
    in_order, is_item = np.sort(ids, axis=1), ids != 0
    if (
        (ids.view(np.uint64) > n_items).any()  # as unsigned numbers, negative ids are too large as well
        or ((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] != 0)).any()  # an item twice
        or not np.where(is_item, np.isfinite(scores), scores == -np.inf).all()
        or (scores[:, 1:] > scores[:, :-1]).any()
    ):
        raise BundleError("the model gives scores or items that cannot be; export it again.")
    return ids, scores


def encode(session: Any, item_seq: np.ndarray, user_size: int) -> np.ndarray:
    """Representations of sessions [B, L] of a model that takes a user's: float32 [B, user_size].

    Raises:
        BundleError: as `run_model`.
    """
    feed = {"item_seq": item_seq, "exclude_seen": np.asarray(False), **no_user(user_size)}
    try:
        (vectors,) = session.run(["session"], feed)
    except Exception as error:
        raise BundleError(f"the model cannot answer ({_reason(error)}); export it again.") from error
    if vectors.shape != (len(item_seq), user_size) or not np.isfinite(vectors).all():
        raise BundleError("the model gives sessions that cannot be; export it again.")
    return vectors


def _kind(value: Any) -> tuple[str, int]:
    return value.type, len(value.shape)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def return_free_memory() -> None:
    """Gives back what loading took and no longer needs: GNU's allocator would keep it, others have no such call."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
