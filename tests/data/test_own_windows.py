"""Windows of several processes meet in batches of like length, although no process knows of another's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_odrec.data.case_runs import SessionRuns
from recbole_odrec.data.own_windows import OwnWindows
from recbole_odrec.data.session_file import make_part
from recbole_odrec.data.window_plan import SessionBlock, WindowPlan

SIZE, N_CASES = 600, (70_000, 50_000, 30_000)  # of a batch; of each process


def block_of(lengths: np.ndarray) -> SessionBlock:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    part = make_part(starts, np.ones(len(lengths), np.int32))
    return SessionBlock(np.ones(starts[-1], np.int32), SessionRuns(part))


@pytest.mark.parametrize("shuffle", [True, False])
def test_shares_are_as_large_as_a_process_has_cases_and_as_long_as_the_others(shuffle: bool) -> None:
    random, of_each = np.random.default_rng(0), []
    n_batches = -(-sum(N_CASES) // SIZE)
    for number, n_cases in enumerate(N_CASES):
        lengths = 2 + random.geometric(0.2, n_cases)
        lengths = lengths[: np.searchsorted(np.cumsum(lengths - 1), n_cases)]
        blocks = [block_of(part) for part in np.array_split(lengths, 1 + 2 * number)]
        own, alike = (torch.Generator().manual_seed(seed) if shuffle else None for seed in (number, 7))
        windows, found = OwnWindows(sum(len(b.tokens) - len(b.runs) for b in blocks), n_batches, own, alike), []
        for (plan,), batch in windows.batches(blocks, lambda block: (WindowPlan(block, 50),)):
            start, first, last = plan.cases_of(batch)
            found.append(((last - first + 1).sum(), (last - start).max()))
        of_each.append(found)
    sizes, widths = np.array(of_each).transpose(2, 1, 0)  # [batches, processes]
    assert len(sizes) == n_batches
    expected = np.array(N_CASES) / n_batches
    assert (abs(sizes - expected) < 50).all()  # a window more or less, at either end
    assert widths.max(1).mean() < 1.1 * widths.mean() < 12  # the longest window of a pool has 40 items and more
