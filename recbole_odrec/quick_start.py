"""The pipeline: data, teacher, student, evaluation, result. Replaces `recbole.quick_start`, which needs ray."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import recbole.data.dataset
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import TrainDataLoader
from recbole.utils import get_trainer, init_logger, init_seed
from torch import Tensor

from recbole_odrec import result as results
from recbole_odrec.config import make_config
from recbole_odrec.data.head_tail import head_items
from recbole_odrec.data.length_buckets import LengthBucketLoader
from recbole_odrec.data.session_dataset import SessionDataset, check_refit
from recbole_odrec.data.session_file import session_file_paths
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.evaluation import evaluate
from recbole_odrec.files import write_atomically, write_json
from recbole_odrec.losses import CatalogueCrossEntropy
from recbole_odrec.nn import ProductCodesEmbedding
from recbole_odrec.nn.product import is_quick_in_bfloat16
from recbole_odrec.registry import OUR_MODELS, model_class
from recbole_odrec.run_folder import find_unfinished, identify, new_run_folder
from recbole_odrec.settings import DistillationConfig, parse
from recbole_odrec.trainer import DistillationTrainer, ResumableTrainer, checkpoint
from recbole_odrec.trainer.resumable import phase_log
from recbole_odrec.trainer.teacher_phase import plan_teachers, provide_teacher


def run(
    model: str = "ODRec",
    dataset: str = "ml-100k",
    config_files: Sequence[str] = (),
    config_dict: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    resume: bool | str = False,
    tests: bool = True,
) -> dict[str, Any]:
    """Trains and evaluates one model, ours or RecBole's; ODRec's teacher too.

    Args:
        model: `ODRec`, `SASRecTeacher`, `GRU4RecTeacher` or any RecBole model.
        dataset: data set name: `ml-100k` (comes with RecBole), or a folder of atomic files below `data_path`.
        config_files: YAML files, as RecBole's `config_files`.
        config_dict: keys and values, over the files.
        arguments: `--key=value` words, over both.
        resume: continue the newest unfinished run of this configuration, or the run in the folder given.
        tests: evaluate on the test set; False leaves it unseen (`"test": None`).

    Returns:
        The content of `result.json`; its own path is `result["path"]`.

    Raises:
        UserError: bad input, in one line.
    """
    config = make_config(model, dataset, config_files, config_dict, arguments)
    if config["model"] not in OUR_MODELS:
        if resume:
            raise UserError(f"--resume continues {', '.join(OUR_MODELS)}; RecBole's {model} keeps no exact state.")
        return _run_baseline(config, tests)
    run_dir, identity = find_unfinished(config, resume) if resume else None, identify(config)
    train_data, valid_data, test_data = _prepare_data(config)
    test_data = test_data if tests else None
    _check_models(config, train_data)
    # Only now, with all input checked, does the run write anything.
    run_dir = run_dir or new_run_folder(config, identity)
    _start_logging(config, train_data)
    if config["model"] == "ODRec":
        phases = _run_odrec(config, run_dir, train_data, valid_data, test_data, bool(resume))
    else:
        phases = {"model": _run_single(config, run_dir, train_data, valid_data, test_data, bool(resume))}
    return _finish(config, run_dir, phases)


# ---------------------------------------------------------------------- the three kinds of run


def _run_odrec(config: Config, run_dir: Path, train_data: Any, valid_data: Any, test_data: Any, resume: bool) -> dict:
    """Phase 1: the teacher. Phase 2: the student. Then both meet the test set, once."""
    show_progress = config["show_progress"]
    phases, teacher = {}, None
    if parse(DistillationConfig, config).needs_teacher:
        teacher = provide_teacher(config, train_data, valid_data, run_dir, resume, show_progress)
    with phase_log(run_dir, "student"):
        # Seeded again: the student is the same whether its teacher was trained just now or reused.
        init_seed(config["seed"], config["reproducibility"])
        trainer = DistillationTrainer(config, _build_model(config, train_data), run_dir=run_dir)
        resume = resume and trainer.last_file.is_file()
        if teacher is not None:
            trainer.attach_teacher(teacher.model, starts=not resume)
        if resume:
            trainer.resume()
        trainer.fit(train_data, valid_data, show_progress=show_progress)
    trainer.load_best()
    is_head = head_items(train_data._dataset)
    if teacher is not None:
        phases["teacher"] = _phase_report(teacher.trainer, valid_data, test_data, is_head, run_dir / "teacher")
        phases["teacher"].update(teacher.origin)
    phases["student"] = _phase_report(trainer, valid_data, test_data, is_head, run_dir / "student")
    return phases


def _run_single(config: Config, run_dir: Path, train_data: Any, valid_data: Any, test_data: Any, resume: bool) -> dict:
    """One of our teachers as a recommender of its own."""
    with phase_log(run_dir, "model"):
        trainer = ResumableTrainer(config, _build_model(config, train_data), run_dir, "model")
        init_seed(config["seed"], config["reproducibility"])
        if resume:
            trainer.resume()
        trainer.fit(train_data, valid_data, show_progress=config["show_progress"])
    trainer.load_best()
    return _phase_report(trainer, valid_data, test_data, head_items(train_data._dataset), run_dir / "model")


def _run_baseline(config: Config, tests: bool) -> dict[str, Any]:
    """A RecBole model with RecBole's own data set, loaders and trainer, reported as ours are."""
    init_seed(config["seed"], config["reproducibility"])
    identity = identify(config)
    train_data, valid_data, test_data = data_preparation(config, _baseline_dataset(config))
    valid_data = None if config["refit_epochs"] else valid_data
    test_data = test_data if tests else None
    model = _build_model(config, train_data)
    if config["bucket_by_length"]:
        train_data = _bucket_by_length(model, train_data)
    if config["fused_loss"]:
        _fuse_loss(model)
    run_dir = new_run_folder(config, identity)
    _start_logging(config, train_data)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.saved_model_file = str(run_dir / "best.pth")
    trainer.epochs = config["refit_epochs"] or trainer.epochs
    start = perf_counter()
    trainer.fit(train_data, valid_data, show_progress=config["show_progress"])
    seconds, best_epoch = perf_counter() - start, None
    if Path(trainer.saved_model_file).is_file():
        # RecBole pickles its Config; this file is the one that this very run has just written.
        best = torch.load(trainer.saved_model_file, map_location=config["device"], weights_only=False)
        model.load_state_dict(best["state_dict"])
        model.load_other_parameter(best.get("other_parameter"))
        best_epoch = int(best["epoch"])
    is_head = head_items(train_data._dataset) if train_data.is_sequential else None
    report = _phase_report(trainer, valid_data, test_data, is_head, run_dir / "model")
    report.update(seconds=round(seconds, 3), best_epoch=best_epoch, checkpoint=trainer.saved_model_file)
    return _finish(config, run_dir, {"model": report})


# ---------------------------------------------------------------------- steps


def _baseline_dataset(config: Config) -> Any:
    """RecBole's own data set; for whole sessions, which RecBole cannot read, ours with rows of full width."""
    if not session_file_paths(config):
        check_refit(config)
        if config["bucket_by_length"]:
            raise UserError(
                f"bucket_by_length=True needs files of whole sessions (`recbole-odrec convert`); {config['dataset']} "
                "has none: leave it out."
            )
        return create_dataset(config)
    if hasattr(recbole.data.dataset, f"{config['model']}Dataset"):
        raise UserError(
            f"{config['model']} has a data set of its own, which reads no whole sessions: write prefix rows with "
            "`recbole-odrec convert --expand`."
        )
    dataset = SessionDataset(config)
    dataset.pad_to_max = not config["bucket_by_length"]
    return dataset


def _bucket_by_length(model: torch.nn.Module, train_data: TrainDataLoader) -> LengthBucketLoader:
    """Batches as wide as their longest row, if the model scores a short history alike at any width."""
    data, scores = train_data._dataset, []
    for is_padded in (True, False):
        data.pad_to_max = is_padded
        rows = data[torch.arange(min(4, len(data)))].to(train_data.config["device"])
        with torch.no_grad(), suppress(RuntimeError, IndexError, ValueError):  # what a network of fixed width raises
            scores.append(model.eval().full_sort_predict(rows))
    is_alike = len(scores) == 2 and torch.allclose(*scores, rtol=1e-4, atol=1e-5)
    model.train()
    if not is_alike:
        raise UserError(
            f"bucket_by_length=True needs a model that does not mind how far a history is padded, and "
            f"{type(model).__name__} does: leave it out."
        )
    return LengthBucketLoader(train_data.config, data, train_data._sampler, shuffle=train_data.shuffle)


def _fuse_loss(model: torch.nn.Module) -> None:
    """Lets a RecBole model compute the cross-entropy that it has in one pass over its scores."""
    if not isinstance(getattr(model, "loss_fct", None), torch.nn.CrossEntropyLoss):
        raise UserError(
            f"fused_loss=True needs a cross-entropy over the catalogue, and {type(model).__name__} has none here: set "
            "loss_type=CE if the model knows it, or leave fused_loss out."
        )
    model.loss_fct = CatalogueCrossEntropy()


def _check_models(config: Config, train_data: Any) -> None:
    """Builds student and teacher once, so that what cannot be built is refused before anything is written."""
    student = _build_model(config, train_data)
    if config["model"] == "ODRec" and parse(DistillationConfig, config).needs_teacher:
        width = plan_teachers(config, train_data)[0].width
        if isinstance(student.item_table, ProductCodesEmbedding) and width != student.hidden_size:
            raise UserError(
                f"table=codes: the teacher's item table has {width} columns and hidden_size={student.hidden_size}; "
                "codes are those of the teacher's columns: make the two agree."
            )


def _start_logging(config: Config, train_data: Any) -> None:
    if config["reproducibility"]:
        torch.use_deterministic_algorithms(True, warn_only=True)
    init_logger(config)
    log = logging.getLogger()
    log.info(config)
    log.info(train_data._dataset)
    if config["score_dtype"] == "bfloat16" and not is_quick_in_bfloat16(config["device"]):
        log.warning("score_dtype=bfloat16 is emulated on this device, many times slower than float32; auto avoids it.")


def _prepare_data(config: Config) -> tuple[SessionWindowLoader, Any, Any]:
    """Our loader for training, RecBole's for evaluation."""
    init_seed(config["seed"], config["reproducibility"])
    try:
        data = create_dataset(config)
        train_data, valid_data, test_data = data_preparation(config, data)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"dataset `{config['dataset']}` could not be prepared: {reason}") from error
    if config["refit_epochs"]:
        valid_data = None  # it is training data now
    return SessionWindowLoader(config, train_data._dataset, config["shuffle"]), valid_data, test_data


def _build_model(config: Config, train_data: Any) -> torch.nn.Module:
    init_seed(config["seed"], config["reproducibility"])
    return model_class(config["model"])(config, train_data._dataset).to(config["device"])


def _phase_report(
    trainer: Any, valid_data: Any, test_data: Any, is_head: Tensor | None, folder: Path
) -> dict[str, Any]:
    """Metrics, sizes and times of a phase; the rank of every test case goes into a file beside its checkpoints."""
    show_progress = trainer.config["show_progress"]
    report = {"model": type(trainer.model).__name__}
    for split, data in (("valid", valid_data), ("test", test_data)):
        report[split] = evaluate(trainer, data, is_head, show_progress) if data else None
        ranks = (report[split] or {}).pop("ranks", None)
        if split == "test" and ranks is not None:
            path = folder / "test_ranks.npy"
            write_atomically(path, lambda file, ranks=ranks: np.save(file, ranks))
            report["test_ranks"] = str(path)
    report["parameters"] = results.parameter_report(trainer.model)
    if isinstance(trainer, ResumableTrainer):
        report.update(_times(trainer.epoch_seconds), best_epoch=trainer.best_epoch, losses=trainer.loss_history)
        report["checkpoint"] = str(trainer.best_file)
    return report


def _times(epoch_seconds: list[float]) -> dict[str, Any]:
    rounded = [round(seconds, 3) for seconds in epoch_seconds]
    return {"seconds": round(sum(epoch_seconds), 3), "seconds_per_epoch": rounded}


def _finish(config: Config, run_dir: Path, phases: dict[str, Any]) -> dict[str, Any]:
    """Writes `result.json`."""
    path = run_dir / "result.json"
    result = {
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        "phases": phases,
        "config": checkpoint.plain_config(config),
        "versions": results.versions(),
        "path": str(path),
    }
    write_json(path, result)
    return result
