"""What is installed is what was tested: the wheel holds the properties and runs from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from recbole_odrec.chosen_parts import possible_keys
from recbole_odrec.config import _DATA_KEYS, make_config, properties_folder, teacher_config
from recbole_odrec.errors import UserError
from recbole_odrec.nn.kinds import KINDS
from recbole_odrec.nn.product import is_quick_in_bfloat16
from recbole_odrec.settings import DistillationConfig, NetworkConfig

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)], check=True, capture_output=True
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_runs_from_another_folder(wheel: Path, small_data: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert (site / "recbole_odrec" / "properties" / "model" / "ODRec.yaml").is_file()
    page = ROOT / "recbole_odrec" / "demo" / "page"
    assert {path.name for path in (site / "recbole_odrec" / "demo" / "page").iterdir()} == {
        path.name for path in page.iterdir() if path.name != "node_modules"
    }
    environment = {**os.environ, "PYTHONPATH": str(site)}
    words = [
        "--epochs=1",
        "--hidden_size=16",
        "--compression_rate=2",
        f"--data_path={small_data}",
        "--dataset=ml-small",
    ]
    done = subprocess.run(
        # -P: the folder it runs in must not lend it the checkout.
        [sys.executable, "-c", "import sys, recbole_odrec.cli as c; assert c.__file__.startswith(sys.argv.pop(1)), "
         "c.__file__; sys.exit(c.main())", str(site), *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / done.stdout.splitlines()[-1]).is_file()


def test_every_key_is_read_and_every_read_key_has_a_default() -> None:
    keys = set(yaml.safe_load((properties_folder() / "model" / "ODRec.yaml").read_text()))
    read = {name for part in (NetworkConfig, DistillationConfig) for name in part.__dataclass_fields__}
    assert keys == read | {*KINDS, "objectives"}
    teacher = set(yaml.safe_load((properties_folder() / "model" / "SASRecTeacher.yaml").read_text()))
    assert teacher == {*NetworkConfig.__dataclass_fields__, "readout"}


@pytest.mark.parametrize("path", sorted(properties_folder().rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_has_a_comment(path: Path) -> None:
    for line in path.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            assert "# (" in line, line


def test_dataset_files_and_presets_hold_only_known_keys() -> None:
    known = set()
    for path in properties_folder().glob("model/*.yaml"):
        known |= set(yaml.safe_load(path.read_text()))
    known |= set(yaml.safe_load((properties_folder() / "overall.yaml").read_text()))
    known |= {*_DATA_KEYS, "learning_rate", "weight_decay"} | possible_keys("ODRec")
    for path in (*properties_folder().glob("dataset/*.yaml"), *properties_folder().glob("preset/*.yaml")):
        assert set(yaml.safe_load(path.read_text()) or {}) <= known, path


def test_the_papers_preset_goes_over_the_data_set_and_under_the_user() -> None:
    config = make_config("ODRec", "ml-100k", config_dict={"preset": "paper", "kd_weight": 0.3})
    assert (config["readout"], config["train_batch_size"], config["hidden_size"]) == ("soft_attention", 100, 128)
    assert (config["kd_weight"], config["contrastive_weight"], config["teacher_config"]) == (0.3, 0.2, {})
    assert make_config("ODRec", "ml-100k")["readout"] == "last"
    teacher = teacher_config(config, "SASRecTeacher", {})
    assert (teacher["readout"], teacher["train_batch_size"]) == ("soft_attention", 100)


def test_scores_are_low_precision_where_that_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for quick, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("recbole_odrec.config.is_quick_in_bfloat16", lambda device, quick=quick: quick)
        config = make_config("ODRec", "retailrocket")
        assert (config["score_dtype"], make_config("ODRec", "ml-100k")["score_dtype"]) == (dtype, "float32")
        assert teacher_config(config, "SASRecTeacher", config["teacher_config"])["score_dtype"] == dtype
        asked = make_config("SASRecTeacher", "retailrocket", config_dict={"score_dtype": "bfloat16"})
        assert asked["score_dtype"] == "bfloat16"
    with pytest.raises(UserError, match="score_dtype='float16', expected one of float32, bfloat16, auto"):
        make_config("ODRec", "tmall", config_dict={"score_dtype": "float16"})


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="asks Linux for the processor's flags")
def test_this_processor_is_quick_in_bfloat16_if_it_has_instructions_for_it() -> None:
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    has_instructions = bool({"amx_bf16", "avx512_bf16"} & set(flags.split()))
    assert is_quick_in_bfloat16(torch.device("cpu")) == has_instructions


def test_the_users_teacher_config_goes_over_the_data_sets() -> None:
    given = {"teacher_config": {"hidden_size": 256}}
    config = make_config("ODRec", "retailrocket", config_dict=given)
    of_data = yaml.safe_load((properties_folder() / "dataset/retailrocket.yaml").read_text())["teacher_config"]
    assert of_data["learning_rate"] != config["learning_rate"]
    assert config["teacher_config"] == {**of_data, "hidden_size": 256}
    teacher = teacher_config(config, "SASRecTeacher", config["teacher_config"])
    assert (teacher["learning_rate"], teacher["hidden_size"]) == (of_data["learning_rate"], 256)
    assert given == {"teacher_config": {"hidden_size": 256}}
    assert "attn_dropout_prob" in of_data  # which a network without attention has no use for
    gru = teacher_config(config, "GRU4RecTeacher", config["teacher_config"])
    assert (gru["hidden_dropout_prob"], gru["epochs"]) == (of_data["hidden_dropout_prob"], of_data["epochs"])
    with pytest.raises(UserError, match="attn_dropout_prob"):
        teacher_config(config, "GRU4RecTeacher", {"attn_dropout_prob": 0.25})
    of_run = make_config("ODRec", "retailrocket", config_dict={"attn_dropout_prob": 0.1, "hidden_dropout_prob": 0.1})
    assert teacher_config(of_run, "SASRecTeacher", {})["attn_dropout_prob"] == 0.1
    assert teacher_config(of_run, "GRU4RecTeacher", {})["hidden_dropout_prob"] == 0.1  # the other is no key of it
    paper = make_config("ODRec", "retailrocket", config_dict={"preset": "paper", **given})
    assert (paper["teacher"], paper["teacher_config"]) == ("SASRecTeacher", given["teacher_config"])


def test_ruff_is_clean() -> None:
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *arguments, str(ROOT)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_nn_and_losses_know_nothing_of_recbole() -> None:
    for folder in ("nn", "losses"):
        for file in (ROOT / "recbole_odrec" / folder).glob("*.py"):
            imports = [line for line in file.read_text().splitlines() if line.startswith(("import ", "from "))]
            assert not [line for line in imports if line.split()[1].split(".")[0] == "recbole"], file
