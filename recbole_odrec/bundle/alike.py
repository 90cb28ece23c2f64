"""Which weights of two ONNX models differ number by number: same name and type, same shape or grown along one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

SHORTEST = 16  # bytes worth an instruction of a delta


class Alike(NamedTuple):
    """A stretch of the new file that numbers of the old one differ from, one by one."""

    place: int  # in the new file
    old_place: int
    length: int  # bytes
    width: int  # bytes of a number


def weights_alike(old: bytes, new: bytes) -> Iterator[Alike]:
    """Weights of two ONNX models that have the same name and type and other values, in the new file's order.

    One that has grown along one axis is alike in as many stretches as there are rows before that axis.
    """
    import onnx  # late: training measures codes, which are alike without a model

    try:
        before, after = (onnx.load_from_string(content).graph.initializer for content in (old, new))
    except Exception:  # no models: bytes like any other (ONNX's exceptions share no public class)
        return
    mates, done = {tensor.name: tensor for tensor in before}, 0
    for tensor in after:
        raw = tensor.raw_data
        mate = mates.get(tensor.name)
        if mate is None or mate.data_type != tensor.data_type or mate.raw_data == raw:
            continue
        rows = _rows_alike([*mate.dims], [*tensor.dims])
        if not rows or len(mate.raw_data) // rows < SHORTEST:
            continue
        place, old_place = new.find(raw, done), old.find(mate.raw_data)
        if place >= 0 and old_place >= 0:
            done = place + len(raw)
            size = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            yield from _stretches(rows, Alike(place, old_place, len(mate.raw_data), min(size, 4)), len(raw))


def bytes_alike(old: np.ndarray, new: np.ndarray) -> Iterator[Alike]:
    """As `weights_alike`, of one weight of numbers of a byte, alone in its file."""
    if rows := _rows_alike(old.shape, new.shape):
        yield from _stretches(rows, Alike(0, 0, old.nbytes, 1), new.nbytes)


def _stretches(rows: int, whole: Alike, length: int) -> Iterator[Alike]:
    """A weight, whose old bytes are `whole.length` and new ones `length`, row by row."""
    place, old_place, old_length, width = whole
    step, old_step = length // rows, old_length // rows
    for row in range(rows):
        yield Alike(place + row * step, old_place + row * old_step, old_step, width)


def _rows_alike(old: Sequence[int], new: Sequence[int]) -> int:
    """Stretches in which a tensor of one shape lies in another one's that has grown along one axis; 0: in none."""
    others = [axis for axis, (before, after) in enumerate(zip(old, new, strict=False)) if before != after]
    if len(old) != len(new) or len(others) > 1 or any(old[axis] > new[axis] for axis in others):
        return 0
    return prod(old[: others[0]]) if others else 1
