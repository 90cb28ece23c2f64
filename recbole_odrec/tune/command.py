"""`recbole-odrec tune`: what was asked for, and the pages that show what came of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

import optuna
import plotly.io
from optuna.trial import TrialState

from recbole_odrec.arguments import CommandParser, parse_train_arguments
from recbole_odrec.config.properties import properties_folder
from recbole_odrec.config.reading import read_yaml
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_atomically
from recbole_odrec.tune.study import Asked, tune

_OLDEST_RAY = (2, 40)


def command(words: Sequence[str]) -> None:
    """Tunes as asked on the command line; prints the best and where it stands."""
    parser = CommandParser("tune", "Searches keys of a model by validation; the test set is never looked at.")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="of the study in all (default 20)")
    parser.add_argument("--space", metavar="FILE", help="what may change, in YAML (default: properties/space)")
    parser.add_argument("--study", metavar="FOLDER", help="to begin or to go on with (default: tune/MODEL-DATASET)")
    parser.add_argument(
        "--ray", action="store_true", help="trials as Ray Tune runs, several at a time, on a cluster too"
    )
    parser.add_argument("--trial_cpus", type=float, default=1, metavar="N", help="of a trial with --ray (default 1)")
    parser.add_argument("--trial_gpus", type=float, default=0, metavar="N", help="the same (default 0)")
    parser.usage = (
        "%(prog)s --model=MODEL --dataset=DATASET [--trials N] [--space FILE] [--study FOLDER] [--key=value ..]"
    )
    own, rest = parser.parse_known_args(words)
    train = parse_train_arguments(rest)
    if train.resume:
        raise UserError("--resume is of one run: a study goes on where the same command is given again.")
    if own.trials < 1:
        raise UserError(f"--trials={own.trials}, expected a whole number from 1.")
    folder = Path(own.study or f"tune/{train.model}-{train.dataset}")
    space = read_yaml(own.space) if own.space else _usual_space(train.model)
    asked = Asked(train.model, train.dataset, tuple(train.config_files), tuple(train.keys), space, folder)
    report = partial(write_pages, folder)
    if own.ray:
        _check_ray()
        from recbole_odrec.tune.ray_trials import tune_with_ray

        study = tune_with_ray(asked, own.trials, report, own.trial_cpus, own.trial_gpus)
    else:
        study = tune(asked, own.trials, report)
    best = study.best_trial
    sys.stdout.write(f"\nbest of {len(study.trials)}: trial {best.number}, {best.value:.4f} on validation\n")
    for name, value in best.params.items():
        sys.stdout.write(f"  {name}: {value}\n")
    sys.stdout.write(f"{folder / 'study.html'}\n{folder / 'best.yaml'}\n")


def _check_ray() -> None:
    """RecBole asks for a Ray of 2023, which no Python here can import; nothing of RecBole's that runs here does."""
    way = "pip install 'ray[tune]>=2.40'"
    try:
        found = metadata.version("ray")
    except metadata.PackageNotFoundError as error:
        raise UserError(f"--ray needs the package ray, which is not installed: {way}.") from error
    if tuple(int(part) for part in found.split(".")[:2]) < _OLDEST_RAY:
        raise UserError(f"--ray needs ray 2.40 or later, and {found} is installed, as RecBole asks for: {way}.")


def _usual_space(model: str) -> dict:
    folder = properties_folder() / "space"
    file = folder / f"{model}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise UserError(f"no space for {model} comes with the package ({known} have one): give --space=FILE.")
    return read_yaml(file)


def write_pages(folder: Path, study: optuna.Study) -> None:
    """`study.html`: scores from trial to trial and epoch to epoch, and which keys mattered. It needs no network."""
    from optuna import visualization as show

    figures = [show.plot_optimization_history(study), show.plot_intermediate_values(study), show.plot_slice(study)]
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    varied = {name for name in study.best_params if len({str(t.params.get(name)) for t in complete}) > 1}
    if len(complete) > 3 and varied and len({trial.value for trial in complete}) > 1:
        figures.append(show.plot_param_importances(study))
    parts = [plotly.io.to_html(f, include_plotlyjs=not number, full_html=False) for number, f in enumerate(figures)]
    page = f'<!doctype html><meta charset="utf-8"><title>{folder.name}</title>\n{"".join(parts)}'
    write_atomically(folder / "study.html", lambda file: file.write(page.encode()))
