"""Next items and soft targets: one pass over the scores of the whole catalogue, two parts of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import accumulate

import torch
from torch import Tensor

from recbole_odrec.losses import mix_, shares_within, total_of_mixture
from recbole_odrec.model.session_recommender import cases_of_all
from recbole_odrec.parsing import key, require
from recbole_odrec.processes.rows import log_sum_of_all
from recbole_odrec.trainer.objectives.objective import Objective, Step


class Catalogue(Objective):
    """(1 - kd_weight) cross-entropy of the next item + kd_weight KL(teacher || student) (paper, section 3.4)."""

    name, averaged_over, splits_teacher = "catalogue", "cases", True

    @dataclass(frozen=True)
    class Settings:
        """Its keys."""

        kd_weight: float = key(0.8, "Weight of the soft targets against the next-item cross-entropy, 0 to 1.")
        temperature: float = key(1.0, "Temperature of the soft targets.")

        def __post_init__(self) -> None:
            require(0 <= self.kd_weight <= 1, "kd_weight", self.kd_weight, "a number in [0, 1]")
            require(self.temperature > 0, "temperature", self.temperature, "a number above 0")

    @classmethod
    def weights(cls, settings: Settings) -> dict[str, float]:
        return {"next_item": 1 - settings.kd_weight, "soft_targets": settings.kd_weight}

    @classmethod
    def needs_teacher(cls, settings: Settings) -> bool:
        return settings.kd_weight > 0

    def forward(self, step: Step) -> dict[str, Tensor]:
        kd_weight = self.settings.kd_weight
        taught = {}
        if kd_weight:
            teacher = _Teacher(step)
            taught = {"teacher": teacher, "columns": teacher.table.columns, "temperature": self.settings.temperature}
        total, soft = self.pair.student.catalogue_loss(step.cases, kd_weight=kd_weight, **taught)
        # One loss with one gradient; what is logged as next_item is what soft targets leave of it.
        parts = {"next_item": total - soft, "soft_targets": soft} if kd_weight < 1 else {"soft_targets": total}
        return {name: parts[name] for name, weight in self.weights(self.settings).items() if weight}


class _Teacher:
    """The teacher's scores of a step's cases, in the student's columns (`losses.TeacherScores`)."""

    def __init__(self, step: Step) -> None:
        cases, student, self.table = step.teacher_cases, step.pair.student, step.pair.teacher_table
        if self.table.columns is not None and step.share is not None:
            cases = cases_of_all(cases, step.share)
        self.buffer, self.query = step.pair.buffer, cases.case_repr
        self.added = student.in_columns(cases.added)
        columns_of = student.item_table.columns_of
        self.shares = [shares._replace(items=columns_of(shares.items)) for shares in cases.shares]
        self._totals: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, columns: slice | None) -> Tensor:
        """[C, N], valid until the buffer's next use; or [C, n] of some columns."""
        if columns is None:
            scores = self.table.raw_scores(self.query, buffer=self.buffer)
            if self.added is not None:
                self.added.add_to_(scores)
            for shares in self.shares:
                mix_(scores, shares)
            return scores
        if self.shares and not self._totals:
            self._totals = self._before_mixing(columns.stop - columns.start)
        scores = self._unmixed(columns)
        for total, shares in zip(self._totals, self.shares, strict=True):
            mix_(scores, shares_within(shares, columns), total)
        return scores

    def _unmixed(self, columns: slice) -> Tensor:
        scores = self.table.tile_scores(self.query, columns, [])
        return scores if self.added is None else self.added.add_to_(scores, columns)

    def _before_mixing(self, tile: int) -> list[Tensor]:
        """Log of each case's sum of exponentials before each of the shares is mixed in, [C] each."""
        own = self.table.columns or slice(0, self.table.n_items)
        tiles = (slice(a, min(a + tile, own.stop)) for a in range(own.start, own.stop, tile))
        dtype = torch.promote_types(self.query.dtype, torch.float32)
        sums = (self._unmixed(columns).to(dtype).logsumexp(1) for columns in tiles)
        total = reduce(torch.logaddexp, sums, self.query.new_full((len(self.query),), -torch.inf, dtype=dtype))
        total = total if self.table.columns is None else log_sum_of_all(total)
        return [*accumulate(self.shares[:-1], total_of_mixture, initial=total)]
