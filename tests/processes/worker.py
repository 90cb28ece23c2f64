"""What each process that `torchrun` starts does, one job after the other: `worker.py JOBS.json RESULTS.json`.

JOBS.json: lists of a kind and what it takes.

- `run`, model, keys: a run, whose result the first process writes down;
- `step`, `split` and `taught`, model, keys: see `gradients.py`; `stream`, model, keys: see `streams.py`;
- `command`, words: the command line, wrong on purpose perhaps, with {rank} in its words, whose exit code each process
  writes down;
- `kill`, `raise` or `stop`, words: the same, but once the last epoch but one is validated process 1 kills itself, fails
  or stands still;
- `begin` or `go on`, words: the same, but what has been trained on is written down, and it begins with one epoch alone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from gradients import compare, compare_split, compare_taught
from streams import compare_streams, noted_cases

from recbole_odrec import quick_start
from recbole_odrec.cli import main
from recbole_odrec.errors import UserError
from recbole_odrec.processes.group import started
from recbole_odrec.processes.launch import Words
from recbole_odrec.trainer.resumable import ResumableTrainer

STEPS = {"step": compare, "split": compare_split, "taught": compare_taught, "stream": compare_streams}
RANK = os.environ["RANK"]
PATIENCE = timedelta(seconds=10)


def fail(fault: str, _folder: Path, epoch: int, _score: float) -> None:
    """What process 1 does, or all."""
    if fault == "begin":
        raise UserError("that was the first epoch")
    if RANK == "1" and epoch == 1:
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "stop":
            Path("stopped.txt").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
        raise RuntimeError("process 1 is out of luck")


def do(kind: str, *given: Any) -> dict | None:
    """One job; the result of a run."""
    if kind == "run":
        model, keys = given
        return quick_start.run(model, keys.pop("dataset"), config_dict=keys)
    if kind in STEPS:
        with started():
            STEPS[kind](*given)
        return None
    with pytest.MonkeyPatch.context() as patch:
        if kind in ("begin", "go on"):
            patch.setattr(ResumableTrainer, "loss", noted_cases(Path(f"cases-{kind}-{RANK}.txt")))
        if kind not in ("command", "go on"):
            patch.setattr(quick_start, "run", partial(quick_start.run, on_validation=partial(fail, kind)))
        if kind == "stop":
            patch.setattr(Words, "patience", PATIENCE)
        code = main([word.format(rank=RANK) for word in given[0]])
    with Path(f"codes-{RANK}.txt").open("a") as file:
        file.write(f"{code}\n")
    if kind == "stop":
        sys.exit(code)  # as the command does: torchrun ends the others then
    return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    jobs, results = map(Path, sys.argv[1:])
    found = []
    for job in json.loads(jobs.read_text()):
        if (result := do(*job)) is not None:
            found.append(result)
            if RANK == "0":  # now: a later job may end this process
                results.write_text(json.dumps(found))
