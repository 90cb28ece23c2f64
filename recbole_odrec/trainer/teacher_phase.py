"""Phase 1: a trained teacher, from a checkpoint, from the cache, or by training it now."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader
from recbole.utils import init_seed
from torch import nn

from recbole_odrec.config import model_keys, teacher_config
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_atomically
from recbole_odrec.model.adapter import ProductTeacher
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.registry import model_class
from recbole_odrec.settings import DistillationConfig, parse
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.resumable import ResumableTrainer, phase_log

Source = Literal["trained", "cache", "checkpoint"]


@dataclass
class TeacherPhase:
    """What phase 1 gave.

    Attributes:
        model: the trained teacher, with `training_cases` and `item_table`.
        trainer: a trainer that evaluates it, its best weights and the history of its training loaded.
        source: where it came from.
        checkpoint: file of the best weights.
    """

    model: nn.Module
    trainer: ResumableTrainer
    source: Source
    checkpoint: Path


@dataclass
class TeacherPlan:
    """A teacher that can serve, before any training: its configuration, its model, and weights if it is given."""

    config: Config
    model: nn.Module
    weights: Path | None

    @property
    def width(self) -> int:
        """Columns of the teacher's item table."""
        return _served(self.model).hidden_size


def plan_teacher(config: Config, train_data: Any) -> TeacherPlan:
    """Builds the teacher that the configuration asks for and finds out whether it can serve; writes nothing.

    Raises:
        UserError: a teacher that cannot serve, or a checkpoint that is missing, corrupt or of another item set.
    """
    distillation = parse(DistillationConfig, config)
    path = distillation.teacher_checkpoint and Path(distillation.teacher_checkpoint)
    if path:
        phase_config = _config_of_checkpoint(config, path, train_data)
    else:
        phase_config = teacher_config(config, distillation.teacher, distillation.teacher_config)
    model = _build(phase_config, train_data)
    if path:
        model.load_state_dict(checkpoint.load(path)["state_dict"])
    return TeacherPlan(phase_config, model, path or None)


def provide_teacher(
    config: Config, train_data: Any, valid_data: Any, run_dir: Path, resume: bool = False, show_progress: bool = False
) -> TeacherPhase:
    """Loads `teacher_checkpoint`, reuses a teacher of the same data, configuration and seed, or trains one.

    Args:
        config: the student's configuration.
        train_data, valid_data: the run's loaders; a RecBole model trains on prefix rows of the same data set.
        run_dir: folder of the run; a trained teacher goes to `teacher/` in it.
        resume: continue a teacher phase that was interrupted in `run_dir`.
        show_progress: progress bars.

    Raises:
        UserError: as `plan_teacher`.
    """
    plan = plan_teacher(config, train_data)
    log = logging.getLogger()
    if plan.weights is not None:
        log.info(f"teacher: {plan.config['model']} from {plan.weights}")
        return _loaded(ResumableTrainer(plan.config, plan.model, run_dir, "teacher"), plan.weights, "checkpoint")
    name = f"{plan.config['model']}-{config['dataset']}-{_key(plan.config, train_data)}"
    cached = Path(config["checkpoint_dir"]) / "teachers" / name
    is_begun = (run_dir / "teacher" / "last.pth").is_file()
    if config["teacher_cache"] and not is_begun and (cached / "best.pth").is_file():
        log.info(f"teacher: reusing {cached}, trained with the same data, configuration and seed")
        return _loaded(ResumableTrainer(plan.config, plan.model, run_dir, "teacher"), cached / "best.pth", "cache")
    run_dir.mkdir(parents=True, exist_ok=True)
    with phase_log(run_dir, "teacher"):
        trainer = ResumableTrainer(plan.config, plan.model, run_dir, "teacher")
        init_seed(plan.config["seed"], plan.config["reproducibility"])
        if resume:
            trainer.resume()
        trainer.fit(_phase_data(plan.model, plan.config, train_data), valid_data, show_progress=show_progress)
    if config["teacher_cache"]:
        _publish(trainer, cached)
    return _loaded(trainer, trainer.best_file, "trained")


def _build(phase_config: Config, train_data: Any) -> nn.Module:
    """The untrained model; a RecBole model is tried as a teacher before any time is spent on it."""
    kind = model_class(phase_config["model"])
    init_seed(phase_config["seed"], phase_config["reproducibility"])
    try:
        model = kind(phase_config, train_data._dataset).to(phase_config["device"])
    except UserError:
        raise
    except Exception as error:  # a model of another kind misses its own settings or features in any way
        reason = " ".join(str(error).split())
        raise UserError(
            f"{kind.__name__} cannot be the teacher: it could not be built from this data "
            f"({type(error).__name__}: {reason})."
        ) from error
    _served(model)
    return model


def _config_of_checkpoint(config: Config, path: Path, train_data: Any) -> Config:
    """The configuration that rebuilds the network stored in a checkpoint of an earlier run."""
    state = checkpoint.load(path)
    n_items = int(train_data._dataset.item_num)
    if state["items"] != checkpoint.item_fingerprint(train_data._dataset):
        raise UserError(
            f"{path}: this {state['model']} was trained on another item set ({state['n_items']} items, this data has "
            f"{n_items}); train a teacher on {config['dataset']} or give the data it was trained on."
        )
    network = {key: state["config"][key] for key in model_keys(state["model"]) if key in state["config"]}
    phase_config = teacher_config(config, state["model"], network)
    longest, ours = state["config"]["MAX_ITEM_LIST_LENGTH"], config["MAX_ITEM_LIST_LENGTH"]
    if longest < ours:
        raise UserError(
            f"{path}: this {state['model']} reads sessions of at most {longest} items, this run has "
            f"MAX_ITEM_LIST_LENGTH={ours}; set it to {longest} or less."
        )
    phase_config["MAX_ITEM_LIST_LENGTH"] = longest
    return phase_config


def _phase_data(model: nn.Module, phase_config: Config, train_data: Any) -> Any:
    """The teacher's own loader over the run's data set: its batch size, and prefix rows for RecBole's models.

    RecBole's models cannot read session windows, and some need every row at full width.
    """
    if not isinstance(train_data, SessionWindowLoader):
        return train_data
    if isinstance(model, SessionRecommender):
        return SessionWindowLoader(phase_config, train_data._dataset, train_data.shuffle)
    dataset = train_data._dataset.copy(train_data._dataset.inter_feat)
    dataset.pad_to_max = True
    return TrainDataLoader(phase_config, dataset, None, shuffle=train_data.shuffle)


def _loaded(trainer: ResumableTrainer, best_file: Path, source: Source) -> TeacherPhase:
    state = checkpoint.load(best_file)
    trainer.model.load_state_dict(state["state_dict"])
    last = best_file.with_name("last.pth")
    history = checkpoint.load(last) if last.is_file() else {}
    trainer.best_epoch = state["epoch"]
    trainer.epoch_seconds = list(history.get("epoch_seconds", []))
    trainer.loss_history = list(history.get("loss_history", []))
    return TeacherPhase(_served(trainer.model), trainer, source, best_file)


def _served(model: nn.Module) -> nn.Module:
    """The model with the parts that distillation uses."""
    return model if isinstance(model, SessionRecommender) else ProductTeacher(model)


def _key(phase_config: Config, train_data: Any) -> str:
    """Stands for the teacher's configuration and seed, the items, and every training row."""
    dataset = train_data._dataset
    runs = [part for _, block in dataset.case_runs().blocks() for part in block]
    return checkpoint.fingerprint(phase_config, checkpoint.item_fingerprint(dataset), dataset.tokens, *runs)


def _publish(trainer: ResumableTrainer, folder: Path) -> None:
    """Copies both checkpoints into the cache, the one that marks the entry as complete last."""
    for file in (trainer.last_file, trainer.best_file):
        content = file.read_bytes()
        write_atomically(folder / file.name, partial(_write, content))


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
