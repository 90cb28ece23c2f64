"""The processes of a run: who is who, what the first one tells the others, and errors that all of them end with."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any, TypeVar

import torch
from torch import distributed

from recbole_odrec.errors import UserError
from recbole_odrec.processes.launch import AgreedError, Words, is_launched

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
        store, number, size = next(rendezvous("env://", timeout=Words.patience))
        store.set_timeout(Words.patience)
        Words.n_runs += 1
        Words.store = PrefixStore(f"recbole_odrec {Words.n_runs}", store)
        group = PrefixStore("group", Words.store)
        distributed.init_process_group(backend, store=group, rank=number, world_size=size, timeout=Words.patience)
    except (RuntimeError, ValueError) as error:
        reason, seconds = " ".join(str(error).split())[:200], Words.patience.total_seconds()
        raise UserError(
            f"the processes did not find each other ({reason}): start all within {seconds:g} s, within reach."
        ) from error
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


@contextmanager
def _alive() -> Iterator[None]:
    """Others see that this process lives, whatever it does meanwhile."""
    done = Event()

    def beat() -> None:
        with suppress(RuntimeError):  # the store may have ended with the others
            while not done.wait(Words.patience.total_seconds() / 4):
                Words.store.add("beats", 1)

    beating = Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()


def _wait_for_first(done: str) -> None:
    """Until the first process has counted this; asked again and again, as a store that is waited for warns in vain."""
    beats, heard, pause = -1, time.monotonic(), 0.001
    while not Words.store.add(done, 0):
        if (found := Words.store.add("beats", 0)) != beats:
            beats, heard = found, time.monotonic()
        if time.monotonic() - heard > Words.patience.total_seconds():
            raise distributed.DistStoreError("timed out: the first process gives no sign of life")
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def first_gives(action: Callable[[], Value]) -> Value:
    """What an action of the first process alone returns; the others wait for it, as long as it lives.

    Raises:
        UserError: that of the action; of several processes, an AgreedError in all.
    """
    if n_processes() == 1:
        return action()
    Words.n_waits += 1
    done, answer, error = f"wait {Words.n_waits}", None, None
    if is_first():
        with _alive():
            try:
                answer = action()
            except UserError as found:
                error = found
        Words.store.add(done, 1)
    else:
        _wait_for_first(done)
    message: list[Any] = [answer, None if error is None else str(error)]
    distributed.broadcast_object_list(message, src=0)
    if message[1] is not None:
        raise AgreedError(message[1]) from error
    return message[0]
