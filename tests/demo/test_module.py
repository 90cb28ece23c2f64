"""The page's recommender as an ES module: Node and a page of somebody else's get Python's answers from it."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recbole_odrec.bundle import Recommender
from recbole_odrec.cli import main
from recbole_odrec.demo.runtime import FILES
from recbole_odrec.errors import UserError

from .conftest import or_skip
from .test_answers import _Quiet

HISTORIES = [["50", "172", "1"], ["no film", "7"], [str(film) for film in range(1, 61)]]
OPTIONS = [{}, {"k": 5, "excludeSeen": True}]
ASK = """
const recommender = await load(ort, { wasm });
const answers = [];
for (const options of OPTIONS) {
  for (const history of HISTORIES) answers.push(await recommender.recommend(history, options));
}
const refused = await recommender.recommend(["no film"]).catch((error) => `${error.name}: ${error.message}`);
""".replace("OPTIONS", json.dumps(OPTIONS)).replace("HISTORIES", json.dumps(HISTORIES))
NODE = f"""
import {{ readFile }} from "node:fs/promises";
import * as ort from "./ort.wasm.bundle.min.mjs";
import {{ load }} from "./module/index.js";
const wasm = await readFile("ort-wasm-simd-threaded.wasm");
{ASK}
console.log(JSON.stringify([answers, refused]));
"""
PAGE = f"""<!doctype html><script type="module">
import * as ort from "./ort.wasm.bundle.min.mjs";
import {{ load }} from "./module/index.js";
let wasm;
{ASK}
window.found = [answers, refused];
</script>"""


@pytest.fixture(scope="module")
def folder(film_bundle: Path, runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The module beside the files of the runtime."""
    folder = tmp_path_factory.mktemp("shop")
    assert main(["demo", "--bundle", str(film_bundle), "--export-module", str(folder / "module")]) == 0
    for name in FILES:
        shutil.copy(runtime / name, folder / name)
    return folder


def node() -> str:
    path = shutil.which("node")
    if path is None:
        raise UserError("no node here")
    return path


def are_pythons(found: list, bundle: Path) -> None:
    answers, refused = found
    recommender = Recommender(bundle)
    for number, options in enumerate(OPTIONS):
        for history in HISTORIES:
            expected = recommender.recommend(history, options.get("k", 20), bool(options.get("excludeSeen")))
            answer = answers.pop(0)
            items = [(item["item"], item["title"]) for item in answer["items"]]
            assert items == [(item, title) for item, _, title in expected], (number, history)
            scores = [item["score"] for item in answer["items"]]
            np.testing.assert_allclose(scores, [score for _, score, _ in expected], atol=1e-5)
            assert answer["unknown"] == list(expected.unknown)
    assert answers == []
    assert refused == "RangeError: history: none of its items is known; show popular items instead"


def test_node_gets_pythons_answers(folder: Path, film_bundle: Path) -> None:
    (folder / "ask.mjs").write_text(NODE)
    done = subprocess.run([or_skip(node), "ask.mjs"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    are_pythons(json.loads(done.stdout), film_bundle)


def test_another_page_that_imports_it_gets_pythons_answers(folder: Path, film_bundle: Path, visit: Callable) -> None:
    (folder / "index.html").write_text(PAGE)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page, complaints, _ = visit(f"http://127.0.0.1:{server.server_address[1]}/", state=None)
        page.wait_for_function("window.found")
        are_pythons(page.evaluate("found"), film_bundle)
        server.shutdown()
    assert [line for line in complaints if "favicon" not in line and "404" not in line] == []


def test_it_is_ready_for_npm(folder: Path, film_bundle: Path) -> None:
    module = folder / "module"
    package = json.loads((module / "package.json").read_text())
    assert (package["name"], package["type"], package["license"]) == ("recbole-odrec-ml-100k", "module", "MIT")
    assert {*package["files"], "README.md", "package.json"} == {path.name for path in module.iterdir()}
    assert package["exports"]["."] == {"types": "./index.d.ts", "default": "./index.js"}
    assert 'import { load } from "recbole-odrec-ml-100k";' in (module / "README.md").read_text()
    for name in ("manifest.json", "model.onnx", "items.txt", "titles.txt"):
        assert (module / "bundle" / name).read_bytes() == (film_bundle / name).read_bytes()


def test_damaged_files_and_a_folder_that_is_there_are_refused(folder: Path, film_bundle: Path, capsys) -> None:
    words = ["demo", "--bundle", str(film_bundle), "--export-module", str(folder / "module")]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"recbole_odrec: {folder / 'module'} exists; give a new folder, or remove it first.\n"
    )
    shutil.copytree(folder, folder.with_name("damaged"))
    damaged = folder.with_name("damaged")
    content = (damaged / "module" / "bundle" / "items.txt").read_bytes()
    (damaged / "module" / "bundle" / "items.txt").write_bytes(content[:-2] + b"?\n")
    (damaged / "ask.mjs").write_text(NODE)
    done = subprocess.run([or_skip(node), "ask.mjs"], cwd=damaged, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "bundle/items.txt: its SHA-256 is not the one in the manifest" in done.stderr
