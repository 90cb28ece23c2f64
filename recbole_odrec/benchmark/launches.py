"""What a piece of work asks of an accelerator, counted without one: kernels, waits of the host, mixed devices.

PyTorch's device `meta` has shapes and no numbers, so that work on it takes no time and runs everywhere. What it
dispatches there is what it would launch on a GPU, one kernel an operator at least.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
_FREE = {  # memory and views, beside those operators that say of themselves that they are views
    *("detach", "alias", "_unsafe_view", "_reshape_alias", "lift_fresh", "lift_fresh_copy"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
}
_COPIES = {"_to_copy", "copy_"}
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}
# What the host waits for, and what it gets here for an answer.
_ANSWERS: dict[str, Callable[[Tensor, int], Any]] = {
    "_local_scalar_dense": lambda value, _: torch.ones((), dtype=value.dtype).item(),
    "equal": lambda value, _: True,
    "nonzero": lambda values, found: values.new_zeros(found, values.dim(), dtype=torch.int64),
}


class Launches(TorchDispatchMode):
    """Inside, counts what is asked of a device other than the CPU.

    Args:
        found: entries that an operator of unknown size (`nonzero`) is taken to find; `.item()` is taken to give 1.

    Attributes:
        kernels: operators that launch one, by name.
        waits: operators at which the host waits for the device, with the line of ours or RecBole's that asked.
        mixed: operators that meet tensors of two devices, which a GPU refuses or waits for; as `waits`.
        products: matrix products on any device, by the shapes of both operands and their data type.
    """

    def __init__(self, found: int = 1) -> None:
        super().__init__()
        self.found = found
        self.kernels, self.waits, self.mixed = Counter[str](), Counter[str](), Counter[str]()
        self.products = Counter[tuple[torch.Size, torch.Size, torch.dtype]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = str(func.overloadpacket).removeprefix("aten.")
        given = _tensors((args, kwargs))
        leaves = [tensor.device.type != "cpu" for tensor in given]
        if any(leaves) and name in _ANSWERS:
            self.waits[_place(name)] += 1
            return _ANSWERS[name](args[0], self.found)
        if name == "_to_copy" and any(leaves) and str(kwargs.get("device")) == "cpu":
            result = torch.ones_like(args[0], device="cpu")  # there are no numbers to bring
        else:
            result = func(*args, **kwargs)
        # A number in a tensor of its own may lie on the CPU: it goes along with the launch.
        devices = {tensor.device.type for tensor in [*given, *_tensors(result)] if tensor.dim() or name in _COPIES}
        if name in _COPIES:
            self.waits[_place(name)] += len(devices) > 1 and not _is_asynchronous(args, kwargs)
        elif len(devices) > 1:
            self.mixed[_place(name)] += 1
        if (any(leaves) or devices - {"cpu"}) and not func.is_view and name not in _FREE:
            self.kernels[name] += 1
        if name in _PRODUCTS:
            left, right = args[-2:]
            self.products[left.shape, right.shape, left.dtype] += 1
        return result


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _is_asynchronous(args: tuple, kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("non_blocking") or args[2:3] == (True,))


def _place(name: str) -> str:
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if "recbole" in file.rpartition("site-packages")[2] and file != __file__:
            return f"{name} ({file.rpartition('/')[2]}:{frame.f_lineno})"
        frame = frame.f_back
    return name


def counted(work: Callable[[], object], found: int = 1) -> Launches:
    """What `work` asks of a device."""
    with Launches(found) as launches:
        work()
    launches.waits += Counter()  # drops zeros
    return launches


def counted_on_gpu(work: Callable[[], object]) -> tuple[int, int]:
    """Kernels launched and waits of the host, as CUDA's profiler sees them."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        work()
    names = [event.name for event in recorded.events() or ()]
    return sum("LaunchKernel" in name for name in names), sum("Synchronize" in name for name in names)
