"""Codes for a given table: clusters of the parts of its rows, and the entries next to them.

Dimension key: N items, D embedding, M codebooks, K entries of each, W = D / M.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

ENTRIES = 256  # K: a code is a byte
ITEM_BLOCK = 4096  # rows looked at together


def cluster(matrix: Tensor, n_codes: int, seed: int) -> tuple[Tensor, Tensor]:
    """k-means in each part of the rows.

    Args:
        matrix: table [N, D].
        n_codes: M, a divisor of D.
        seed: of the clustering.

    Returns:
        codes [N, M], uint8, and codebooks [M, K, W], float32; entries beyond the distinct vectors are zero.
    """
    from sklearn.cluster import KMeans  # late: only a fit needs it, and importing it takes a second

    parts = matrix.detach().float().cpu().view(len(matrix), n_codes, -1).numpy()
    codes = torch.empty(len(matrix), n_codes, dtype=torch.uint8)
    codebooks = torch.zeros(n_codes, ENTRIES, parts.shape[2])
    for m in range(n_codes):
        vectors = parts[:, m]
        # Fewer distinct vectors than entries: the rest would stay empty.
        k = min(ENTRIES, len(np.unique(vectors, axis=0)))
        clusters = KMeans(k, n_init=1, max_iter=25, random_state=seed).fit(vectors)
        codes[:, m] = torch.as_tensor(clusters.labels_)
        codebooks[m, :k] = torch.as_tensor(clusters.cluster_centers_)
    return codes, codebooks


def nearest(matrix: Tensor, codebooks: Tensor) -> Tensor:
    """Of each row, part by part, the entry at the least distance: [N, D], [M, K, W] -> codes [N, M], uint8."""
    halves = codebooks.square().sum(2) / 2  # [M, K]
    blocks = []
    for block in matrix.split(ITEM_BLOCK):
        parts = block.view(len(block), len(codebooks), -1)  # [n, M, W]
        blocks.append((torch.einsum("nmw,mkw->nmk", parts, codebooks) - halves).argmax(2).to(torch.uint8))
    return torch.cat(blocks)
