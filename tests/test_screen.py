"""What a run writes on the screen, and what only into its log file."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recbole_odrec.quick_start import run
from recbole_odrec.screen import Screen

EPOCH = r"{}epoch \d: \d+\.\d s, loss \d+\.\d{{4}}, NDCG@10 0\.\d{{4}}"


@contextmanager
def unset_logging() -> Iterator[None]:
    """The process as a user's: nobody has set up logging (pytest has)."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    root.handlers = []
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers = before
        root.setLevel(level)


def settings(data: Path, **keys: object) -> dict[str, object]:
    small = {"hidden_size": 8, "epochs": 2, "train_batch_size": 1024, "MAX_ITEM_LIST_LENGTH": 10}
    return {**small, "data_path": str(data), "valid_metric": "NDCG@10", "metrics": ["Recall", "NDCG"], **keys}


@pytest.mark.parametrize(("model", "phase"), [("SASRecTeacher", "model "), ("GRU4Rec", "")])
def test_a_run_shows_the_data_in_three_lines_and_an_epoch_a_line(
    model: str, phase: str, small_data: Path, capsys: pytest.CaptureFixture
) -> None:
    with unset_logging():
        run(model, "ml-small", config_dict=settings(small_data, topk=[10, 20]))
    error = capsys.readouterr().err
    assert "\r" not in error
    data, cases, log, hint, *epochs = error.splitlines()
    assert hint == "no validation target stands in its own history: --exclude_seen=True ranks what is new alone."
    assert re.fullmatch(r"ml-small: 120 users, \d,\d{3} items, from .*ml-small", data)
    assert re.fullmatch(r"cases: [\d,]+ for training, 120 for validation, 120 for test", cases)
    assert len(epochs) == 2
    assert all(re.fullmatch(EPOCH.format(phase), line) for line in epochs), epochs
    file = Path(log.removeprefix("log: "))
    assert "Training Hyper Parameters" in file.read_text()
    assert "ndcg@20" in file.read_text()  # every metric of every epoch


def test_each_run_of_a_process_has_a_log_file_of_its_own(small_data: Path, capsys: pytest.CaptureFixture) -> None:
    files = []
    with unset_logging():
        for size in (512, 1024):
            run("GRU4Rec", "ml-small", config_dict=settings(small_data, epochs=1, topk=[10], train_batch_size=size))
            files.append(Path(capsys.readouterr().err.splitlines()[2].removeprefix("log: ")))
    assert all(f"train_batch_size = {size}" in file.read_text() for file, size in zip(files, (512, 1024), strict=True))
    assert "train_batch_size = 1024" not in files[0].read_text()


@pytest.mark.parametrize(
    ("eval_step", "expected"),
    [
        (0, ["a epoch 0: 1.5 s, loss 3.5000", "a epoch 1: 1.5 s, loss 3.5000"]),
        (1, ["a epoch 0: 1.5 s, loss 3.5000, MRR@5 0.2500", "a epoch 1: 1.5 s, loss 3.5000, MRR@5 0.2500"]),
        (2, ["a epoch 0: 1.5 s, loss 3.5000", "a epoch 1: 1.5 s, loss 3.5000, MRR@5 0.2500"]),
    ],
)
def test_an_epoch_waits_for_its_validation_if_there_is_one(eval_step: int, expected: list[str], capsys) -> None:
    log = logging.Logger("of this test")
    log.addHandler(Screen(logging.INFO, "MRR@5", eval_step))
    for epoch in range(2):
        log.info(f"\x1b[1;32ma epoch {epoch} training\x1b[0m [time: 1.50s, train loss: x: 3.0000, y: 0.5000]")
        if eval_step and (epoch + 1) % eval_step == 0:
            log.info(f"epoch {epoch} evaluating [time: 0.10s, valid_score: 0.250000]")
    assert capsys.readouterr().err.splitlines() == expected


def test_warnings_are_shown_and_other_messages_of_other_packages_are_not(capsys) -> None:
    log = logging.Logger("of this test")
    log.addHandler(Screen(logging.INFO, "MRR@5", 1))
    record = logging.LogRecord(
        "x", logging.INFO, "/site-packages/recbole/trainer.py", 1, "valid result: ..", None, None
    )
    log.handle(record)
    record.levelno, record.levelname = logging.WARNING, "WARNING"
    log.handle(record)
    assert capsys.readouterr().err == "warning: valid result: ..\n"
