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


def open_session(model: Path | bytes, threads: int = 1) -> Any:
    """ONNX Runtime's session for a bundle's model.

    Args:
        model: file or content.
        threads: CPU threads of one call; 0 for all.

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
    if inputs != _INPUTS or outputs != _OUTPUTS:
        raise BundleError(f"{path} has other inputs or outputs than a bundle's model.")
    return session


def run_model(
    session: Any, item_seq: np.ndarray, exclude_seen: bool, n_items: int, topk: int
) -> tuple[np.ndarray, np.ndarray]:
    """Runs the model.

    Args:
        session: of `open_session`.
        item_seq: int64 [B, L], padded on the right.
        exclude_seen: leave the items of each session out.
        n_items, topk: of the manifest.

    Returns:
        Ids int64 and scores float32 [B, K], best first; id 0 with score -inf in places that no item fills.

    Raises:
        BundleError: the model fails, or its answer cannot be one.
    """
    feed = {"item_seq": item_seq, "exclude_seen": np.asarray(exclude_seen)}
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
