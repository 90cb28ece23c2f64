"""Two integers of 4 bits in a byte, as bundles store them.

Dimension key: N items, C columns.
"""

from __future__ import annotations

import numpy as np

ZERO_OF_4_BITS = 8  # what stands for 0


def in_halves(integers: np.ndarray) -> np.ndarray:
    """Integers of 4 bits, -7 to 7, two a byte, the first half of the columns high: int8 [N, C] -> uint8 [N, C / 2]."""
    high, low = np.split((integers + ZERO_OF_4_BITS).astype(np.uint8), 2, axis=1)
    return high * 16 + low


def out_of_halves(stored: np.ndarray) -> np.ndarray:
    """The other way."""
    return np.concatenate([stored >> 4, stored & 15], axis=1).astype(np.int8) - ZERO_OF_4_BITS
