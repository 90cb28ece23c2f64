"""Which GPU each process takes, on a machine that is only said to have some."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recbole_odrec.errors import UserError
from recbole_odrec.processes import checks


class Asked(dict):
    """A configuration with a `gpu_id` that was given, or none."""

    def __init__(self, gpu_id: str | None) -> None:
        super().__init__(device=SimpleNamespace(type="cuda"), gpu_id=gpu_id or "0")
        self.external_config_dict: dict[str, Any] = {} if gpu_id is None else {"gpu_id": gpu_id}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the second of two processes takes, of four GPUs."""
    found: list[int] = []
    monkeypatch.setattr(checks, "n_processes", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    return found


@pytest.mark.parametrize(("gpu_id", "gpu"), [(None, 1), ("2,3", 3), ("3,0", 0)])
def test_each_process_takes_a_gpu_of_its_own(taken: list[int], gpu_id: str | None, gpu: int) -> None:
    checks.take_device(Asked(gpu_id))
    assert taken == [gpu]


@pytest.mark.parametrize(
    ("gpu_id", "message"),
    [
        ("1,1", "gpu_id=1,1 asks for a GPU twice: each process needs one of its own."),
        ("3", "2 processes on this machine and 1 GPUs for them: a GPU would be asked for twice; give "),
        ("1, 1", "gpu_id=1, 1 asks for a GPU twice"),
        ("0,4", "gpu_id=0,4: there is no GPU '4', expected some of 0 to 3."),
    ],
)
def test_a_gpu_asked_for_twice_is_refused(taken: list[int], gpu_id: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        checks.take_device(Asked(gpu_id))
    assert str(error.value).startswith(message)
    assert not taken
