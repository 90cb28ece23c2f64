"""Whether there are several processes, and which of them speaks of an error; it needs the standard library alone."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Any

from recbole_odrec.errors import UserError

_BY_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ENDED = "recbole_odrec: another process of this run has ended: what it said stands above, or in torchrun's report.\n"


class AgreedError(UserError):
    """Bad input that every process knows of: the first one speaks for all."""


class Words:
    """Where processes leave short words for each other: `torchrun`'s store, which outlives them."""

    store: Any = None
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
        if Words.store.add("speakers", 1) == 1:
            sys.stderr.write(words)
            sys.stderr.flush()
        Words.store.set("spoken", "")


def is_consequence(error: BaseException) -> bool:
    """Whether an error only says that another process has ended."""
    if Words.store is None:
        return False
    from torch import distributed  # which is there, with the store

    said = str(error)
    return isinstance(error, distributed.DistError) or "gloo" in said or "Connection closed" in said
