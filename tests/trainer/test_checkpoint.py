from __future__ import annotations

import errno
import itertools
import json
import os
import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_odrec.errors import UserError
from recbole_odrec.files import check_writable, remove_temporary, write_atomically
from recbole_odrec.run_folder import find_unfinished, identify, new_run_folder
from recbole_odrec.trainer import checkpoint


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    checkpoint.save(path, {"value": torch.arange(3)})

    def fail(file) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail_inside_a_library(file) -> None:
        try:
            fail(file)
        except OSError as error:
            raise RuntimeError("unexpected position") from error

    for broken in (fail, fail_inside_a_library):
        with pytest.raises(
            UserError, match=r"last\.pth cannot be written \(No space left on device\): make room"
        ) as error:
            write_atomically(path, broken)
        assert "\n" not in str(error.value)
    assert torch.equal(checkpoint.load(path)["value"], torch.arange(3))
    assert [file.name for file in tmp_path.iterdir()] == ["last.pth"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # others may read it where they may read files


def small_checkpoint(path: Path) -> dict:
    weights = {f"layer.{part}": torch.randn(4, 3) for part in ("weight", "bias")}
    state = {"model": "ODRec", "config": {"topk": [5], "a": None}, "epoch": 3, "items": "0" * 12, "state_dict": weights}
    checkpoint.save(path, state)
    return checkpoint.load(path)


def same(left: object, right: object) -> bool:
    """Bit for bit, tensors included."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return isinstance(right, dict) and [*left] == [*right] and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


def test_a_damaged_checkpoint_is_refused_or_what_it_was(tmp_path: Path) -> None:
    """Flips of one bit and cuts all over the file: an error of one line that names it, or the very same content.

    Every bit of the first entry in the zip's list of parts is tried: two readers may take it differently.
    """
    path, drawn = tmp_path / "best.pth", random.Random(5)
    whole = small_checkpoint(path)
    content = path.read_bytes()
    weights = content.find(whole["state_dict"]["layer.weight"].numpy().tobytes())
    assert weights > 0
    flips = [(weights + 3, 6), *((drawn.randrange(len(content)), drawn.randrange(8)) for _ in range(600))]
    listed = content.find(b"PK\x01\x02")
    flips += itertools.product(range(listed, content.find(b"PK\x01\x02", listed + 1)), range(8))
    refused = []
    for place, bit in flips:
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        refused.append(is_refused_or(path, whole))
    assert refused[0], "an exponent's bit"
    assert sum(refused) > 300
    for length in {0, 1, 22, *(drawn.randrange(len(content)) for _ in range(100)), len(content) - 1}:
        path.write_bytes(content[:length])
        assert is_refused_or(path, whole), length
    for added in (content + b"x", b"x" + content, content + content):
        path.write_bytes(added)
        is_refused_or(path, whole)


def is_refused_or(path: Path, whole: dict) -> bool:
    """Whether a checkpoint is refused; asserts that it is `whole` otherwise."""
    try:
        loaded = checkpoint.load(path)
    except UserError as error:
        message = str(error)
    else:
        assert same(loaded, whole)
        return False
    assert str(path) in message
    assert "\n" not in message
    return True


def test_a_file_without_checksums_is_no_checkpoint(tmp_path: Path) -> None:
    """PyTorch's format of old, one pickle after the other, carries none."""
    path = tmp_path / "best.pth"
    state = small_checkpoint(path)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"best\.pth is not a readable recbole_odrec checkpoint"):
        checkpoint.load(path)


def test_a_folder_that_cannot_be_written_is_found_without_writing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for folder in (Path("/proc/nowhere"), tmp_path / "file" / "saved"):
        with pytest.raises(UserError, match=f"{folder} cannot be written \\("):
            check_writable(folder)


def test_a_file_larger_than_the_system_allows_is_one_line(tmp_path: Path) -> None:
    """A real refusal in the middle of torch.save: the file of before stays, and nothing beside it."""
    path = tmp_path / "last.pth"
    whole = small_checkpoint(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"last\.pth cannot be written \(File too large\)"):
            checkpoint.save(path, {"state_dict": {"weight": torch.zeros(100_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert same(checkpoint.load(path), whole)
    assert [file.name for file in tmp_path.iterdir()] == ["last.pth"]


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    left = [tmp_path / "student" / ".last.pth.0123456789ab", tmp_path / ".result.json.ba9876543210"]
    kept = [tmp_path / "student" / "last.pth", tmp_path / ".hidden", tmp_path / "student" / ".last.pth.mine"]
    (tmp_path / "student").mkdir()
    for path in (*left, *kept):
        path.touch()
    remove_temporary(tmp_path)
    assert [path.exists() for path in (*left, *kept)] == [False, False, True, True, True]


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


def test_a_run_folder_that_cannot_be_begun_leaves_nothing(small_config) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(UserError, match=r"run\.json cannot be written \(File too large\)"):
            new_run_folder(small_config(checkpoint_dir="a/b"), identify(small_config()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not Path("a").exists()


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


@pytest.mark.parametrize(
    "key", ["model", "config", "items", "n_items", "epoch", "state_dict", "MAX_ITEM_LIST_LENGTH", "seed"]
)
def test_a_checkpoint_without_its_model_is_refused(tmp_path: Path, key: str) -> None:
    config = {"MAX_ITEM_LIST_LENGTH": 5, "seed": 1}
    state = {"model": "SASRecTeacher", "config": config, "items": "0", "n_items": 9, "epoch": 0, "state_dict": {}}
    checkpoint.save(tmp_path / "whole.pth", state)
    assert checkpoint.load_model(tmp_path / "whole.pth")["config"] == config
    (config if key in config else state)[key] = None
    checkpoint.save(tmp_path / "odd.pth", state)
    with pytest.raises(UserError, match=f"its `{key}` is missing or of another type"):
        checkpoint.load_model(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": None}, "is of another model: it has no weight `bias`, expected [2] of torch.float32"),
        ({"weight": "x"}, "is of another model: it has no weight `weight`, expected [2, 3] of torch.float32"),
        ({"weight": torch.zeros(3, 2)}, "its weight `weight` is [3, 2] of torch.float32, expected [2, 3] of"),
        ({"bias": torch.zeros(2).double()}, "its weight `bias` is [2] of torch.float64, expected [2] of torch.float32"),
        ({"bias": torch.zeros(2, dtype=torch.int64)}, "its weight `bias` is [2] of torch.int64, expected [2] of"),
        ({"bias": torch.tensor([1, torch.nan])}, "weight `bias` holds NaN or infinity"),
        ({"other": torch.zeros(2)}, "is of another model: this one has no weight `other`"),
    ],
)
def test_weights_of_another_model_are_refused(change: dict, message: str) -> None:
    """PyTorch itself narrows float64 and takes whole numbers for weights, without a word."""
    model = torch.nn.Linear(3, 2)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(UserError) as error:
        checkpoint.load_weights(
            model, {**{name: weight + 1 for name, weight in before.items()}, **change}, Path("a.pth")
        )
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    checkpoint.load_weights(model, {name: weight + 1 for name, weight in before.items()}, Path("a.pth"))
    assert torch.equal(model.bias, before["bias"] + 1)


def test_the_number_of_items_is_the_models() -> None:
    model = torch.nn.Linear(3, 2)
    model.n_items = 5
    with pytest.raises(UserError, match=r"a\.pth says that it is of 7 items, and this data has 5"):
        checkpoint.load_weights(model, model.state_dict(), Path("a.pth"), n_items=7)
