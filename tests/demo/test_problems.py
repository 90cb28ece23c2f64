"""What a visitor reads when the page cannot recommend."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_odrec.benchmark.chromium import make_site, serve
from recbole_odrec.errors import UserError

from .conftest import ELSEWHERE, rewrite_manifest


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda f: flip_a_bit(f / "model.onnx"), "damaged", "bundle/model.onnx: its SHA-256 is not the one"),
        (lambda f: (f / "titles.txt").write_text("cut"), "damaged", "bundle/titles.txt: 3 bytes, expected"),
        (lambda f: (f / "items.txt").unlink(), "damaged", "bundle/items.txt is missing"),
        (lambda f: flip_a_bit(f / "manifest.json"), "damaged", "bundle/manifest.json: its SHA-256"),
        (lambda f: (f / "manifest.json").unlink(), "missing", "bundle/manifest.json is missing"),
    ],
)
def test_a_bundle_damaged_after_it_was_checked_recommends_nothing(damaged_copy, visit, change, kind, message) -> None:
    site = make_site(damaged_copy)
    change(damaged_copy)
    with serve(site) as server:
        page = visit(server.url, state=None).page
        page.wait_for_selector("#problem:visible")
        assert page.get_attribute("html", "data-problem") == kind
        assert message in page.inner_text("#problem")
        assert page.get_attribute("#problem", "role") == "alert"
        assert not page.is_visible("main")


def test_a_page_without_its_list_of_files_says_what_is_missing(film_bundle: Path, visit) -> None:
    site = {name: source for name, source in make_site(film_bundle).items() if name != "files.js"}
    with serve(site) as server:
        page = visit(server.url, state=None).page
        page.wait_for_selector("#problem:visible")
        assert page.inner_text("#problem h2") == "No bundle here"


def test_a_well_formed_bundle_around_no_model_is_refused(damaged_copy: Path, visit) -> None:
    (damaged_copy / "model.onnx").write_bytes(b"no model")
    rewrite_manifest(damaged_copy, precision="fp32")
    with serve(make_site(damaged_copy)) as server, pytest.raises(UserError, match="The model does not run"):
        visit(server.url)


@pytest.mark.parametrize(
    ("script", "title"),
    [("delete window.WebAssembly", "too old for the model"), ("delete window.BigInt64Array", "too old for the model")],
)
def test_an_old_browser_is_told(films, visit, script: str, title: str) -> None:
    page = visit(films.server.url, state=None, script=script).page
    page.wait_for_selector("#problem:visible")
    assert title in page.inner_text("#problem h2")


def test_elsewhere_without_https_it_says_so(films, visit) -> None:
    url = films.server.url.replace("127.0.0.1", ELSEWHERE)
    page = visit(url, state=None).page
    page.wait_for_selector("#problem:visible")
    assert page.inner_text("#problem h2") == "Open this page over https or on localhost"
