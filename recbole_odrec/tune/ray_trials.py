"""The trials of a study as Ray Tune runs, on this machine or on a cluster (`ray start`), stopped early by ASHA.

The study is the same file (`study.log`): whoever ran its trials, the same command goes on where it was.
"""

# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
# Before Python 3.12 the Ray that is seen there is RecBole's, of 2023.

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.trial import FixedTrial, TrialState
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from recbole_odrec.errors import UserError
from recbole_odrec.tune.space import draw
from recbole_odrec.tune.study import (
    DONE,
    STUDY,
    Asked,
    check,
    drop_weights,
    open_study,
    say,
    valid_score,
    write_best,
)


def tune_with_ray(
    asked: Asked, n_trials: int, report: Callable[[optuna.Study], None], cpus: float, gpus: float
) -> optuna.Study:
    """As `tune`, several trials at a time: as many as the cluster's processors and GPUs allow.

    Args:
        asked, n_trials, report: as in `tune`; the study's folder is one that every machine of the cluster can see.
        cpus, gpus: what a trial takes.

    Raises:
        UserError: as `tune`; also a cluster on which no trial fits.
    """
    metric = check(asked)
    study = open_study(asked, metric)
    left = n_trials - len(study.get_trials(deepcopy=False, states=DONE))
    if left > 0:
        ray.init(include_dashboard=False, log_to_driver=False)
        try:
            _check_resources(cpus, gpus)
            _run(asked, study, metric, left, {"cpu": cpus, "gpu": gpus})
        finally:
            ray.shutdown()
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise UserError(f"every trial has failed; Ray's logs of them are in {asked.folder / 'ray'}.")
    write_best(asked, study.best_trial, metric.removeprefix("-"))
    report(study)
    return study


def _check_resources(cpus: float, gpus: float) -> None:
    there = ray.cluster_resources()
    if cpus > there.get("CPU", 0) or gpus > there.get("GPU", 0):
        raise UserError(
            f"a trial is to have {cpus:g} processors and {gpus:g} GPUs, and the cluster has {there.get('CPU', 0):g} "
            f"and {there.get('GPU', 0):g}: give less with --trial_cpus and --trial_gpus."
        )


def _run(asked: Asked, study: optuna.Study, metric: str, n_trials: int, resources: dict[str, float]) -> None:
    n_before, folder = len(study.trials), asked.folder.absolute()
    mode, name = ("min" if metric.startswith("-") else "max"), metric.removeprefix("-")

    def carry_out(parameters: dict[str, Any], here: Path = Path.cwd()) -> None:  # noqa: B008  # of the command
        os.chdir(here)  # a trial's process is elsewhere; paths are as they were given to the command
        from recbole_odrec.quick_start import run

        folders: list[Path] = []

        def look(folder: Path, epoch: int, score: float) -> None:
            folders[:] = [folder]
            tune.report({"score": score})

        drawn = draw(asked.space, FixedTrial(parameters))
        try:
            result = run(**asked.configuration(drawn), tests=False, on_validation=look)
            tune.report({"score": valid_score(result, name)})
        finally:
            drop_weights(folders)  # of many machines: best.yaml trains the best again

    sampler = optuna.samplers.TPESampler(seed=n_before, n_startup_trials=8, constant_liar=True)
    space = partial(_search, asked.space)
    search = OptunaSearch(space, "score", mode, sampler=sampler, study_name=STUDY, storage=study._storage)
    tuner = tune.Tuner(
        tune.with_resources(carry_out, resources),
        tune_config=tune.TuneConfig(
            metric="score",
            mode=mode,
            num_samples=n_trials,
            search_alg=search,
            scheduler=ASHAScheduler(grace_period=2),
        ),
        run_config=tune.RunConfig(storage_path=str(folder), name="ray", verbose=0, callbacks=[_Lines(name)]),
    )
    tuner.fit()


def _search(space: dict[str, Any], trial: optuna.Trial) -> None:
    draw(space, trial)


class _Lines(tune.Callback):
    """A line a trial."""

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        say(f"{trial.trial_id}: {self.metric} {result.get('score', float('nan')):.4f}, {trial.config}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        text = str(trial.get_error() if hasattr(trial, "get_error") else "").strip().splitlines()
        say(f"{trial.trial_id}: failed, {text[-1] if text else 'see its log'}, {trial.config}")
