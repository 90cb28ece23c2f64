"""Real data for the tests: ml-100k out of RecBole's wheel, whole or its first users, and session benchmark files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import recbole
import torch
from hypothesis import settings
from recbole.config import Config
from selection import pytest_collection_modifyitems, pytest_runtest_protocol  # noqa: F401  # pytest's hooks
from torch.utils.tensorboard import SummaryWriter

import recbole_odrec  # noqa: F401  # registers with RecBole
from recbole_odrec.config import make_config

ML_100K = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"

# What lands is tested with the same examples each time; everywhere else they are new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")

torch.set_num_threads(1)  # these networks are too small to share, and the machine may be busy


def film_sessions() -> dict[str, list[str]]:
    """Real sessions: the first 30 films of each user of ml-100k in time order, by user in the file's order."""
    events: dict[str, list[tuple[float, str]]] = {}
    for line in (ML_100K / "ml-100k.inter").read_text().splitlines()[1:]:
        user, item, _, time = line.split("\t")
        events.setdefault(user, []).append((float(time), item))
    return {user: [item for _, item in sorted(found)[:30]] for user, found in events.items()}


# A network that trains in seconds; everything else as shipped.
SMALL = {
    "recipe": "none",
    "hidden_size": 16,
    "compression_rate": 2,
    "epochs": 2,
    "train_batch_size": 256,
    "MAX_ITEM_LIST_LENGTH": 20,
    "show_progress": False,
    "state": "ERROR",
    "metric_decimal_place": 10,
}

HAVE_RECIPES = ("ODRec", "SASRecTeacher", "GRU4RecTeacher")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """RecBole writes `log/` and `saved/` into the working directory; its random state is global.

    TensorBoard's thread writes after a test is over, when the working directory is another.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recbole.utils.utils.SummaryWriter", lambda folder: SummaryWriter(str(Path(folder).resolve())))
    torch.manual_seed(0)
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def device() -> Iterator[torch.device]:
    """The device of every configuration made in this process, with and without a GPU that can be seen.

    Tests compare digits of the CPU, and put models where they were made. `trainer/test_devices.py` is about others;
    commands that tests run in processes of their own take what RecBole finds.
    """
    device = torch.device("cpu")
    with pytest.MonkeyPatch.context() as patch:
        take = Config._init_device

        def take_this_one(config: Config) -> None:
            take(config)
            config.final_config_dict["device"] = device

        patch.setattr(Config, "_init_device", take_this_one)
        yield device


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `ml-small`: the interactions of ml-100k's first 120 users, unchanged otherwise."""
    folder = tmp_path_factory.mktemp("data")
    lines = (ML_100K / "ml-100k.inter").read_text().splitlines()
    kept = [line for line in lines[1:] if int(line.split("\t")[0]) <= 120]
    (folder / "ml-small").mkdir()
    (folder / "ml-small" / "ml-small.inter").write_text("\n".join([lines[0], *kept]) + "\n")
    return folder


@pytest.fixture(scope="session")
def benchmark_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `ml-sessions`: the same users as session benchmark files, one prefix a line."""
    folder = tmp_path_factory.mktemp("benchmark") / "ml-sessions"
    folder.mkdir()
    sessions: dict[str, list[tuple[float, str]]] = {}
    for line in (ML_100K / "ml-100k.inter").read_text().splitlines()[1:]:
        user, item, _, time = line.split("\t")
        if int(user) <= 60:
            sessions.setdefault(user, []).append((float(time), item))
    rows: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for user, events in sessions.items():
        items = [item for _, item in sorted(events)]
        for end in range(1, len(items)):
            part = "test" if end == len(items) - 1 else "valid" if end == len(items) - 2 else "train"
            rows[part].append(f"{user}\t{' '.join(items[:end])}\t{items[end]}")
    for part, lines in rows.items():
        header = "session_id:token\titem_id_list:token_seq\titem_id:token"
        (folder / f"ml-sessions.{part}.inter").write_text("\n".join([header, *lines]) + "\n")
    return folder.parent


@pytest.fixture
def write_sessions() -> Callable[..., None]:
    """Writes whole-session files `ml` below a folder: the first users' first films in time order."""

    def write(folder: str, n_users: int, n_films: int) -> None:
        from recbole_odrec.cli import main

        events: dict[str, list[tuple[float, str]]] = {}
        for line in (ML_100K / "ml-100k.inter").read_text().splitlines()[1:]:
            user, item, _, time = line.split("\t")
            if int(user) <= n_users:
                events.setdefault(user, []).append((float(time), item))
        lines = [" ".join(item for _, item in sorted(found)[:n_films]) for found in events.values()]
        Path("train.txt").write_text("\n".join(lines) + "\n")
        words = ["--name", "ml", "--output", folder, "--train_sessions", "train.txt"]
        assert main(["convert", "--no_progress", *words]) == 0

    return write


@pytest.fixture
def small_config(small_data: Path) -> Callable[..., Any]:
    """Makes a configuration of a small network on ml-small; keyword arguments override."""

    def make(model: str = "ODRec", **overrides: object) -> Any:
        values = {**SMALL, "data_path": str(small_data), **overrides}
        if model != "ODRec":
            values.pop("compression_rate", None)
        if model not in HAVE_RECIPES:
            values.pop("recipe")
        return make_config(model, "ml-small", config_dict=values)

    return make


@pytest.fixture
def benchmark_settings(benchmark_data: Path) -> dict[str, object]:
    """Settings that read ml-sessions."""
    return {
        **SMALL,
        "data_path": str(benchmark_data),
        "benchmark_filename": ["train", "valid", "test"],
        "USER_ID_FIELD": "session_id",
        "alias_of_item_id": ["item_id_list"],
    }


# ---------------------------------------------------------------------- bundles

# A run of seconds, for what only needs a checkpoint of it.
TINY_RUN = {
    "recipe": "none",
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
    from recbole_odrec.quick_start import run

    done: dict[str, dict] = {}

    def once(model: str, **settings: object) -> dict:
        key = repr((model, sorted(settings.items())))
        if key not in done:
            folder = tmp_path_factory.mktemp(model)
            values = {**TINY_RUN, "data_path": str(small_data), "checkpoint_dir": str(folder), **settings}
            if model == "ODRec":
                values = {"compression_rate": 2, **values}
            if model not in HAVE_RECIPES:
                values.pop("recipe")
            if model == "CORE":  # its word for it
                values["embedding_size"] = values.pop("hidden_size")
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
    from recbole_odrec.benchmark.device_bundles import write_random_bundle

    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    write_random_bundle(folder, "student", 60, "fp32", topk=10, hidden_size=16)
    return folder
