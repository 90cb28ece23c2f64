"""`recbole-odrec benchmark interactions`: events that no memory holds, sorted into sessions and trained on.

Dimension key: S sessions of a chunk, T of their events.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.data_memory import MEAN_LENGTH, peak_bytes
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.data.parquet_manifest import parquet_module
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json
from recbole_odrec.result import versions

_FILES = 16  # over which the events of each session are spread
_SESSIONS = 200_000  # of a chunk
_START, _A_DAY = 1_700_000_000, 86_400  # epoch seconds
_NAME = "synthetic"


def command(words: Sequence[str]) -> None:
    """Makes events, converts them and trains, each in a fresh process; prints and writes what that took."""
    parser = CommandParser("benchmark interactions", "Events to sessions to training steps, in bounded memory.")
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=100, help="training steps")
    parser.add_argument("--model", default="SASRecTeacher")
    parser.add_argument("--hidden_size", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="for the data, some 40 bytes an interaction for a while; removed")
    parser.add_argument("--output", type=Path, default=Path("results/interactions.json"))
    asked = parser.parse_args(words)
    if asked.interactions < 10_000 or asked.items < 2 or asked.steps < 1:
        raise UserError("--interactions needs at least 10000, --items at least 2, --steps at least 1.")
    parquet_module("duckdb")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        seconds = write_events(Path(folder) / "events", asked.interactions, asked.items)
        result: dict[str, Any] = {"interactions": asked.interactions, "seconds_to_generate": seconds}
        steps = (converted, (folder,)), (trained, (folder, asked.model, asked.hidden_size, asked.steps))
        for work, arguments in steps:
            with get_context("spawn").Pool(1) as pool:
                result[work.__name__] = pool.apply(work, arguments)
    command = " ".join(["recbole-odrec", "benchmark", "interactions", *words])
    write_json(asked.output, {"command": command, "machine": machine(), "versions": versions(), **result})
    for name, value in {**result.pop("converted"), **result.pop("trained")}.items():
        sys.stdout.write(f"{name}: {value:,}\n" if not isinstance(value, str) else f"{name}: {value}\n")
    sys.stdout.write(f"{asked.output}\n")


def write_events(folder: Path, n_events: int, n_items: int) -> float:
    """Parquet files of events in no order: Zipf items, seconds of half a year. Returns the seconds that took."""
    arrow, parquet = parquet_module("pyarrow"), parquet_module()
    random, start = np.random.default_rng(0), perf_counter()
    folder.mkdir(parents=True)
    chances = np.cumsum(1 / np.arange(1, n_items + 1))
    chances /= chances[-1]
    item_of = random.permutation(n_items)  # popular items have any number
    names = ["session_id", "item_id", "timestamp"]
    schema = arrow.schema([(name, arrow.int64()) for name in names])
    files = [parquet.ParquetWriter(folder / f"{at:02d}.parquet", schema) for at in range(_FILES)]
    n_written = n_sessions = 0
    while n_written < n_events:
        lengths = 2 + random.poisson(MEAN_LENGTH - 2, _SESSIONS)
        lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), n_events - n_written)) + 1]
        session = np.repeat(np.arange(len(lengths)), lengths)
        begins = random.integers(_START, _START + 180 * _A_DAY, len(lengths))
        times = begins[session] + random.integers(0, 1800, len(session))
        items = item_of[np.searchsorted(chances, random.random(len(session)))]
        columns = session + n_sessions, items, times
        file_of = random.integers(0, _FILES, len(session))
        for at, file in enumerate(files):
            here = random.permutation(np.flatnonzero(file_of == at))
            file.write_table(arrow.table([arrow.array(values[here]) for values in columns], schema=schema))
        n_sessions, n_written = n_sessions + len(lengths), n_written + len(session)
    for file in files:
        file.close()
    return round(perf_counter() - start, 1)


def converted(folder: str) -> dict[str, Any]:
    """Sorts the events into a Parquet folder of sessions: seconds, peak memory of this process, bytes on disk."""
    from recbole_odrec.data.event_sessions import Shares, convert_events
    from recbole_odrec.data.event_tables import EventTable

    before, start = peak_bytes(), perf_counter()
    events = Path(folder) / "events"
    table = EventTable.at(events, ("session_id", "item_id", "timestamp"))
    written = convert_events(table, Path(folder) / "dataset", _NAME, Shares(0.02, 0.02))
    return {
        "seconds_to_convert": round(perf_counter() - start, 1),
        "convert_peak_bytes": peak_bytes(),
        "convert_peak_bytes_above_imports": peak_bytes() - before,
        "event_bytes_on_disk": sum(path.stat().st_size for path in events.iterdir()),
        "session_bytes_on_disk": sum(path.stat().st_size for path in written.iterdir()),
    }


def trained(folder: str, model: str, hidden_size: int, n_steps: int) -> dict[str, Any]:
    """Reads the folder as a run does and trains.

    Returns:
        Seconds from the imports to the first batch, and of a step; peak memory of this process, and how much of it
        is above the imports and the model: weights, their gradients and Adam's two moments.
    """
    from recbole.data import create_dataset

    from recbole_odrec.config import make_config
    from recbole_odrec.data.preparation import prepare
    from recbole_odrec.data.window_loader import SessionWindowLoader
    from recbole_odrec.phases import build_model

    values = {"data_path": f"{folder}/dataset", "hidden_size": hidden_size, "state": "ERROR", "show_progress": False}
    values["recipe"] = "none"
    config = make_config(model, _NAME, config_dict={**values, "use_gpu": False})  # imports all of RecBole's models
    gc.collect()
    before, start = peak_bytes(), perf_counter()
    train_data, *_ = prepare(config, create_dataset, tests=True)
    loader = SessionWindowLoader(config, train_data._dataset)
    batches = iter(loader)
    first = next(batches)
    seconds = perf_counter() - start
    network = build_model(config, train_data)
    optimizer = torch.optim.Adam(network.parameters())
    n_cases, start = 0, perf_counter()
    for batch in [first, *islice(batches, n_steps - 1)]:
        optimizer.zero_grad()
        network.calculate_loss(batch).backward()
        optimizer.step()
        n_cases += len(batch.cases)
    seconds_of_step = (perf_counter() - start) / n_steps
    model_bytes = 4 * sum(parameter.nbytes for parameter in network.parameters())
    peak, start = peak_bytes(), perf_counter()
    n_batches = sum(1 for _ in islice(loader, 20 * n_steps))
    return {
        "training_cases": loader.n_cases,
        "items": train_data._dataset.item_num - 1,
        "seconds_to_first_batch": round(seconds, 2),
        "seconds_of_step": round(seconds_of_step, 3),
        "cases_a_step": round(n_cases / n_steps, 1),
        "batches_a_second_without_training": round(n_batches / (perf_counter() - start), 1),
        "train_peak_bytes": peak,
        "imports_bytes": before,
        "model_bytes": model_bytes,
        "train_peak_bytes_above_model": peak - before - model_bytes,
    }
