from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_odrec.errors import UserError
from recbole_odrec.files import write_atomically
from recbole_odrec.run_folder import find_unfinished, identify, new_run_folder
from recbole_odrec.trainer import checkpoint


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    checkpoint.save(path, {"value": torch.arange(3)})

    def fail(file) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert torch.equal(checkpoint.load(path)["value"], torch.arange(3))
    assert [file.name for file in tmp_path.iterdir()] == ["last.pth"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # others may read it where they may read files


def test_random_state_comes_back_through_a_file(tmp_path: Path) -> None:
    def draw() -> tuple:
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    np.random.standard_normal()  # leaves half a pair of normal numbers behind
    checkpoint.save(tmp_path / "rng.pth", {"rng": checkpoint.rng_state()})
    expected = draw()
    checkpoint.set_rng_state(checkpoint.load(tmp_path / "rng.pth")["rng"])
    assert draw() == expected


def test_fingerprints_tell_what_can_change_numbers(small_config) -> None:
    base = checkpoint.fingerprint(small_config())
    assert checkpoint.fingerprint(small_config(show_progress=True, gpu_id="1", state="INFO")) == base
    assert checkpoint.fingerprint(small_config(seed=3)) != base
    assert checkpoint.fingerprint(small_config(learning_rate=0.1)) != base


def test_runs_of_one_second_get_folders_of_their_own(small_config) -> None:
    folders = {new_run_folder(small_config(), identify(small_config())) for _ in range(3)}
    assert len(folders) == 3


def test_resume_finds_the_newest_unfinished_run_of_this_configuration(small_config) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        find_unfinished(small_config(), True)
    first, second, other = (
        new_run_folder(small_config(seed=seed), identify(small_config(seed=seed))) for seed in (1, 1, 2)
    )
    (second / "result.json").write_text("{}")
    assert find_unfinished(small_config(seed=1), True) == first
    with pytest.raises(UserError, match="nothing to resume"):
        find_unfinished(small_config(seed=3), True)
    assert find_unfinished(small_config(seed=2), str(other)) == other
    with pytest.raises(UserError, match="another configuration \\(seed: 2 there, 1 here\\)"):
        find_unfinished(small_config(seed=1), str(other))
    with pytest.raises(UserError, match="not a run folder"):
        find_unfinished(small_config(seed=1), "elsewhere")
    (first / "run.json").write_text(json.dumps(["damaged"]))
    with pytest.raises(UserError, match="nothing to resume"):
        find_unfinished(small_config(seed=1), True)
