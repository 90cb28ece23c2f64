"""What the runs of `benchmark accuracy` found, by data set and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.benchmark.accuracy.meaning import read_run
from recbole_odrec.benchmark.accuracy.ranks import Difference, case_values, half_width, paired_bootstrap, unpack
from recbole_odrec.benchmark.accuracy.rows import Row
from recbole_odrec.errors import UserError
from recbole_odrec.evaluation import LENGTHS

TARGETS = ("repeated", "new")


@dataclass(frozen=True)
class Tested:
    """A row's tested runs on one data set, one a seed."""

    row: Row
    runs: list[dict[str, Any]]

    @property
    def seeds(self) -> list[int]:
        return [run["seed"] for run in self.runs]

    @property
    def sizes(self) -> dict[str, Any]:
        return self.runs[0]["parameters"]

    def percent(self, group: str, metric: str) -> list[float]:
        """A metric of the test set, in percent, one number a seed.

        Args:
            group: all, head, tail, a length of the history, or repeated / new: the target stands in the history or not.
            metric: as in `ranks.case_values`.
        """
        if group in TARGETS:
            found = (_of_targets(run, group == "repeated", metric) for run in self.runs)
            return [values for values in found if values is not None]
        tests = [run["test"] for run in self.runs]
        found = [test["lengths"][group] if group in LENGTHS else test[group] for test in tests]
        return [100 * values[metric] for values in found if values is not None]

    def ranks(self, seeds: Sequence[int]) -> np.ndarray:
        """Ranks of the test cases, [S, C]."""
        return np.stack([unpack(run["test_ranks"]) for run in self.runs if run["seed"] in seeds])

    def half_width(self, metric: str) -> float:
        """Half of the 95 % interval over test sessions or users, in percent."""
        return 100 * half_width(self.ranks(self.seeds), unpack(self.runs[0]["test_sessions"]), metric)


def _of_targets(run: dict[str, Any], repeated: bool, metric: str) -> float | None:
    is_member = (unpack(run["test_repeats"]) == 1) == repeated
    if not is_member.any():
        return None
    return 100 * float(case_values(unpack(run["test_ranks"])[is_member], metric).mean())


def read_runs(rows: Mapping[str, Mapping[str, Row]], folder: Path) -> dict[str, dict[str, Tested]]:
    """Tested runs by data set and row, in the order of the rows.

    Raises:
        UserError: a file that is no run, or is none of what its row means today.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for path in sorted(folder.glob("*/*.seed-*.json")):
        run, why = read_run(path, rows)
        found.setdefault(run["dataset"], {}).setdefault(run["row"], []).append(run)
        if why:
            command = f"recbole-odrec benchmark accuracy --datasets {run['dataset']} --rows {run['row']}"
            raise UserError(f"{path} is no run of its row any more ({why}): `{command}` runs it anew.")
    return {
        dataset: {name: Tested(row, runs[name]) for name, row in rows.get(dataset, {}).items() if name in runs}
        for dataset, runs in sorted(found.items())
    }


def differences(first: Tested, second: Tested) -> dict[str, Difference]:
    """First minus second in each metric, in percent, over the seeds that both have."""
    seeds = [seed for seed in first.seeds if seed in second.seeds]
    sessions = unpack(first.runs[0]["test_sessions"])
    found = paired_bootstrap(first.ranks(seeds), second.ranks(seeds), sessions)
    return {metric: Difference(100 * d.mean, 100 * d.low, 100 * d.high, d.p_worse) for metric, d in found.items()}
