"""How much memory a piece of work holds at once, as the allocator sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile


def peak_of_large_blocks(work: Callable[[], object], at_least: int) -> int:
    """The most bytes alive at once in blocks of at least `at_least` bytes that `work` allocates on the CPU.

    What is allocated before and only used, such as a kept buffer, does not count.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler reports each start and stop on stderr otherwise
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    alive = peak = 0
    profiler: Any = recorded.profiler
    for event in sorted(profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]" and abs(event.nbytes()) >= at_least:
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak
