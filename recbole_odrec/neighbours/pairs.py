"""Matrices of items by items, counted in sessions: CSR, float64, row i holds what follows or goes with item i.

Dimension key: N items, S sessions.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags

from recbole_odrec.neighbours.sessions import TrainingSessions, once_each


def followers(sessions: TrainingSessions, n_items: int, max_distance: int, backward: float = 0.0) -> csr_matrix:
    """How much items follow each other.

        C[i, j] = sum of 1 / d over all targets j that stand d = 1 .. max_distance places behind an i
                + backward * C[j, i]

    Returns:
        [N, N]
    """
    session_of = sessions.session_of
    targets = np.flatnonzero(sessions.is_target)
    counts = csr_matrix((n_items, n_items))
    for distance in range(1, max_distance + 1):
        behind = targets[targets >= distance]
        behind = behind[session_of[behind] == session_of[behind - distance]]
        if not len(behind):
            break
        pairs = sessions.tokens[behind - distance], sessions.tokens[behind]
        weights = np.full(len(behind), 1 / distance)
        counts = counts + coo_matrix((weights, pairs), shape=counts.shape).tocsr()
    return counts + backward * counts.T.tocsr() if backward else counts


def together(sessions: TrainingSessions, n_items: int) -> csr_matrix:
    """In how many sessions two items stand: [N, N], nothing on the diagonal."""
    occurs = incidence(once_each(sessions), n_items)
    counts = (occurs.T @ occurs).tocsr()
    counts.setdiag(0)
    counts.eliminate_zeros()
    return counts


def incidence(sessions: TrainingSessions, n_items: int) -> csr_matrix:
    """How often items stand in sessions: [S, N]."""
    ones = np.ones(len(sessions.tokens))
    return csr_matrix((ones, sessions.tokens, sessions.starts), shape=(len(sessions.starts) - 1, n_items))


def normalised(counts: csr_matrix, out_power: float, in_power: float) -> csr_matrix:
    """C[i, j] / (sum of row i)^out_power / (sum of column j)^in_power: what is popular follows everything."""

    def factors(axis: int, power: float) -> np.ndarray:
        total = np.asarray(counts.sum(axis)).ravel()
        return np.where(total > 0, total, 1) ** -power

    return (diags(factors(1, out_power)) @ counts @ diags(factors(0, in_power))).tocsr()


def of_sum_1(matrix: csr_matrix) -> csr_matrix:
    """Rows divided by their sums; empty ones stay."""
    total = np.asarray(matrix.sum(1)).ravel()
    return diags(1 / np.where(total > 0, total, 1)) @ matrix


def strongest(matrix: csr_matrix, n_kept: int) -> csr_matrix:
    """The largest entries of each row, of equal ones those in the first columns; all of them where `n_kept` is 0."""
    if not n_kept or matrix.nnz == 0:
        return matrix
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    size = matrix.data.astype(np.float32)  # sums in another order rank alike
    order = np.lexsort((matrix.indices, -size, rows))
    place = np.arange(len(order)) - matrix.indptr[rows]
    order = order[place < n_kept]
    chosen = matrix.data[order], (rows[order], matrix.indices[order])
    return coo_matrix(chosen, shape=matrix.shape).tocsr()
