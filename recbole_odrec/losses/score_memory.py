"""Whether the score matrices of a training step fit into memory, and how wide the tiles are where they do not."""

from __future__ import annotations

import logging
from pathlib import Path

import psutil
import torch

from recbole_odrec.nn import ItemTable

# Whole matrices that take no more are never cut up, however little is free: 4096 cases, 60,000 items, two networks.
_NEVER_TILED = 2_000_000_000
# Numbers of a tile: few passes of Python over a catalogue, and near a CPU's cache (of 128 rows, 8192 are quickest).
_CPU_TILE, _DEVICE_TILE = 1 << 20, 1 << 25
_OF_A_TILE = 6  # matrices of a tile's size alive at once
_CGROUP = Path("/sys/fs/cgroup/memory.max")


class ScoreMemory:
    """What score matrices may take, decided when it is first asked.

    Args:
        allowed: bytes; None for half of what is free then, and at least `_NEVER_TILED`.
    """

    def __init__(self, allowed: int | None = None) -> None:
        self.allowed, self._has_said = allowed, False

    def tile(
        self, table: ItemTable, n_rows: int, n_matrices: int, device: torch.device, columns: slice | None = None
    ) -> int | None:
        """Columns of a tile for scores [`n_rows`, N] of so many networks; None where whole matrices fit.

        Of some columns alone the loss goes by tiles in any case, and their width is never None.
        """
        if self.allowed is None:
            self.allowed = max(free_bytes(device) // 2, _NEVER_TILED)
        n_items = table.n_items if columns is None else columns.stop - columns.start
        whole = 4 * n_matrices * n_rows * n_items
        is_small = whole <= self.allowed
        if is_small and columns is None:
            return None
        most = _CPU_TILE if device.type == "cpu" else _DEVICE_TILE
        width = max(1, min(most, self.allowed // (4 * _OF_A_TILE)) // n_rows)
        if not is_small and not self._has_said:
            self._has_said = True
            logging.getLogger().info(
                f"Scores of {n_rows:,} cases and {n_items:,} items would take {whole / 1e9:.1f} GB of the "
                f"{self.allowed / 1e9:.1f} GB that score_memory leaves them: the loss goes over tiles of about "
                f"{width:,} items, the same to rounding."
            )
        return width


def free_bytes(device: torch.device) -> int:
    """Memory that is free now: of the GPU, or of the machine and its container."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    free = psutil.virtual_memory().available
    limit = _CGROUP.read_text().strip() if _CGROUP.is_file() else "max"
    return free if limit == "max" else min(free, int(limit) - psutil.Process().memory_info().rss)
