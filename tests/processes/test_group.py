"""Who waits for the first process waits as long as it lives, and no longer."""

from __future__ import annotations

import time
from datetime import timedelta
from threading import Thread

import pytest
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

from recbole_odrec.processes import group
from recbole_odrec.processes.launch import ENDED, Words, consequence, tell


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> HashStore:
    """Where two processes of this one leave words; patience is half a second."""
    monkeypatch.setattr(Words, "store", HashStore())
    monkeypatch.setattr(Words, "patience", timedelta(seconds=0.5))
    monkeypatch.setenv("RANK", "1")
    return Words.store


def test_the_others_wait_for_a_first_process_that_lives(store: HashStore) -> None:
    def write() -> None:
        with group._alive():
            time.sleep(1.5)
        store.add("wait 1", 1)

    writing, start = Thread(target=write), time.monotonic()
    writing.start()
    group._wait_for_first("wait 1")
    writing.join()
    assert 1.5 <= time.monotonic() - start < 2.5


def test_one_that_gives_no_sign_of_life_is_not_waited_for(store: HashStore) -> None:
    start = time.monotonic()
    with pytest.raises(RuntimeError) as error:
        group._wait_for_first("wait 1")
    assert 0.5 < time.monotonic() - start < 1.5
    said = consequence(error.value)
    assert said is not None
    assert said.startswith(
        "recbole_odrec: process 1 has waited 0.5 s for an answer of the others, and one of them gives"
    )
    assert said.count("\n") == 1


def test_who_sees_that_another_has_ended_leaves_the_word_to_it(store: HashStore, capsys) -> None:
    """It may see so before the other has spoken."""

    def speak() -> None:
        time.sleep(0.3)
        tell("what is wrong\n", ValueError())

    speaking = Thread(target=speak)
    speaking.start()
    tell(ENDED, RuntimeError("gloo: Connection closed by peer"))
    speaking.join()
    assert capsys.readouterr().err == "what is wrong\n"


def test_what_is_no_consequence_is_told_as_it_is(store: HashStore) -> None:
    assert consequence(RuntimeError("gloo: Connection closed by peer")) == ENDED
    assert consequence(RuntimeError("the disk timed out")) is None
