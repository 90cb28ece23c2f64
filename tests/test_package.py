"""What is installed is what was tested: the wheel holds the properties and runs from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / done.stdout.splitlines()[-1]).is_file()


def test_ruff_is_clean() -> None:
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *arguments, str(ROOT)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_nn_and_losses_know_nothing_of_recbole() -> None:
    for folder in ("nn", "losses"):
        for file in (ROOT / "recbole_odrec" / folder).glob("*.py"):
            imports = [line for line in file.read_text().splitlines() if line.startswith(("import ", "from "))]
            assert not [line for line in imports if line.split()[1].split(".")[0] == "recbole"], file
