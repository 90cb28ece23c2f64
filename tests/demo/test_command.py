"""The command around the page: its runtime, its folder, its server, and one line for everything that can go wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from recbole_odrec.cli import main
from recbole_odrec.demo import runtime as runtime_module
from recbole_odrec.demo.runtime import PAGE, VERSION, cache_folder, find_runtime
from recbole_odrec.demo.server import open_server
from recbole_odrec.errors import UserError

NAMES = tuple(runtime_module.FILES)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two small files in place of the runtime, which the command takes for the real ones."""
    folder = tmp_path / "runtime files"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
        monkeypatch.setitem(runtime_module.FILES, name, hashlib.sha256(name.encode()).hexdigest())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def npm_that(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Puts a stand-in for npm first on the path."""
    (folder / "bin").mkdir()
    npm = folder / "bin" / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


GIVES_FILES = f"""
test "$1" = ci && grep -q '"onnxruntime-web": "{VERSION}"' package.json && test -f package-lock.json || exit 9
mkdir -p node_modules/onnxruntime-web/dist && cd node_modules/onnxruntime-web/dist
for name in {" ".join(NAMES)} other; do printf %s "$name" > "$name"; done
echo once >> "$XDG_CACHE_HOME/calls"
"""


def test_the_version_is_the_one_that_the_lock_file_pins() -> None:
    assert json.loads((PAGE / "package.json").read_text())["dependencies"] == {"onnxruntime-web": VERSION}
    lock = json.loads((PAGE / "package-lock.json").read_text())
    assert lock["packages"]["node_modules/onnxruntime-web"]["version"] == VERSION
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def test_npm_runs_once_and_only_what_is_needed_is_kept(stand_in: Path, tmp_path: Path, monkeypatch) -> None:
    npm_that(monkeypatch, tmp_path, GIVES_FILES)
    said: list[str] = []
    kept = find_runtime(say=said.append)
    assert said == [f"fetching onnxruntime-web {VERSION} with npm, once"]
    assert sorted(path.name for path in kept.iterdir()) == sorted(NAMES)
    assert [path.name for path in cache_folder().iterdir()] == [kept.name]
    assert find_runtime(say=said.append) == kept
    (kept / NAMES[0]).write_text("damaged")
    assert find_runtime(say=said.append) == kept
    assert (kept / NAMES[0]).read_text() == NAMES[0]
    assert len(said) == 2
    assert (tmp_path / "cache" / "calls").read_text() == "once\nonce\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'npm error code EINTEGRITY' >&2; echo 'npm error it broke' >&2; exit 1",
            "npm ci failed (code EINTEGRITY",
        ),
        ("exit 3", "npm ci failed (exit code 3)"),
        ("exit 0", f"npm ci gave no {NAMES[0]} of onnxruntime-web {VERSION}"),
        (None, "there is no npm here: install Node.js"),
    ],
)
def test_without_the_runtime_it_is_one_line_and_nothing_is_kept(
    stand_in, tiny_bundle: Path, tmp_path: Path, monkeypatch, capsys, script: str | None, message: str
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        npm_that(monkeypatch, tmp_path, script)
    assert main(["demo", f"--bundle={tiny_bundle}", "--export=page"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert "--offline-dir FOLDER" in error
    assert not Path("page").exists()
    assert not cache_folder().exists() or not list(cache_folder().iterdir())


def test_an_offline_folder_serves_in_each_of_its_forms(stand_in: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_runtime(stand_in) == stand_in
    place = tmp_path / "copied" / "node_modules" / "onnxruntime-web"
    place.mkdir(parents=True)
    stand_in.rename(place / "dist")
    for folder in (tmp_path / "copied", tmp_path / "copied" / "node_modules", place, place / "dist"):
        assert find_runtime(folder) == place / "dist"
    (place / "dist" / NAMES[1]).write_text("another version")
    with pytest.raises(UserError, match=f"is missing or not the file of onnxruntime-web {VERSION}"):
        find_runtime(place)
    with pytest.raises(UserError, match="does not hold"):
        find_runtime(tmp_path)


def test_the_export_is_whole_and_replaces_only_itself(stand_in, tiny_bundle: Path, film_bundle: Path, capsys) -> None:
    def export(bundle: Path, *words: str) -> int:
        return main(["demo", f"--bundle={bundle}", f"--offline-dir={stand_in}", "--export", "pages/demo", *words])

    assert export(tiny_bundle) == 0
    assert capsys.readouterr().out == "pages/demo\n"
    page = Path("pages/demo")
    files = {path.relative_to(page).as_posix() for path in page.rglob("*") if path.is_file()}
    listed = json.loads((page / "files.js").read_text().removeprefix("self.FILES = ").removesuffix(";\n"))
    assert files == {*listed["files"], "files.js"}
    assert {"index.html", "sw.js", "bundle/model.onnx", f"runtime/{NAMES[1]}"} < files
    assert not {name for name in files if name.startswith("package") or "titles" in name}
    for name, entry in listed["files"].items():
        content = (page / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])

    assert export(film_bundle) == 0
    assert (page / "bundle" / "titles.txt").is_file()
    assert json.loads((page / "files.js").read_text()[13:-2])["version"] != listed["version"]
    assert [path.name for path in page.parent.iterdir()] == ["demo"]

    assert export(film_bundle, f"--delta-from={tiny_bundle}") == 0
    [delta] = (page / "deltas").iterdir()
    assert delta.stem == hashlib.sha256((tiny_bundle / "manifest.json").read_bytes()).hexdigest()
    device = shutil.copytree(tiny_bundle, "device")
    assert main(["recommend", f"--bundle={device}", f"--update={delta}"]) == 0  # the page's deltas are anybody's
    assert (Path(device) / "model.onnx").read_bytes() == (film_bundle / "model.onnx").read_bytes()
    capsys.readouterr()

    (page / "holiday.jpg").write_text("mine")
    assert export(tiny_bundle) == 2
    assert "pages/demo exists and is not a page of this command" in capsys.readouterr().err
    assert (page / "bundle" / "titles.txt").is_file()


def test_a_full_disk_is_one_line_and_the_earlier_page_stays(stand_in, tiny_bundle, film_bundle, monkeypatch, capsys):
    def export(bundle: Path, page: str = "pages/demo") -> int:
        return main(["demo", f"--bundle={bundle}", f"--offline-dir={stand_in}", "--export", page])

    def content() -> dict:
        return {path: path.read_bytes() for path in sorted(Path("pages").rglob("*")) if path.is_file()}

    assert export(tiny_bundle) == 0
    before = content()
    for place in ((shutil, "copyfile"), (Path, "write_bytes"), (Path, "rename")):
        with monkeypatch.context() as patch:
            is_rename, real, calls = place[1] == "rename", getattr(*place), []

            def full(*words, real=real, calls=calls, is_rename=is_rename):
                calls.append(words)
                if is_rename and len(calls) != 2:  # the second: the new page into its place
                    return real(*words)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(*place, full)
            capsys.readouterr()
            if not is_rename:
                assert export(film_bundle, "new/page") == 2
                assert not Path("new").exists()
                capsys.readouterr()
            assert export(film_bundle) == 2
        assert capsys.readouterr().err == (
            "recbole_odrec: pages/demo cannot be written (No space left on device); nothing was changed.\n"
        )
        assert content() == before
        assert [path.name for path in Path("pages").iterdir()] == ["demo"]


def test_no_page_file_asks_for_another_host() -> None:
    for path in PAGE.iterdir():
        if not path.name.startswith("package"):
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text, path
            assert "https://" not in text, path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --bundle; see recbole-odrec demo --help."),
        (["--bundle=nothing"], "nothing is not a bundle: it has no manifest.json"),
        (["--bundle=BUNDLE", "--port=70000"], "--port 70000, expected 0 (any free one) to 65535"),
        (["--bundle=BUNDLE", "--port=eighty"], "invalid int value"),
        (["--bundle=BUNDLE", "--host=no.such.host.invalid"], "cannot listen on no.such.host.invalid, port 8000: "),
        (["--bundle=BUNDLE", "--port=-1"], "--port -1, expected 0 (any free one) to 65535"),
        (["--bundle=BUNDLE", "--host="], "--host is empty, expected an address of this machine"),
        (["--bundle=BUNDLE", f"--host={'a' * 300}"], "port 8000: no host name."),
        (["--bundle=BUNDLE", "--host=1.2.3.4"], "cannot listen on 1.2.3.4, port 8000: "),
        (["--bundle=BUNDLE", "--export=/proc/page"], "/proc/page cannot be written ("),
        (
            ["--bundle=BUNDLE", "--export=BUNDLE/manifest.json/page"],
            "cannot be written (File exists); nothing was changed.",
        ),
        (["--bundle=BUNDLE", "--export=BUNDLE"], "exists and is not a page of this command"),
        (["--bundle=BUNDLE", "--offline-dir=nowhere"], "--offline-dir nowhere does not hold"),
        (["--bundle=BUNDLE/manifest.json"], "is not a bundle: it has no manifest.json"),
        (["--bundle=BUNDLE", "--delta-from=nowhere"], "nowhere is not a bundle: it has no manifest.json"),
        (["--bundle=BUNDLE", "--delta-from=DAMAGED"], "model.onnx: its SHA-256 is not the one in the manifest"),
        (["--bundle=DAMAGED"], "model.onnx: its SHA-256 is not the one in the manifest"),
    ],
)
def test_bad_input_is_one_line(stand_in, tiny_bundle: Path, damaged_copy: Path, words, message: str, capsys) -> None:
    content = (damaged_copy / "model.onnx").read_bytes()
    (damaged_copy / "model.onnx").write_bytes(content[:-1] + b"?")
    places = {"BUNDLE": str(tiny_bundle), "DAMAGED": str(damaged_copy)}
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    assert main(["demo", f"--offline-dir={stand_in}", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_taken_port_is_an_error_where_it_was_asked_for_and_the_next_one_where_not(monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use on 127.0.0.1; give another one with --port"):
            open_server({}, "127.0.0.1", port)
        monkeypatch.setattr("recbole_odrec.demo.server.DEFAULT_PORT", port)
        with open_server({}, "127.0.0.1", None) as server:
            assert port < server.server_address[1] < port + 20
        monkeypatch.setattr("recbole_odrec.demo.server._PORTS_TRIED", 1)
        with pytest.raises(UserError, match=f"ports {port} to {port} are in use"):
            open_server({}, "127.0.0.1", None)


def test_it_serves_until_ctrl_c_and_then_ends_quietly(stand_in: Path, tiny_bundle: Path) -> None:
    """In a process where nothing that trains or infers can be imported."""
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests run in the background of a shell ignore it
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "recbole", "pandas", "onnx", "onnxruntime", "playwright"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
from recbole_odrec.demo import runtime
runtime.FILES.update({runtime_module.FILES!r})
from recbole_odrec.cli import main
sys.exit(main(["demo", "--bundle", sys.argv[1], "--offline-dir", sys.argv[2], "--port", "0"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tiny_bundle), str(stand_in)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.communicate()
        with urllib.request.urlopen(f"{url}bundle/manifest.json", timeout=10) as answer:
            assert json.load(answer)["n_items"] == 60
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, err) == (130, "")


def test_a_page_that_sells_withdrawn_items_again_says_so(tiny_bundle: Path, stand_in: Path, capsys) -> None:
    assert main(["withdraw", f"--bundle={tiny_bundle}", "--output=old", "7", "8"]) == 0
    words = ["demo", f"--bundle={tiny_bundle}", f"--offline-dir={stand_in}", "--export=page", "--delta-from=old"]
    assert main(words) == 0
    line = f"recbole_odrec: {tiny_bundle} recommends items again that old leaves out: 7 8\n"
    assert capsys.readouterr().err == line
