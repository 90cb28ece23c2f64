"""Sessions that never were, from those that were: at an item, go on as another session that holds it.

A teacher has seen every training session, and its labels there are partly memory; on a recombined one they are what it
will say of sessions to come.

Dimension key: B windows, L positions.
"""

from __future__ import annotations

import numpy as np
import torch

from recbole_odrec.data.case_runs import CaseRuns


class SessionJumps:
    """Where each item occurs with a next item, and walks over these places.

    Args:
        tokens: item ids of all sessions, one after the other.
        runs: the training cases: no walk leaves their sessions or sees what comes after their last prefix.
        prob: of a jump at each item of a walk.
    """

    def __init__(self, tokens: np.ndarray, runs: CaseRuns, prob: float) -> None:
        self.tokens, self.prob = tokens, prob
        changes = np.zeros(len(tokens) + 1, np.int32)
        for _, (starts, _, last) in runs.blocks():
            np.add.at(changes, starts, 1)
            np.add.at(changes, last, -1)
        self._goes_on = np.cumsum(changes)[:-1] > 0  # positions whose next one is a next item in training
        places = np.flatnonzero(self._goes_on).astype(np.int32)
        self._places = places[np.argsort(tokens[places], kind="stable")]  # item by item
        self._n_places = np.bincount(tokens[places], minlength=int(tokens.max(initial=0)) + 1)
        self._first_place = np.cumsum(self._n_places) - self._n_places

    def walk(self, start: np.ndarray, n_steps: int, generator: torch.Generator) -> np.ndarray:
        """Positions in `tokens`: [B, n_steps + 1] from `start` [B] on; -1 where a walk had nowhere to go.

        A walk jumps with probability `prob`, and always where its session ends.
        """
        positions = np.full((len(start), n_steps + 1), -1, np.int64)
        positions[:, 0] = at = start
        jumps, places = torch.rand(2, n_steps, len(start), generator=generator, dtype=torch.float64).numpy()
        alive = np.ones(len(start), bool)
        for step in range(n_steps):
            items = self.tokens[at]
            n_places = self._n_places[items]
            is_jump = ((jumps[step] < self.prob) | ~self._goes_on[at]) & (n_places > 0)
            place = self._first_place[items] + (places[step] * n_places).astype(np.int64)
            at = np.where(is_jump, self._places[np.where(is_jump, place, 0)], at)
            alive &= self._goes_on[at]
            at = np.where(alive, at + 1, 0)
            positions[alive, step + 1] = at[alive]
        return positions
