"""What every kind of run does: build a model, start the log, report a phase, write `result.json`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from recbole.config import Config
from recbole.utils import init_seed
from torch import Tensor

from recbole_odrec.data.eval_loader import lost_targets, never_repeats
from recbole_odrec.errors import UserError
from recbole_odrec.evaluation import evaluate
from recbole_odrec.files import write_atomically, write_json
from recbole_odrec.neighbours.followers import keep_followers
from recbole_odrec.nn.product import is_quick_in_bfloat16
from recbole_odrec.processes.group import first_gives, is_first
from recbole_odrec.registry import OUR_MODELS, model_class
from recbole_odrec.result import parameter_report, versions
from recbole_odrec.screen import FILE_ONLY, data_lines, open_log, stay_silent
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.resumable import ResumableTrainer

# Gets the run's folder, the epoch, its `valid_metric`.
OnValidation = Callable[[Path, int, float], None]


def build_model(config: Config, train_data: Any) -> Any:
    """The untrained model, of this configuration's seed, on its device."""
    init_seed(config["seed"], config["reproducibility"])
    try:
        model = model_class(config["model"])(config, train_data._dataset)
        keep_followers(model, train_data._dataset)
        return model.to(config["device"])
    except (RuntimeError, MemoryError, OverflowError, ValueError) as error:  # of RecBole's, `baseline` says more
        if isinstance(error, UserError) or config["model"] not in OUR_MODELS:
            raise
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{config['model']} cannot be built at these sizes ({reason}): choose smaller ones.") from error


def start_logging(config: Config, train_data: Any, valid_data: Any, test_data: Any) -> None:
    """The log of the run: configuration and data set at the head of RecBole's file, three lines on the screen."""
    if config["reproducibility"]:
        torch.use_deterministic_algorithms(True, warn_only=True)
    if is_first():
        open_log(config, validates=bool(valid_data))
    else:
        stay_silent(config)
    log = logging.getLogger()
    log.info(config, extra=FILE_ONLY)
    log.info(train_data._dataset, extra=FILE_ONLY)
    log.info(data_lines(config, train_data, valid_data, test_data))
    for part, loader in (("validation", valid_data), ("test", test_data)):
        if n_lost := lost_targets(loader):
            log.warning(f"exclude_seen=True: {n_lost:,} {part} targets stand in their own history and cannot be found.")
    if never_repeats(valid_data, train_data):
        log.info("no validation target stands in its own history: --exclude_seen=True ranks what is new alone.")
    for key, reason in (config["decided"] or {}).items():
        log.info(f"{key}: {reason}")
    if config["sampled_items"]:
        n_items = train_data._dataset.item_num
        drawn = min(config["sampled_items"], n_items)
        log.info(f"sampled_items: losses without soft targets draw {drawn:,} of {n_items:,} items each step.")
    if not is_quick_in_bfloat16(config["device"]):
        if config["score_dtype"] == "bfloat16":
            log.warning(
                "score_dtype=bfloat16 is emulated on this device, many times slower than float32; auto avoids it."
            )
        if config["enable_amp"] and config["device"].type == "cpu":
            log.warning("enable_amp=True computes in bfloat16, which this processor emulates, many times slower.")


def phase_report(trainer: Any, valid_data: Any, test_data: Any, is_head: Tensor | None, folder: Path) -> dict[str, Any]:
    """Metrics, sizes and times of a phase; the rank of every test case goes into a file beside its checkpoints."""
    show_progress = trainer.config["show_progress"]
    report: dict[str, Any] = {"model": type(trainer.model).__name__}
    for split, data in (("valid", valid_data), ("test", test_data)):
        report[split] = evaluate(trainer, data, is_head, show_progress) if data else None
        ranks = (report[split] or {}).pop("ranks", None)
        if split == "test" and ranks is not None:
            path = folder / "test_ranks.npy"
            first_gives(partial(write_atomically, path, partial(_save, ranks)))
            report["test_ranks"] = str(path)
    report["parameters"] = parameter_report(trainer.model)
    if decided := getattr(trainer.model, "decided", None):
        report["decided"] = decided
    if (followers := getattr(trainer.model, "followers", None)) is not None:
        report["follower_gain"] = float(followers.gain)
    if (update := getattr(trainer, "update", None)) is not None:
        report["update"] = update.report()
    if isinstance(trainer, ResumableTrainer):
        report.update(_times(trainer.epoch_seconds), best_epoch=trainer.best_epoch, losses=trainer.loss_history)
        report["checkpoint"] = str(trainer.best_file)
    return report


def _save(values: np.ndarray, file: BinaryIO) -> None:
    np.save(file, values)


def _times(epoch_seconds: list[float]) -> dict[str, Any]:
    rounded = [round(seconds, 3) for seconds in epoch_seconds]
    return {"seconds": round(sum(epoch_seconds), 3), "seconds_per_epoch": rounded}


def finish(config: Config, run_dir: Path, phases: dict[str, Any]) -> dict[str, Any]:
    """Writes `result.json`."""
    path = run_dir / "result.json"
    result = {
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        "phases": phases,
        "config": checkpoint.plain_config(config),
        "versions": versions(),
        "path": str(path),
    }
    first_gives(lambda: write_json(path, result))
    return result
