"""The same study with Ray: two workers of this machine, the same scores, the same file."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from recbole_odrec import run
from recbole_odrec.cli import main
from tests.tune.test_study import WORDS, trials, write_space

try:
    HAS_RAY = tuple(map(int, metadata.version("ray").split(".")[:2])) >= (2, 40)
except metadata.PackageNotFoundError:
    HAS_RAY = False


@pytest.mark.skipif(not HAS_RAY, reason="needs ray 2.40 or later; before Python 3.12 RecBole brings an older one")
def test_two_workers_find_what_one_process_finds(capsys: pytest.CaptureFixture[str]) -> None:
    write_space(max_distance=[1, 2, 3, 5, 10])
    assert main([*WORDS, "--trials=2", "--ray"]) == 0
    assert main([*WORDS, "--trials=3", "--ray"]) == 0  # goes on
    assert main([*WORDS, "--trials=4"]) == 0  # and without
    capsys.readouterr()
    assert main([*WORDS, "--trials=2", "--ray", "--trial_gpus=99"]) == 0  # nothing left to do, nothing to refuse
    found = trials()
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 4
    for trial in found:
        quiet = {"state": "ERROR", "show_progress": False, "checkpoint_dir": "again"}
        alone = run("ItemTransitions", "ml-100k", config_dict={**trial.params, **quiet}, tests=False)
        assert trial.value == alone["phases"]["model"]["valid"]["all"]["ndcg@10"]
    best = max(found, key=lambda trial: trial.value or 0)
    assert yaml.safe_load(Path("found/best.yaml").read_text()) == best.params
    assert main([*WORDS, "--trials=9", "--ray", "--trial_cpus=1000"]) == 2
    assert re.search("a trial is to have 1000 processors and 0 GPUs, and the cluster has", capsys.readouterr().err)
    assert len(trials()) == 4


@pytest.mark.parametrize("found", ["2.6.3", "1.13.0", None])
def test_an_old_ray_is_refused(
    found: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)
    write_space(max_distance=[1])
    assert main([*WORDS, "--ray"]) == 2
    problem = "which is not installed" if found is None else f"and {found} is installed, as RecBole asks for"
    assert f"{problem}: pip install 'ray[tune]>=2.40'." in capsys.readouterr().err
    assert not Path("found").exists()
