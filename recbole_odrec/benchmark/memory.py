"""How much memory a piece of work holds at once, as the allocator sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from torch.profiler import ProfilerActivity, profile


def peak_of_large_blocks(work: Callable[[], object], at_least: int) -> int:
    """As `peaks_of_blocks`, for one size."""
    return peaks_of_blocks(work, at_least)[0]


def peaks_of_blocks(work: Callable[[], object], *at_least: int) -> list[int]:
    """The most bytes alive at once in blocks of at least so many bytes that `work` allocates, for each size asked for.

    What is allocated before and only used, such as a kept buffer, does not count.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler reports each start and stop on stderr otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    profiler: Any = recorded.profiler
    events = sorted(profiler.kineto_results.events(), key=lambda event: event.start_ns())
    sizes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return [max(accumulate((n for n in sizes if abs(n) >= least), initial=0)) for least in at_least]
