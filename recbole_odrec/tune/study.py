"""A study: trials of a model on a data set, judged on validation, in a folder that several processes may share."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from recbole_odrec.config import make_config
from recbole_odrec.config.reading import read_word, read_yaml
from recbole_odrec.errors import UserError
from recbole_odrec.files import check_writable, write_atomically
from recbole_odrec.quick_start import run
from recbole_odrec.tune.space import corners, draw

STUDY = "tune"  # its name in the file
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
# Not a study's own: where and how loudly it runs.
_MACHINE = ("state", "show_progress", "gpu_id", "use_gpu", "worker", "data_path")


@dataclass(frozen=True)
class Asked:
    """What is tuned.

    Attributes:
        model, dataset, config_files, words: as of a run; words over draws, draws over files.
        space: see `tune.space`.
        folder: of the study: `study.log`, `best.yaml`, `study.html`, and the trials' runs.
    """

    model: str
    dataset: str
    config_files: tuple[str, ...]
    words: tuple[str, ...]
    space: dict[str, Any]
    folder: Path

    @property
    def given(self) -> dict[str, Any]:
        """Keys and values beside those that are drawn."""
        values: dict[str, Any] = {}
        for file in self.config_files:
            values |= read_yaml(file)
        return values | {key[2:]: read_word(text) for key, _, text in (word.partition("=") for word in self.words)}

    def identity(self) -> dict[str, Any]:
        """What must be the same when a study goes on."""
        given = {key: value for key, value in self.given.items() if key not in _MACHINE}
        return {"model": self.model, "dataset": self.dataset, "given": given, "space": self.space}

    def configuration(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """`run`'s arguments for a draw."""
        quiet = {"state": "WARNING", "show_progress": False}
        words = [word for word in self.words if not word.startswith("--checkpoint_dir=")]
        return {
            "model": self.model,
            "dataset": self.dataset,
            "config_files": self.config_files,
            "config_dict": {**quiet, **drawn, "checkpoint_dir": str(self.folder / "runs")},
            "arguments": words,
        }


def check(asked: Asked) -> str:
    """Refuses what no trial could run.

    Returns:
        The metric that judges, `NDCG@10` say, with a `-` before it where less is better.

    Raises:
        UserError: the key, what was expected.
    """
    words = {word[2:].partition("=")[0] for word in asked.words}
    for key in asked.space:
        if key in words:
            raise UserError(f"{key} is given and stands in the space: leave it out of one of them.")
    metrics = set()
    for drawn in corners(asked.space):
        config = make_config(**asked.configuration(drawn))
        if config["refit_epochs"]:
            raise UserError("refit_epochs trains on validation cases, which judge the trials: leave it out.")
        metrics.add(("" if config["valid_metric_bigger"] else "-") + config["valid_metric"])
    if len(metrics) > 1:
        raise UserError(f"valid_metric is drawn ({', '.join(sorted(metrics))}), and trials are judged by one: fix it.")
    return metrics.pop()


def open_study(asked: Asked, metric: str) -> optuna.Study:
    """The study of this folder, begun or gone on with.

    Raises:
        UserError: the folder holds a study of something else, or a file that is none.
    """
    check_writable(asked.folder)
    asked.folder.mkdir(parents=True, exist_ok=True)
    file = asked.folder / "study.log"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(file))),
            study_name=STUDY,
            direction="minimize" if metric.startswith("-") else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
            load_if_exists=True,
        )
        known = study.user_attrs.get("asked")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is no study of this command ({' '.join(str(error).split())[:100]}): move it."
        ) from error
    identity = json.loads(json.dumps(asked.identity()))
    if known is None:
        study.set_user_attr("asked", identity)
    elif known != identity:
        other = next(key for key in identity if known.get(key) != identity[key])
        raise UserError(
            f"{asked.folder} holds a study of another {other} ({known.get(other)!r:.100}, here "
            f"{identity[other]!r:.100}): give another folder with --study."
        )
    return study


def tune(asked: Asked, n_trials: int, report: Callable[[optuna.Study], None]) -> optuna.Study:
    """Runs trials until the study has so many that are finished; several processes add up.

    Args:
        asked: what is tuned.
        n_trials: complete and pruned ones together.
        report: called with the study after each trial.

    Raises:
        UserError: nothing can be tried, or every trial so far has failed.
    """
    metric = check(asked)
    study = open_study(asked, metric)
    while (n_done := len(study.get_trials(deepcopy=False, states=DONE))) < n_trials:
        trial = study.ask()
        # By number: the next process, or the same command after an interruption, draws what this one would have.
        study.sampler = optuna.samplers.TPESampler(seed=trial.number, n_startup_trials=8, constant_liar=True)
        say(f"trial {trial.number} ({n_done} of {n_trials} done): {_shown(draw(asked.space, trial))}")
        _carry_out(asked, study, trial, metric)
        if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            report(study)
    return study


def valid_score(result: dict[str, Any], metric: str) -> float:
    """What a run is judged by: its model as it ends, with what it has chosen after the last epoch."""
    phase = result["phases"].get("student") or result["phases"]["model"]
    return phase["valid"]["all"][metric.lower()]


def _carry_out(asked: Asked, study: optuna.Study, trial: Trial, metric: str) -> None:
    folders: list[Path] = []
    epochs: list[int] = []

    def look(folder: Path, epoch: int, score: float) -> None:
        folders[:] = [folder]
        epochs.append(epoch)
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        result = run(**asked.configuration(draw(asked.space, trial)), tests=False, on_validation=look)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        say(f"trial {trial.number}: pruned after epoch {epochs[-1]}")
    except (UserError, RuntimeError, MemoryError) as error:  # what this draw cannot do: diverge, not fit into memory
        study.tell(trial, state=TrialState.FAIL)
        if not study.get_trials(deepcopy=False, states=DONE) and trial.number < 1:
            raise
        say(f"trial {trial.number}: failed, {' '.join(str(error).split())}")
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        if len(failed) > 5 + 3 * len(study.get_trials(deepcopy=False, states=DONE)):
            raise UserError(f"{len(failed)} trials have failed, the last of them so: {error}") from error
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        score = valid_score(result, metric.removeprefix("-"))
        trial.set_user_attr("result", result["path"])
        study.tell(trial, score)
        best = study.best_trial
        say(
            f"trial {trial.number}: {metric.removeprefix('-')} {score:.4f} (best {best.value:.4f}, trial {best.number})"
        )
        if best.number == trial.number:
            write_best(asked, best, metric.removeprefix("-"))
            return
    drop_weights(folders)


def drop_weights(folders: Iterable[Path]) -> None:
    """Of a trial's run stays what it scored and how it was drawn: weights of hundreds would fill a disk."""
    for folder in folders:
        for file in folder.rglob("*.pth"):
            file.unlink(missing_ok=True)


def write_best(asked: Asked, best: FrozenTrial, metric: str) -> None:
    """Writes `best.yaml`, which `--config_files` takes."""
    replay = optuna.trial.FixedTrial(best.params, number=best.number)
    values = {key: value for key, value in asked.given.items() if key not in _MACHINE} | draw(asked.space, replay)
    text = (
        f"# {metric} {best.value:.4f} on validation: trial {best.number} of {asked.folder}\n"
        f"# recbole-odrec --model={asked.model} --dataset={asked.dataset} "
        f"--config_files={asked.folder / 'best.yaml'}\n{yaml.safe_dump(values, sort_keys=False)}"
    )
    write_atomically(asked.folder / "best.yaml", lambda file: file.write(text.encode()))


def _shown(drawn: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in drawn.items()
    )


def say(text: str) -> None:
    """A line on the screen, beside the log."""
    logging.getLogger().debug(text)
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
