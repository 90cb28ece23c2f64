"""What is installed is what was tested: the wheel holds the properties and runs from any folder."""

from __future__ import annotations

import os
import re
import shutil
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


def test_the_devices_wheel_holds_what_a_device_imports_and_no_more(tiny_bundle: Path, tmp_path: Path) -> None:
    listed = (ROOT / "recbole_odrec" / "bundle" / "wheel" / "pyproject.toml").read_text()
    files = dict(re.findall(r'^"\.\./(.+\.py)" = "(.+\.py)"$', listed, re.MULTILINE))
    for source, target in files.items():
        assert (ROOT / "recbole_odrec" / "bundle" / source).resolve() == ROOT / target
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / target, tmp_path / target)
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "recbole", "pandas", "scipy", "onnx", "yaml"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
from recbole_odrec.cli import main
assert main(["recommend", "--bundle", sys.argv[1], "--k=5", "1", "2"]) == 0
assert main(["withdraw", "--bundle", sys.argv[1], "--output", "fewer", "1"]) == 0
assert main(["recommend", "--bundle", "fewer", "--update", "nothing"]) == 2
b, o = "--bundle=fewer", "--output=new"
other_half = ["train", "tune", "summary r.json", "keys", "convert --name=x", f"export --checkpoint=x {o}", f"demo {b}"]
other_half += [f"delta fewer fewer {o}", f"add-items {b} --items=x {o}", "benchmark device"]
assert {main(line.split()) for line in other_half} == {2}
print(*(module.__file__ for name, module in sys.modules.items() if name.startswith("recbole_odrec")), sep="\\n")
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-c", script, str(tiny_bundle)]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {line for line in done.stdout.splitlines() if line.endswith(".py")} == {
        str(tmp_path / target) for target in files.values() if target != "recbole_odrec/__main__.py"
    }
    _, *told = done.stderr.splitlines()
    ending = " is a command of the whole package, where bundles are made; this is the device's half of it."
    commands = "train, tune, summary, keys, convert, export, demo, delta, add-items, benchmark device"
    assert told == [f"recbole_odrec: {command}{ending}" for command in commands.split(", ")]


def test_ruff_is_clean() -> None:
    for arguments in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *arguments, str(ROOT)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_nn_and_losses_know_nothing_of_recbole() -> None:
    for folder in ("nn", "losses"):
        for file in (ROOT / "recbole_odrec" / folder).glob("*.py"):
            imports = [line for line in file.read_text().splitlines() if line.startswith(("import ", "from "))]
            assert not [line for line in imports if line.split()[1].split(".")[0] == "recbole"], file
