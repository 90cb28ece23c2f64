"""The command line in each process that `torchrun` starts, wrong on purpose: `commands.py FAULT COMMANDS.json`.

COMMANDS.json: lists of words, of which `{rank}` is the number of the process. FAULT is what process 1 does when the
student's epoch 1 has been validated: `kill` (SIGKILL), `raise`, or `none`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import torch

from recbole_odrec import quick_start
from recbole_odrec.cli import main

RANK = os.environ["RANK"]


def fail(fault: str, _folder: Path, epoch: int, _score: float) -> None:
    """What process 1 does."""
    if RANK == "1" and epoch == 1:
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("process 1 is out of luck")


if __name__ == "__main__":
    torch.set_num_threads(1)
    given, commands = sys.argv[1:]
    if given != "none":
        quick_start.run = partial(quick_start.run, on_validation=partial(fail, given))
    code = 0
    for command in json.loads(Path(commands).read_text()):
        code = main([word.format(rank=RANK) for word in command])
        with Path(f"codes-{RANK}.txt").open("a") as file:
            file.write(f"{code}\n")
    sys.exit(code)
