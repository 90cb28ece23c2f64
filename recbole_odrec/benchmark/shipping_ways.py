"""The ways to ship a bundle, each with its files, their bytes, and a call that starts it and waits for its answer."""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from recbole_odrec.benchmark.chromium import chromium, find_chromium, open_page, serve
from recbole_odrec.bundle.manifest import ITEMS, PROGRAM, read_manifest
from recbole_odrec.demo.module import write_module
from recbole_odrec.demo.runtime import FILES, find_runtime
from recbole_odrec.demo.site import Site, assemble, bundle_files, write_site
from recbole_odrec.errors import UserError

_TIMEOUT = 300  # seconds
_HALF = Path(__file__).parent.parent / "bundle" / "wheel"
_PYTHON = """
import sys
from recbole_odrec.bundle import Recommender
print(Recommender(sys.argv[1]).recommend(sys.argv[2:], k=5)[0].item, flush=True)
"""
_NODE = """
import { readFile } from "node:fs/promises";
import * as ort from "./ort.wasm.bundle.min.mjs";
import { load } from "./module/index.js";
const wasm = await readFile("ort-wasm-simd-threaded.wasm");
const answer = await (await load(ort, { wasm })).recommend(process.argv.slice(2), { k: 5 });
console.log(answer.items[0].item);
"""
_PAGE = """async () => {
  const { recommender } = await (await import("./main.js")).loaded;
  await recommender.recommend([1, 2, 3], 5, false);
  return performance.now() / 1000;
}"""
_PROGRAM = """
import sys, torch
from executorch.runtime import Runtime
method = Runtime.get().load_program(sys.argv[1]).load_method("forward")
history = torch.zeros(1, int(sys.argv[2]), dtype=torch.long)
history[0, :3] = torch.tensor([1, 2, 3])
print(method.execute([history])[0].flatten().tolist()[0], flush=True)
"""


class MissingError(Exception):
    """What a way needs is not here."""


class Way(NamedTuple):
    """A way to ship.

    Attributes:
        name: of it.
        code: its own files, the bundle left out.
        code_bytes: of these as they travel.
        runtime: what runs the model, by name.
        runtime_bytes: of that, installed.
        bundle: the bundle's files as it takes them.
        answer: starts it; seconds to its first answer.
    """

    name: str
    code: Sequence[Path]
    code_bytes: int
    runtime: str
    runtime_bytes: int
    bundle: Sequence[Path]
    answer: Callable[[], float]


def _wheel(work: Path, bundle: Path) -> Way:
    if not (_HALF / "pyproject.toml").is_file():
        raise MissingError("the device's wheel is built in a checkout alone")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(work), str(_HALF)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=_TIMEOUT)
    if done.returncode:
        raise MissingError(f"pip cannot build the device's wheel ({' '.join(done.stderr.split())[-200:]})")
    wheel = next(work.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "wheel")
    compileall.compile_dir(work / "wheel", quiet=2)  # as pip does
    command = [sys.executable, "-P", "-c", _PYTHON, str(bundle), *_tokens(bundle)]
    runtime = sum(map(_installed, ("onnxruntime", "numpy")))
    answer = partial(_seconds, command, work, work / "wheel")
    code = [path for path in (work / "wheel").rglob("*") if path.is_file()]
    return Way("Python", code, wheel.stat().st_size, "onnxruntime and NumPy", runtime, _files(bundle), answer)


def _module(work: Path, bundle: Path) -> Way:
    node, runtime = shutil.which("node"), _web_runtime()
    if node is None:
        raise MissingError("no node here")
    folder = work / "shop"
    folder.mkdir()
    write_module(bundle_files(bundle), folder / "module")
    for name in FILES:
        shutil.copy(runtime / name, folder)
    (folder / "ask.mjs").write_text(_NODE, encoding="utf-8")
    answer = partial(_seconds, [node, "ask.mjs", *_tokens(bundle)], folder)
    code = [path for path in (folder / "module").iterdir() if path.is_file()]
    own, shipped = [folder / name for name in FILES], _files(folder / "module" / "bundle")
    return Way("ES module, in Node", [*code, *own], total(code), "onnxruntime-web", total(own), shipped, answer)


def _page(work: Path, bundle: Path) -> Way:
    folder, site = work / "page", assemble(bundle_files(bundle), _web_runtime())
    try:
        find_chromium()
    except UserError as error:
        raise MissingError(str(error)) from error
    write_site(site, folder)
    served: Site = {name: folder / name for name in site}

    def answer() -> float:
        with chromium() as browser, serve(served) as server:
            page = browser.new_context().new_page()
            open_page(page, server.url)
            return float(page.evaluate(_PAGE))

    own, code = _files(folder / "runtime"), _files(folder)
    shipped = _files(folder / "bundle")
    return Way("page, in Chromium", [*code, *own], total(code), "onnxruntime-web", total(own), shipped, answer)


def _program(work: Path, bundle: Path) -> Way:
    if not (bundle / PROGRAM).is_file():
        raise MissingError(f"ExecuTorch: {bundle} has no {PROGRAM}, which `export --executorch` writes")
    if importlib.util.find_spec("executorch") is None:
        raise MissingError("ExecuTorch is not installed")
    length = str(read_manifest(bundle)["max_length"])
    answer = partial(_seconds, [sys.executable, "-c", _PROGRAM, str(bundle / PROGRAM), length], work)
    return Way("ExecuTorch, from Python", [], 0, "executorch", _installed("executorch"), [bundle / PROGRAM], answer)


# ---------------------------------------------------------------------- bytes and seconds


def _web_runtime() -> Path:
    try:
        return find_runtime(say=say)
    except UserError as error:
        raise MissingError(str(error)) from error


def _seconds(command: Sequence[str], folder: Path, path: Path | None = None) -> float:
    """From the start of a process of one thread to the first line that it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"PYTHONPATH": str(path)} if path else {})}
    began = perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline() if process.stdout else ""
        taken = perf_counter() - began
        _, problem = process.communicate(timeout=_TIMEOUT)
    if process.returncode or not line.strip():
        raise UserError(f"{command[0]} gave no answer: {' '.join(problem.split())[-300:]}")
    return taken


def _tokens(bundle: Path) -> list[str]:
    return (bundle / ITEMS).read_text(encoding="utf-8").splitlines()[:3]


def _files(folder: Path) -> list[Path]:
    """Those of a folder, not of folders inside; of a bundle all but another runtime's program."""
    return [path for path in folder.iterdir() if path.is_file() and path.name != PROGRAM]


def total(files: Sequence[Path]) -> int:
    """Bytes."""
    return sum(path.stat().st_size for path in files)


def _installed(name: str) -> int:
    files = [Path(str(file.locate())) for file in distribution(name).files or ()]
    return total([path for path in files if path.is_file()])


def say(line: str) -> None:
    """On stderr."""
    sys.stderr.write(f"{line}\n")


WAYS = (_wheel, _module, _page, _program)  # each of a folder to work in and a bundle; a MissingError says why not
