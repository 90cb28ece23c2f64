"""The processes of a run: who is who, what the first one tells the others, and errors that all of them end with."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from recbole_odrec.errors import UserError
from recbole_odrec.processes.launch import AgreedError, Words, is_launched

PATIENCE = timedelta(seconds=60)  # for an answer of the others while all compute alike
_LONG = timedelta(hours=6)  # while the first process writes files
Value = TypeVar("Value")


def n_processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if Words.store is not None and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if n_processes() > 1 else 0


def is_first() -> bool:
    """Whether this process is the one that writes files, logs and shows progress."""
    return rank() == 0


@contextmanager
def started() -> Iterator[None]:
    """The processes of `torchrun` find each other, and part at the end; nothing where there is one.

    Raises:
        UserError: they do not, or there are fewer GPUs than processes on this machine.
    """
    if not is_launched() or distributed.is_initialized():
        yield
        return
    from torch.distributed import PrefixStore, rendezvous  # pyright: ignore[reportPrivateImportUsage]  # not everywhere

    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.init()
        torch.cuda.device_count()  # PyTorch remembers it: RecBole's Config then hides all GPUs but one from who asks
        backend = "cpu:gloo,cuda:nccl" if distributed.is_nccl_available() else backend
    try:
        store, number, size = next(rendezvous("env://", timeout=PATIENCE))
        store.set_timeout(PATIENCE)
        Words.n_runs += 1
        Words.store = PrefixStore(f"recbole_odrec {Words.n_runs}", store)
        group = PrefixStore("group", Words.store)
        distributed.init_process_group(backend, store=group, rank=number, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes did not find each other: {' '.join(str(error).split())[:200]}") from error
    if not is_first():
        _be_silent()
    try:
        yield
    except UserError:
        distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()
    Words.store = None


def _be_silent() -> None:
    logging.getLogger().addHandler(logging.NullHandler())  # instead of the last resort, which prints
    warnings.simplefilter("ignore")


# ---------------------------------------------------------------------- what all know


def gathered(value: Value) -> list[Value]:
    """The value of every process, in their order."""
    values: list[Any] = [None] * n_processes()
    if n_processes() == 1:
        return [value]
    distributed.all_gather_object(values, value)
    return values


@contextmanager
def agreed() -> Iterator[None]:
    """What all processes do for themselves, and each may find bad input in: then all of them end.

    Raises:
        AgreedError: in all of them, what one has found.
    """
    found = None
    try:
        yield
    except UserError as error:
        found = error
    if n_processes() == 1:
        if found is not None:
            raise found
        return
    messages = gathered(None if found is None else str(found))
    wrong = {number: message for number, message in enumerate(messages) if message is not None}
    if not wrong:
        return
    number, message = next(iter(wrong.items()))
    raise AgreedError(message if not number else f"process {number}: {message}") from found


def first_gives(action: Callable[[], Value]) -> Value:
    """What an action of the first process alone returns; the others wait for it, hours if need be.

    Raises:
        UserError: that of the action; of several processes, an AgreedError in all.
    """
    if n_processes() == 1:
        return action()
    Words.n_waits += 1
    done, answer, error = f"wait {Words.n_waits}", None, None
    if is_first():
        try:
            answer = action()
        except UserError as found:
            error = found
        Words.store.set(done, "")
    else:
        Words.store.wait([done], _LONG)
    message: list[Any] = [answer, None if error is None else str(error)]
    distributed.broadcast_object_list(message, src=0)
    if message[1] is not None:
        raise AgreedError(message[1]) from error
    return message[0]
