"""What a run shows while it works: the data set in three lines, an epoch a line; everything else is in the log files.

RecBole logs its configuration in 150 lines, each epoch in four and each score in one of its own. Its log file keeps
all of that.
"""

from __future__ import annotations

import logging
import re
import sys
from functools import partial
from typing import Any

import recbole.trainer.trainer
from recbole.config import Config
from recbole.utils import init_logger
from tqdm import tqdm

from recbole_odrec.files import stop_at_errors

FILE_ONLY = {"is_for_files": True}  # `extra` of a record that the screen leaves out

_of_this_run: list[logging.Handler] = []  # those that a process has for the run that goes on
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_TRAINED = re.compile(r"(?P<epoch>(?:\S+ )?epoch (\d+)) training \[time: ([\d.]+)s, (?P<losses>.*)\]")
_VALIDATED = re.compile(r"epoch (\d+) evaluating \[time: [\d.]+s, valid_score: (-?[\d.]+)\]")
_LOSS = re.compile(r": (-?[\d.]+)")


def open_log(config: Config, validates: bool) -> None:
    """RecBole's log file for a run, and our screen in the place of RecBole's; those of an earlier run are closed.

    Where the logging of the process is set up already (a notebook, a test) it stays as it is, as RecBole leaves it.

    Args:
        config: of the run.
        validates: whether epochs are followed by validation.
    """
    root = logging.getLogger()
    for handler in _of_this_run:
        root.removeHandler(handler)
        handler.close()
    before = list(root.handlers)
    init_logger(config)
    _of_this_run.clear()
    for handler in [handler for handler in root.handlers if handler not in before]:
        if isinstance(handler, logging.FileHandler):
            stop_at_errors(handler)
        else:
            root.removeHandler(handler)
            handler = Screen(handler.level, config["valid_metric"], config["eval_step"] if validates else 0)
            root.addHandler(handler)
        _of_this_run.append(handler)
    # Bars on a terminal alone, and gone when they are done.
    recbole.trainer.trainer.tqdm = partial(tqdm, disable=None, leave=False)


def stay_silent(config: Config) -> None:
    """A process that shows nothing and logs nothing, beside the one that does."""
    config["show_progress"], config["log_wandb"] = False, False
    recbole.trainer.trainer.get_tensorboard = lambda _: _Nobody()


class _Nobody:
    """In the place of a TensorBoard writer."""

    def add_scalar(self, *_: object) -> None:
        """Not written."""

    def add_hparams(self, *_: object) -> None:
        """Not written."""


def data_lines(config: Config, train_data: Any, valid_data: Any, test_data: Any) -> str:
    """The data set in three lines: what it holds, how many cases each part has, where the log is."""
    data = train_data._dataset
    parts = {"training": train_data, "validation": valid_data, "test": test_data}
    cases = [f"{len(part._dataset):,} for {name}" for name, part in parts.items() if part]
    files = [handler.baseFilename for handler in _of_this_run if isinstance(handler, logging.FileHandler)]
    return (
        f"{config['dataset']}: {data.user_num - 1:,} {config['USER_ID_FIELD'].removesuffix('_id')}s, "
        f"{data.item_num - 1:,} items, from {config['data_path']}\n"
        f"cases: {', '.join(cases)}\n"
        f"log: {files[-1] if files else 'as this process has set it up'}"
    )


class Screen(logging.StreamHandler):
    """Warnings, what we log ourselves, and of RecBole's messages the epochs, each in one line.

    Args:
        level: as in logging.
        metric: name of the score that RecBole reports after an epoch.
        eval_step: epochs between two validations; 0: none.
    """

    def __init__(self, level: int, metric: str, eval_step: int) -> None:
        super().__init__()
        self.setLevel(level)
        self.metric, self.eval_step = metric, eval_step
        self._trained = ""  # an epoch whose validation is still to come

    def emit(self, record: logging.LogRecord) -> None:
        text = _COLORS.sub("", record.getMessage())
        if trained := _TRAINED.match(text):
            losses = [float(loss) for loss in _LOSS.findall(trained["losses"])]
            loss = f", loss {sum(losses):.4f}" if losses else ""  # a model that counts has none
            self._trained = f"{trained['epoch']}: {float(trained[3]):.1f} s{loss}"
            if self.eval_step and (int(trained[2]) + 1) % self.eval_step == 0:
                return
            text, self._trained = self._trained, ""
        elif validated := _VALIDATED.match(text):
            text, self._trained = f"{self._trained}, {self.metric} {float(validated[2]):.4f}", ""
        elif record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        elif hasattr(record, "is_for_files") or "recbole_odrec" not in record.pathname:
            return
        self._write(text)

    def _write(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)  # above a bar that is being drawn
