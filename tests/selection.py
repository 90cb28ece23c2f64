"""Tests that `-m "not slow"` leaves out, and tests in which coverage is not measured."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

# Left out by `-m "not slow"`, which is what the oldest stack is tested with.
SLOW = (
    "benchmark/",
    "neighbours/test_as_teachers.py",
    "demo/",
    "data/test_parquet.py::test_held_in_memory_every_model",
    "data/test_parquet.py::test_a_streamed_run_resumes",
    "data/test_parquet.py::test_a_student_and_its_teacher",
    "data/test_window_length.py::test_the_films_of_ml_100k_ask_for_long_windows",
    "data/test_window_length.py::test_a_teacher_given_as_a_file",
    "processes/",
    "trainer/test_resume.py",
    "trainer/test_teacher_weights.py",
    "trainer/test_teacher_phase.py",
    "test_package.py",
)


# Two thirds of the tests' time; 3 % of the lines of the package are run by nothing else.
NOT_MEASURED = (
    "bundle/test_bundle_fuzz.py",
    "config/test_reading.py",
    "data/test_parquet.py::test_held_in_memory_every_model",
    "data/test_parquet.py::test_a_streamed_run_resumes",
    "data/test_readers_fuzz.py",
    "data/test_session_dataset.py",
    "data/test_window_length.py",
    "data/test_window_loader.py",
    "demo/test_benchmark_browser.py",
    "losses/test_tiles.py",
    "model/test_models.py",
    "neighbours/test_as_teachers.py",
    "processes/test_training.py",
    "trainer/",
    "tune/test_study.py::test_the_best_of_real_runs",
    "test_compat.py",
    "test_decided.py",
    "test_evaluation.py",
    "test_import_hooks.py",
    "test_own_parts.py",
    "test_package.py",
)


def is_one_of(item: pytest.Item, names: tuple[str, ...]) -> bool:
    """Whether the test is named there, by its folder, its file or its own name."""
    return f"{item.path.relative_to(Path(__file__).parent).as_posix()}::{item.name}".startswith(names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the slow tests, by file or by name."""
    for item in items:
        if is_one_of(item, SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Coverage is not measured in tests whose lines others run: by its tracer a test takes up to twice as long.

    `no_cover` of pytest-cov stops the inner one of the two tracers of a worker of pytest-xdist, and starts the outer.
    """
    if not (item.config.pluginmanager.hasplugin("_cov") and is_one_of(item, NOT_MEASURED)):  # pytest --cov
        return (yield)
    tracer, of_threads = sys.gettrace(), threading.gettrace()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # nor in the processes that they start
        sys.settrace(None)
        threading.settrace(None)
        try:
            return (yield)
        finally:
            sys.settrace(tracer)
            threading.settrace(of_threads)
