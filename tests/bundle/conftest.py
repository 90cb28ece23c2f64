"""Bundles of small networks: trained ones, RecBole's models, and random ones that need no training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.quick_start import run

TINY_RUN = {
    "hidden_size": 16,
    "epochs": 1,
    "train_batch_size": 1024,
    "MAX_ITEM_LIST_LENGTH": 20,
    "show_progress": False,
    "state": "ERROR",
    "metric_decimal_place": 10,
}


@pytest.fixture(scope="session")
def train(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict]:
    """Trains one epoch on ml-small, once for each model and setting; returns the run's result."""
    done: dict[str, dict] = {}

    def once(model: str, **settings: object) -> dict:
        key = repr((model, sorted(settings.items())))
        if key not in done:
            folder = tmp_path_factory.mktemp(model)
            values = {**TINY_RUN, "data_path": str(small_data), "checkpoint_dir": str(folder), **settings}
            if model == "ODRec":
                values = {"compression_rate": 2, **values}
            done[key] = run(model, "ml-small", config_dict=values)
        return done[key]

    return once


@pytest.fixture(scope="session")
def odrec_run(train) -> dict:
    """A student whose item order its teacher taught: ids of the bundle are not RecBole's."""
    return train("ODRec", item_order="teacher", init_from_teacher=True)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained student of 60 items."""
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    write_random_bundle(folder, "student", 60, "fp32", topk=10, hidden_size=16)
    return folder
