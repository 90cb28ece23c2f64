"""Ridge regression between sparse matrices of many columns: whole, or for each target over a few inputs.

Dimension key: N items, M inputs of a target, B targets at a time.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix

_WHOLE = 4096  # items up to which the whole system is solved at once
_TARGETS_AT_ONCE = 256


def ridge(gram: csr_matrix, moments: csr_matrix, penalty: float, n_inputs: int) -> csr_matrix:
    """W that minimises |T - S W|^2 + penalty |W|^2.

    Args:
        gram: S^T S [N, N].
        moments: S^T T [N, N].
        penalty: above 0.
        n_inputs: where the catalogue is large, or has more items than 0 < n_inputs: W[i, j] is sought for those i
            alone whose moments[i, j] are the largest (the system of each j is of so many unknowns); 0 solves the whole
            system up to 4,096 items, and takes 64 inputs beyond.

    Returns:
        [N, N]
    """
    n_items = gram.shape[0]
    if not n_inputs and n_items <= _WHOLE:
        system = torch.as_tensor(gram.toarray()) + penalty * torch.eye(n_items, dtype=torch.float64)
        factor = torch.linalg.cholesky(system)
        return csr_matrix(torch.cholesky_solve(torch.as_tensor(moments.toarray()), factor).numpy())
    inputs, values = _largest_of_columns(moments, min(n_inputs or 64, n_items))
    found = np.zeros(inputs.shape)
    place = np.full((_TARGETS_AT_ONCE, n_items + 1), -1, np.int32)  # of an item among a target's inputs
    for start in range(0, len(inputs), _TARGETS_AT_ONCE):
        block = inputs[start : start + _TARGETS_AT_ONCE]  # [B, M], N where there is no further input
        rows = np.arange(len(block))[:, None]
        place[rows, block] = np.arange(block.shape[1])
        place[:, n_items] = -1
        systems = _blocks(gram, block, place)
        systems[:, range(block.shape[1]), range(block.shape[1])] += penalty
        right = torch.as_tensor(values[start : start + _TARGETS_AT_ONCE]).unsqueeze(2)
        found[start : start + len(block)] = torch.linalg.solve(torch.as_tensor(systems), right).squeeze(2).numpy()
        place[rows, block] = -1
    targets, of_target = np.nonzero(inputs < n_items)
    weights = found[targets, of_target], (inputs[targets, of_target], targets)
    return coo_matrix(weights, shape=gram.shape).tocsr()


def _largest_of_columns(matrix: csr_matrix, n_kept: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the largest entries of each column [N, M], N where there are fewer, and the entries, 0 there."""
    columns = matrix.tocsc()
    n_items = columns.shape[1]
    column = np.repeat(np.arange(n_items), np.diff(columns.indptr))
    order = np.lexsort((columns.indices, -columns.data.astype(np.float32), column))
    number = np.arange(len(order)) - columns.indptr[column]
    order, number, column = order[number < n_kept], number[number < n_kept], column[number < n_kept]
    rows, values = np.full((n_items, n_kept), n_items), np.zeros((n_items, n_kept))
    rows[column, number], values[column, number] = columns.indices[order], columns.data[order]
    return rows, values


def _blocks(gram: csr_matrix, inputs: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The part of `gram` between the inputs of each target: [B, M, M]."""
    n_targets, n_inputs = inputs.shape
    is_input = inputs < gram.shape[0]
    rows = gram[np.where(is_input, inputs, 0).ravel()]
    pair = np.repeat(np.arange(n_targets * n_inputs), np.diff(rows.indptr))
    at = place[pair // n_inputs, rows.indices]
    is_kept = (at >= 0) & is_input.ravel()[pair]
    blocks = np.zeros((n_targets * n_inputs, n_inputs))
    blocks[pair[is_kept], at[is_kept]] = rows.data[is_kept]
    return blocks.reshape(n_targets, n_inputs, n_inputs)
