"""The page keeps what it knows of its visitor in the browser alone, answers as Python does with it, and forgets it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from recbole_odrec.benchmark.chromium import make_site, open_page, serve
from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.bundle import Recommender
from recbole_odrec.cli import main
from recbole_odrec.demo.runtime import FILES

from .conftest import or_skip
from .page_actions import answers, search_and_pick, shown
from .test_module import node

WEIGHTS = {"vector_weight": 0.5, "decay": 0.7, "seen_weight": -0.5, "space": "0123456789abcdef"}
STORED = "() => Object.entries(localStorage).filter(([key]) => key.startsWith('odrec user'))"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user") / "bundle"
    write_random_bundle(folder, "codes", 90, "fp32", hidden_size=32, user_state=WEIGHTS)
    return folder


def pick(page, *items: str) -> None:
    for number, item in enumerate(items, start=1):
        search_and_pick(page, item)
        answers(page, number)


def is_pythons(page, recommender: Recommender, history: list[str], state: object) -> None:
    expected = recommender.recommend(history, 20, True, state)
    rows = shown(page)
    assert [str(id) for id, _, _ in rows] == [item for item, _, _ in expected]
    np.testing.assert_allclose([score for _, _, score in rows], [score for _, score, _ in expected], atol=1e-5)


def test_earlier_visits_count_as_in_python_and_one_click_forgets_them(bundle: Path, visit) -> None:
    recommender = Recommender(bundle)
    state = recommender.state()
    with serve(make_site(bundle)) as server:
        page, complaints, requests = visit(server.url)
        assert page.inner_text("#memory-text").startswith("Nothing of an earlier visit is kept.")
        assert page.is_disabled("#forget")
        pick(page, "31", "72")
        is_pythons(page, recommender, ["31", "72"], None)
        for session, nth in ((["31", "72"], "1 earlier visit, "), (["72", "15"], "2 earlier visits, ")):
            state.add(session)
            open_page(page, server.url)
            sent = len(requests)
            assert page.inner_text("#memory-text").startswith(nth)
            pick(page, "72", "15")
            is_pythons(page, recommender, ["72", "15"], state)
            ((_, content),) = [entry for entry in page.evaluate(STORED) if not entry[0].endswith(" now")]
            assert recommender.state(content.encode()).seen == state.seen
            assert json.loads(content)["weight"] == pytest.approx(json.loads(state.to_bytes())["weight"])
            assert len(content.encode()) <= 4096
            assert (len(requests), page.inner_text("#requests")) == (sent, "0 requests since loading")
        page.click("#forget")
        page.wait_for_selector("#invitation:visible")
        assert page.evaluate(STORED) == []
        search_and_pick(page, "31")
        answers(page, 4)
        is_pythons(page, recommender, ["31"], None)
        assert [line for line in complaints if "Content Security Policy" not in line] == []


def test_a_damaged_state_is_dropped_and_the_page_works(bundle: Path, visit) -> None:
    with serve(make_site(bundle)) as server:
        page = visit(server.url).page
        pick(page, "31")
        open_page(page, server.url)
        ((key, content),) = page.evaluate(STORED)
        for damaged in (content[:-1], content.replace('"sessions":1', '"sessions":-1'), "x" * 9000):
            page.evaluate("([key, value]) => localStorage.setItem(key, value)", [key, damaged])
            open_page(page, server.url)
            assert page.inner_text("#memory-text").startswith("Nothing of an earlier visit is kept.")
            assert page.evaluate(STORED) == []


def test_pages_of_other_bundles_keep_nothing(films, visit) -> None:
    page = visit(films.server.url).page
    pick(page, "toy sto")
    assert page.locator("#memory").is_hidden()
    assert page.evaluate("localStorage.length") == 0


def test_the_module_has_states_that_python_reads(bundle: Path, runtime: Path, tmp_path: Path) -> None:
    assert main(["demo", "--bundle", str(bundle), "--export-module", str(tmp_path / "module")]) == 0
    for name in FILES:
        shutil.copy(runtime / name, tmp_path / name)
    (tmp_path / "ask.mjs").write_text("""
import { readFile } from "node:fs/promises";
import * as ort from "./ort.wasm.bundle.min.mjs";
import { load } from "./module/index.js";
const recommender = await load(ort, { wasm: await readFile("ort-wasm-simd-threaded.wasm") });
let state = recommender.state();
await recommender.remember(state, ["3", "no item", "4"]);
state = recommender.state(`${state}`);
for (let item = 10; item < 90; item += 1) await recommender.remember(state, [item, 4]);
const { items } = await recommender.recommend(["7"], { state, excludeSeen: true });
console.log(JSON.stringify([`${state}`, items]));
""")
    done = subprocess.run([or_skip(node), "ask.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    content, items = json.loads(done.stdout)
    recommender = Recommender(bundle)
    state = recommender.state()
    assert json.loads(content)["model"] == WEIGHTS["space"]
    for session in (["3", "no item", "4"], *([str(item), "4"] for item in range(10, 90))):
        state.add(session)
    read = recommender.state(content.encode())
    assert list(read.seen.items()) == list(state.seen.items())
    np.testing.assert_allclose(read._total, state._total, rtol=1e-5, atol=1e-5)
    expected = recommender.recommend(["7"], 20, True, state)
    assert [item["item"] for item in items] == [item for item, _, _ in expected]
    np.testing.assert_allclose([item["score"] for item in items], [score for _, score, _ in expected], atol=1e-4)
