"""The runs behind the table: each selects its epochs on validation, or repeats them on all training data and is tested.

Of users with their last items left out, the run that selects is tested itself, as RecBole does.

A run is one JSON file; one that is there is not run again, and one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.benchmark.accuracy.data import RunData, read_data
from recbole_odrec.benchmark.accuracy.meaning import data_keys, read_run
from recbole_odrec.benchmark.accuracy.ranks import pack
from recbole_odrec.benchmark.accuracy.rows import SEEDS, Row
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.config import make_config, setting_names
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json
from recbole_odrec.nn.product import is_quick_in_bfloat16
from recbole_odrec.quick_start import run
from recbole_odrec.registry import OUR_MODELS
from recbole_odrec.run_folder import find_unfinished

SELECT = "select"


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        row: what is trained, and on which data set.
        seed: of the run.
        selects: of session files, train on the training sessions and choose the epochs on validation; otherwise train
            on both for the epochs chosen, and be tested. Never of users with their last items left out.
    """

    row: Row
    seed: int
    selects: bool

    @property
    def name(self) -> str:
        if not self.selects:
            return f"{self.row.name}.seed-{self.seed}"
        # Another seed's model without the validation sessions: one of several teachers of a student.
        return f"{self.row.name}.{SELECT}" if self.seed == SEEDS[0] else f"{self.row.name}.{SELECT}-{self.seed}"

    @property
    def stage(self) -> str:
        if not self.row.of_sessions:
            return "selected on validation, tested once"
        return "selected on validation" if self.selects else "refit on training and validation"


def plan_jobs(rows: Sequence[Row], seeds: Sequence[int]) -> Iterator[Job]:
    """Every run of a table, the rows in bold first: all seeds for them, the first seed for the others."""
    for is_bold in (True, False):
        chosen = [row for row in rows if row.is_bold == is_bold]
        for row in chosen:
            if row.of_sessions:
                yield Job(row, SEEDS[0], selects=True)
        for seed in seeds if is_bold else [seed for seed in seeds if seed == SEEDS[0]]:
            for row in chosen:
                yield Job(row, seed, selects=False)


class Runner:
    """Carries out jobs.

    Args:
        rows: all there are, by data set and name.
        results: folder of the JSON files, one folder a data set in it.
        work: folder of checkpoints and logs.
        data_path: folder of the data sets.
        show_progress: progress bars.
    """

    def __init__(
        self,
        rows: Mapping[str, Mapping[str, Row]],
        results: Path,
        work: Path,
        data_path: str,
        show_progress: bool = True,
    ) -> None:
        self.rows, self.results, self.work = rows, results, work
        self.common: dict[str, Any] = {"data_path": data_path, "show_progress": show_progress, "state": "WARNING"}

    def path(self, job: Job) -> Path:
        """The job's file."""
        return self.results / job.row.dataset / f"{job.name}.json"

    def is_done(self, job: Job) -> bool:
        """Whether its file is there, of what the row means today."""
        path = self.path(job)
        return path.exists() and not read_run(path, self.rows)[1]

    def carry_out(self, job: Job) -> dict[str, Any]:
        """Runs a job, after what it builds on, and writes its file; returns the content.

        Raises:
            UserError: the data set is missing or neither in whole sessions nor of users with their last items left out.
        """
        if job.row.teaches:
            self.carry_out(replace(job, row=self._row(job, job.row.teaches)))
            return self._read(job)
        common = dict(self.common)
        if not (Path(common["data_path"]) / job.row.dataset).is_dir():  # ml-100k, which comes with RecBole
            del common["data_path"]
        settings = {**common, "metric_decimal_place": 6, **job.row.settings, "seed": job.seed}
        if job.row.of_sessions and not job.selects:
            selected = self._selected(job)
            settings["refit_epochs"] = selected["best_epoch"] + 1
            if "follower_gain" in selected:
                settings["follower_gain"] = selected["follower_gain"]
        teachers = self._teachers(job)
        if teachers:
            if job.row.of_sessions and not job.selects:  # those that were chosen, 0 for one that was left out
                chosen = [entry["weight"] for entry in self._selected(job)["config"]["teachers"]]
                teachers = [(one, weight) for (one, _), weight in zip(teachers, chosen, strict=True)]
                if isinstance(start := settings.get("starts_from"), int):
                    settings["starts_from"] = start - chosen[: start - 1].count(0)
            settings["teachers"] = [
                {"checkpoint": str(self._checkpoint(one)), "weight": weight} for one, weight in teachers if weight
            ]
        settings["checkpoint_dir"] = str(self._folder(job))
        config = make_config(job.row.model, job.row.dataset, config_dict=settings)
        data = read_data(config)  # first: refuses what the table cannot use before hours are spent on it
        if not is_quick_in_bfloat16(config["device"]):  # as `score_dtype: auto` does for ours
            settings["enable_amp"] = False
        resumes, tests = _is_begun(job, settings), not job.selects
        result = run(job.row.model, job.row.dataset, config_dict=settings, resume=resumes, tests=tests)
        config = {key: result["config"][key] for key in setting_names(job.row.model) if key in result["config"]}
        config = {**data_keys(job.row), **config}  # what the data decided is a number in the run
        if teachers:  # their files are places on this machine
            if weights := result["phases"]["teacher"].get("weights"):
                teachers = [(one, weight) for (one, _), weight in zip(teachers, weights, strict=True)]
            config["teachers"] = [
                {"row": one.row.name, "seed": one.seed, "weight": weight, "config": self._read(one)["config"]}
                for one, weight in teachers
            ]
        if decided := result["config"].get("decided"):
            config["decided"] = decided
        report = result["phases"]["student" if job.row.model == "ODRec" else "model"]
        for ensemble in (row for row in self.rows[job.row.dataset].values() if row.teaches == job.row.name):
            of_one = self._read(teachers[0][0])["config"]
            self._write(replace(job, row=ensemble), result["phases"]["teacher"], of_one, data, result["versions"])
        return self._write(job, report, config, data, result["versions"])

    def _write(
        self, job: Job, report: dict[str, Any], config: dict[str, Any], data: RunData, versions: dict[str, str]
    ) -> dict[str, Any]:
        """Writes the job's file; returns the content."""
        ranks_file = report.pop("test_ranks", None)
        for key in ("checkpoint", "members"):  # places on this machine
            report.pop(key, None)
        content = {
            "row": job.row.name,
            "dataset": job.row.dataset,
            "seed": job.seed,
            "stage": job.stage,
            "data": data.sizes,
            **report,
            "config": config,
            "machine": machine(),
            "versions": versions,
        }
        if ranks_file:
            content["test_ranks"] = pack(np.load(ranks_file))
            content["test_sessions"] = pack(data.cases_of)
            content["test_repeats"] = pack(data.repeats)
        write_json(self.path(job), content)
        return content

    # ------------------------------------------------------------------ what a job builds on

    def _selected(self, job: Job) -> dict[str, Any]:
        selection = Job(job.row, SEEDS[0], selects=True)
        if not self.is_done(selection):
            self.carry_out(selection)
        return self._read(selection)

    def _read(self, job: Job) -> dict[str, Any]:
        return json.loads(self.path(job).read_text(encoding="utf-8"))

    def _checkpoint(self, teacher: Job) -> Path:
        """Weights of the teacher's run, run again where its folder is gone."""
        phase = "model/best.pth"
        found = [path.parent / phase for path in self._folder(teacher).glob("*/result.json")]
        if not (self.is_done(teacher) and found):
            self.carry_out(teacher)
            found = [path.parent / phase for path in self._folder(teacher).glob("*/result.json")]
        return max(found, key=lambda path: path.stat().st_mtime)

    def _folder(self, job: Job) -> Path:
        return self.work / job.row.dataset / job.name

    def _row(self, job: Job, name: str) -> Row:
        return self.rows[job.row.dataset][name]

    def _teachers(self, job: Job) -> list[tuple[Job, float | str]]:
        """Runs of the row's teachers, of its own seed and of as many others as they say, with their weights."""
        seeds = [job.seed, *(seed for seed in SEEDS if seed != job.seed)]
        return [
            (replace(job, row=self._row(job, teacher.row), seed=seed), teacher.weight)
            for teacher in job.row.teachers
            for seed in seeds[: teacher.seeds]
        ]


def _is_begun(job: Job, settings: dict[str, Any]) -> bool:
    """Whether an interrupted run of exactly these settings can go on; one of other settings is left where it is."""
    if job.row.model not in OUR_MODELS:
        return False
    try:
        find_unfinished(make_config(job.row.model, job.row.dataset, config_dict=settings), resume=True)
    except UserError:
        return False
    return True
