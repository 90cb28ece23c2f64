"""Phase 1: a trained teacher, from a checkpoint, from the cache, or by training it now."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shutil import copyfileobj
from typing import Any, Literal

from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader
from recbole.utils import init_seed
from torch import nn

from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_atomically
from recbole_odrec.model.adapter import ProductTeacher
from recbole_odrec.nn.tables.split import split_tables
from recbole_odrec.processes.group import first_gives
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.counting import trainer_of
from recbole_odrec.trainer.objectives import splits_teacher
from recbole_odrec.trainer.phase_log import phase_log
from recbole_odrec.trainer.resumable import ResumableTrainer
from recbole_odrec.trainer.teacher_plan import TeacherPlan, plan_teachers, served, start_of_plans
from recbole_odrec.trainer.teacher_weights import Teaching, choose_weights, ensemble_of, leave_out_undecidable

Source = Literal["trained", "cache", "checkpoint"]


@dataclass
class TeacherPhase:
    """What phase 1 gave.

    Attributes:
        model: the trained teacher, with `training_cases` and `item_table`; of several, their `TeacherEnsemble`.
        trainer: a trainer that evaluates it; of one teacher, with the history of its training.
        origin: where it came from (`source`) and the file of its best weights (`checkpoint`).
        members: of several teachers, what each one's phase says of itself; empty for one.
        folder: name of its folder in the run's.
        decided: what was decided of the list of teachers, key -> reason.
        weights: those of the list where some were chosen, 0 for one that was left out.
    """

    model: nn.Module
    trainer: ResumableTrainer
    origin: dict[str, Any]
    members: list[dict[str, Any]] = field(default_factory=list)
    folder: str = "teacher"
    decided: dict[str, str] = field(default_factory=dict)
    weights: list[float] = field(default_factory=list)

    def described(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """The report of this phase with its origin; of several teachers, each one's training is its own."""
        if self.decided:
            decided = {**report.get("decided", {}), **self.decided}
            report = {**report, "decided": decided, "weights": self.weights}
        if not self.members:
            return {**report, **self.origin}
        own = {key: value for key, value in report.items() if key not in ("best_epoch", "losses", "checkpoint")}
        return {**own, "members": self.members}


def provide_teacher(
    config: Config,
    train_data: Any,
    valid_data: Any,
    run_dir: Path,
    resume: bool = False,
    show_progress: bool = False,
    plans: Sequence[TeacherPlan] | None = None,
) -> TeacherPhase:
    """The teacher, or several as one: each loaded from its checkpoint, reused, or trained.

    A teacher of the same data, configuration and seed is reused.

    Args:
        config: the student's configuration.
        train_data, valid_data: the run's loaders; a RecBole model trains on prefix rows of the same data set.
        run_dir: folder of the run; trained teachers go to `teacher/`, `teacher-2/` .. in it, in the order of the list.
        resume: continue a teacher phase that was interrupted in `run_dir`.
        show_progress: progress bars.
        plans: the teachers, if they are built already.

    Raises:
        UserError: as `plan_teachers`.
    """
    if plans is None:
        leave_out_undecidable(config, train_data._dataset, valid_data)
        plans = plan_teachers(config, train_data)
    phases = [_provide(config, plan, train_data, valid_data, run_dir, resume, show_progress) for plan in plans]
    start = start_of_plans(config, plans)
    teachers = [
        Teaching(plan.config["model"], phase.model, plan.share) for plan, phase in zip(plans, phases, strict=True)
    ]
    trainer = phases[start].trainer
    trainer.eval_collector.data_collect(train_data)  # a teacher that was not trained here has not yet
    weights, reasons = choose_weights(teachers, start, trainer, valid_data, show_progress)
    teaching = [phase for phase, weight in zip(phases, weights, strict=True) if weight]
    if len(teaching) == 1:
        return replace(teaching[0], decided=reasons, weights=weights)
    members = [
        {
            "model": plan.config["model"],
            "seed": plan.config["seed"],
            **phase.origin,
            "best_epoch": phase.trainer.best_epoch,
            "losses": phase.trainer.loss_history,
            "seconds": round(sum(phase.trainer.epoch_seconds), 3),
            **({"decided": decided} if (decided := getattr(plan.model, "decided", None)) else {}),
        }
        for plan, phase in zip(plans, phases, strict=True)
        if phase in teaching
    ]
    trainer = teaching[0].trainer  # of what it does, only evaluation is left
    trainer.model = ensemble = ensemble_of(teachers, weights, start)
    trainer.epoch_seconds = [seconds for phase in teaching for seconds in phase.trainer.epoch_seconds]
    return TeacherPhase(ensemble, trainer, {}, members, "teachers", reasons, weights)


def _provide(
    config: Config,
    plan: TeacherPlan,
    train_data: Any,
    valid_data: Any,
    run_dir: Path,
    resume: bool,
    show_progress: bool,
) -> TeacherPhase:
    """One teacher."""
    log, phase = logging.getLogger(), plan.phase
    if plan.weights is not None:
        log.info(f"{phase}: {plan.config['model']} from {plan.weights}")
        if split := getattr(plan.model, "decided", {}).get("split_table"):
            log.info(f"{phase}: {split}")
        trainer = trainer_of(plan.model)(plan.config, plan.model, run_dir, phase)
        return _loaded(config, trainer, plan.weights, "checkpoint")
    name = f"{plan.config['model']}-{config['dataset']}-{_key(plan.config, train_data)}"
    cached = Path(config["checkpoint_dir"]) / "teachers" / name
    is_begun = checkpoint.exists(run_dir / phase / "last.pth")
    if config["teacher_cache"] and not is_begun and checkpoint.exists(cached / "best.pth"):
        try:
            items = checkpoint.item_fingerprint(train_data._dataset)
            trainer = trainer_of(plan.model)(plan.config, plan.model, run_dir, phase)
            reused = _loaded(config, trainer, cached / "best.pth", "cache", items)
        except UserError as error:
            log.warning(f"{phase}: trained anew, the one in the cache is of no use: {error}")
        else:
            log.info(f"{phase}: reusing {cached}, trained with the same data, configuration and seed")
            return reused
    first_gives(lambda: run_dir.mkdir(parents=True, exist_ok=True))
    with phase_log(run_dir, phase):
        if reason := getattr(plan.model, "decided", {}).get("split_table"):
            log.info(f"{phase}: {reason}")
        trainer = trainer_of(plan.model)(plan.config, plan.model, run_dir, phase)
        init_seed(plan.config["seed"], plan.config["reproducibility"])
        if resume:
            trainer.resume()
        trainer.fit(_phase_data(plan.model, plan.config, train_data), valid_data, show_progress=show_progress)
    if config["teacher_cache"]:
        first_gives(lambda: _publish(trainer, cached))
    return _loaded(config, trainer, trainer.best_file, "trained")


def _phase_data(model: nn.Module, phase_config: Config, train_data: Any) -> Any:
    """The teacher's own loader over the run's data set: its batch size, and prefix rows for RecBole's models.

    RecBole's models cannot read session windows, and some need every row at full width.
    """
    if not isinstance(train_data, SessionWindowLoader):
        return train_data
    if not isinstance(served(model), ProductTeacher):
        return SessionWindowLoader(phase_config, train_data._dataset, train_data.shuffle)
    dataset = train_data._dataset.copy(train_data._dataset.inter_feat)
    dataset.pad_to_max = True
    return TrainDataLoader(phase_config, dataset, None, shuffle=train_data.shuffle)


def _loaded(
    config: Config, trainer: ResumableTrainer, best_file: Path, source: Source, items: str | None = None
) -> TeacherPhase:
    """The model with the weights of a file, which must be of these items where they are given, and no more than it.

    Raises:
        UserError: the file is of no use; the weights are as they were.
    """
    trainer.optimizer.zero_grad()
    trainer.optimizer.state.clear()  # with gradients and the average, four times as much as the weights
    trainer.average = None
    state = checkpoint.load_model(best_file, in_parts=True)
    last = best_file.with_name("last.pth")
    history = checkpoint.load(last, in_parts=True) if checkpoint.exists(last) else {}
    if items is not None:
        model = trainer.model
        stored = {"model": state["model"], "items": state["items"]}
        asked = {"model": type(model).__name__, "items": items}
        others = [name for name in asked if stored[name] != asked[name]]
        if others:
            raise UserError(f"{best_file} is of other {' and '.join(others)} than asked for.")
    checkpoint.load_weights(trainer.model, state["state_dict"], best_file, state["n_items"])
    if not splits_teacher(config):
        for table in split_tables(trainer.model).values():
            trainer.model.item_table = table.whole()
    if getattr(trainer.model, "followers", None) is not None:
        trainer.model.followers = None  # they teach nothing: what is reported is what taught
    trainer.best_epoch = state["epoch"]
    trainer.epoch_seconds = list(history.get("epoch_seconds", []))
    trainer.loss_history = list(history.get("loss_history", []))
    return TeacherPhase(served(trainer.model), trainer, {"source": source, "checkpoint": str(best_file)})


def _key(phase_config: Config, train_data: Any) -> str:
    """Stands for the teacher's configuration and seed, the items, and every training row."""
    dataset = train_data._dataset
    return checkpoint.fingerprint(phase_config, checkpoint.item_fingerprint(dataset), *dataset.content)


def _publish(trainer: ResumableTrainer, folder: Path) -> None:
    """Copies both checkpoints into the cache, the one that marks the entry as complete last."""
    for file in (trainer.last_file, trainer.best_file):
        with file.open("rb") as content:
            write_atomically(folder / file.name, partial(copyfileobj, content))
