"""Whether there are several processes, and which of them speaks of an error; it needs the standard library alone."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from recbole_odrec.errors import UserError

_BY_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ENDED = "recbole_odrec: another process of this run has ended: what it said stands above, or in torchrun's report.\n"
HANGS = (
    "recbole_odrec: process {rank} has waited {seconds:g} s for an answer of the others, and one of them gives none "
    "(stopped, swapped out or cut off): see to its machine and start again; a run of ours goes on with --resume.\n"
)


class AgreedError(UserError):
    """Bad input that every process knows of: the first one speaks for all."""


class Words:
    """Where processes leave short words for each other: `torchrun`'s store, which outlives them.

    Attributes:
        patience: for an answer of others while all compute alike, and for a sign of life of one that others wait for.
    """

    store: Any = None
    patience = timedelta(seconds=60)
    n_runs = n_waits = 0


def is_launched() -> bool:
    """Whether this is one of several processes that `torchrun` has started."""
    return all(name in os.environ for name in _BY_TORCHRUN) and int(os.environ["WORLD_SIZE"]) > 1


def prints() -> bool:
    """Whether this is the process that prints what a command answers."""
    return not is_launched() or os.environ["RANK"] == "0"


def tell(words: str, error: BaseException) -> None:
    """Prints to stderr: what all know, by the first process; anything else, if no other has had something to say."""
    if Words.store is None:
        if prints():
            sys.stderr.write(words)
        return
    with suppress(RuntimeError):  # the store may have ended with the others
        if isinstance(error, AgreedError) and not prints():
            Words.store.wait(["spoken"], timedelta(seconds=5))  # the first to end has the others ended
            return
        for _ in range(50 if words == ENDED else 0):  # 5 s for who has ended to say why
            if Words.store.add("speakers", 0):
                break
            time.sleep(0.1)
        if Words.store.add("speakers", 1) == 1:
            sys.stderr.write(words)
            sys.stderr.flush()
        Words.store.set("spoken", "")


def consequence(error: BaseException) -> str | None:
    """What to say of an error that only tells of another process: it has ended, or does not answer."""
    if Words.store is None:
        return None
    from torch import distributed  # which is there, with the store

    said = str(error)
    if not (isinstance(error, distributed.DistError) or "gloo" in said or "Connection closed" in said):
        return None
    if "timed out" in said.lower() or "timeout" in said.lower():
        return HANGS.format(rank=os.environ["RANK"], seconds=Words.patience.total_seconds())
    return ENDED
