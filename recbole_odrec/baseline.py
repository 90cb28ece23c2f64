"""RecBole's own models run beside ours: RecBole's data set, loaders and trainer, our report."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import recbole.data.dataset
import torch
from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import Dataset
from recbole.utils import ModelType, get_trainer

from recbole_odrec.data.exact_tables import exact
from recbole_odrec.data.head_tail import head_items
from recbole_odrec.data.length_buckets import LengthBucketLoader
from recbole_odrec.data.parquet_manifest import parquet_folder
from recbole_odrec.data.preparation import prepare
from recbole_odrec.data.session_dataset import SessionDataset, check_refit, refuse_streamed
from recbole_odrec.data.session_file import session_file_paths
from recbole_odrec.data.table_reader import one_line
from recbole_odrec.errors import UserError
from recbole_odrec.losses import CatalogueCrossEntropy
from recbole_odrec.phases import OnValidation, build_model, finish, phase_report, start_logging
from recbole_odrec.preflight import preflight
from recbole_odrec.run_folder import identify, new_run_folder
from recbole_odrec.trainer.finite import watch
from recbole_odrec.trainer.topk_collector import TopKCollector


def run_baseline(config: Config, tests: bool, on_validation: OnValidation | None = None) -> dict[str, Any]:
    """A RecBole model with RecBole's own data set, loaders and trainer, reported as ours are."""
    identity = identify(config)
    train_data, valid_data, test_data = prepare(config, baseline_dataset, tests)
    if config["bucket_by_length"]:
        train_data = bucket_by_length(_build(config, train_data), train_data)
    # Some models count the batches they have seen: the one that is tried is not the one that is trained.
    preflight(config, _build(config, train_data), train_data, valid_data, test_data)
    model = _build(config, train_data)
    run_dir = new_run_folder(config, identity)
    start_logging(config, train_data, valid_data, test_data)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector = TopKCollector(config)
    watch(trainer)
    trainer.saved_model_file = str(run_dir / "best.pth")
    trainer.epochs = config["refit_epochs"] or trainer.epochs
    start = perf_counter()
    callback = partial(on_validation, run_dir) if on_validation else None
    trainer.fit(train_data, valid_data, show_progress=config["show_progress"], callback_fn=callback)
    seconds, best_epoch = perf_counter() - start, None
    if Path(trainer.saved_model_file).is_file():
        # RecBole pickles its Config; this file is the one that this very run has just written.
        best = torch.load(trainer.saved_model_file, map_location=config["device"], weights_only=False)
        model.load_state_dict(best["state_dict"])
        model.load_other_parameter(best.get("other_parameter"))
        best_epoch = int(best["epoch"])
    is_head = head_items(train_data._dataset) if train_data.is_sequential else None
    report = phase_report(trainer, valid_data, test_data, is_head, run_dir / "model")
    report.update(seconds=round(seconds, 3), best_epoch=best_epoch, checkpoint=trainer.saved_model_file)
    return finish(config, run_dir, {"model": report})


def _build(config: Config, train_data: Any) -> Any:
    """The model; one that looks into the rows of its data set finds none where sessions are whole."""
    try:
        model = build_model(config, train_data)
    except UserError:
        raise
    except Exception as error:
        if not isinstance(train_data._dataset, SessionDataset):
            raise UserError(
                f"{config['model']} cannot be built with these settings from this data ({type(error).__name__}: "
                f"{one_line(error)[:200]})."
            ) from error
        raise _no_sessions(config, f"looks for what they lack ({type(error).__name__}: {one_line(error)})") from error
    if config["fused_loss"]:
        fuse_loss(model)
    return model


def _no_sessions(config: Config, why: str) -> UserError:
    return UserError(
        f"{config['model']} cannot read the whole sessions of {config['dataset']}, it {why}: write prefix rows with "
        "`recbole-odrec convert --expand`, or take one of RecBole's other sequential models."
    )


# The data set that RecBole takes for a kind of model; a model with one of its own has it by name.
_DATASETS = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}


def _dataset_class(config: Config) -> type[Dataset]:
    usual = _DATASETS.get(config["MODEL_TYPE"], "Dataset")
    return getattr(recbole.data.dataset, f"{config['model']}Dataset", getattr(recbole.data.dataset, usual))


def baseline_dataset(config: Config) -> Dataset:
    """RecBole's own data set, read and ordered exactly; for whole sessions, ours with rows of full width."""
    for key in ("save_dataset", "dataset_save_path"):
        if config.external_config_dict.get(key):
            raise UserError(
                f"{key}={config[key]!r}: data of RecBole's models are read anew by every run; leave it out."
            )
    if parquet_folder(config) is None and not session_file_paths(config):
        check_refit(config)
        if config["bucket_by_length"]:
            raise UserError(
                f"bucket_by_length=True needs files of whole sessions (`recbole-odrec convert`); {config['dataset']} "
                "has none: leave it out."
            )
        return exact(_dataset_class(config))(config)
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        raise _no_sessions(config, "is no sequential model")
    if hasattr(recbole.data.dataset, f"{config['model']}Dataset"):
        raise _no_sessions(config, "has a data set of its own")
    dataset = SessionDataset(config)
    refuse_streamed(dataset, config["model"])
    dataset.pad_to_max = not config["bucket_by_length"]
    return dataset


def bucket_by_length(model: Any, train_data: TrainDataLoader) -> LengthBucketLoader:
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


def fuse_loss(model: torch.nn.Module) -> None:
    """Lets a RecBole model compute the cross-entropy that it has in one pass over its scores."""
    if not isinstance(getattr(model, "loss_fct", None), torch.nn.CrossEntropyLoss):
        raise UserError(
            f"fused_loss=True needs a cross-entropy over the catalogue, and {type(model).__name__} has none here: set "
            "loss_type=CE if the model knows it, or leave fused_loss out."
        )
    model.loss_fct = CatalogueCrossEntropy()
