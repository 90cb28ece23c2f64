"""A real Chromium, a real runtime and a bundle with the films of ml-100k.

Without them the browser tests are skipped, and say why; with RECBOLE_ODREC_BROWSER_TESTS=required they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import recbole
from playwright.sync_api import Browser, Page

from recbole_odrec.benchmark.chromium import chromium, find_chromium, make_site, open_page, serve
from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.bundle.manifest import write_manifest
from recbole_odrec.demo.runtime import find_runtime
from recbole_odrec.demo.server import PageServer
from recbole_odrec.errors import UserError

FILMS = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.item"
# A host that is not this machine as far as the browser knows: there the page is not trusted with cryptography.
ELSEWHERE = "elsewhere.test"


@pytest.fixture(scope="session")
def runtime() -> Path:
    return or_skip(find_runtime)


@pytest.fixture(scope="session")
def browser(runtime: Path) -> Iterator[Browser]:
    or_skip(find_chromium)
    with chromium(f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1") as started:
        yield started


def or_skip(find: Callable) -> object:
    try:
        return find()
    except UserError as error:
        if os.environ.get("RECBOLE_ODREC_BROWSER_TESTS") == "required":
            pytest.fail(f"the browser tests are required here: {error}")
        pytest.skip(f"browser tests need more than this machine has: {error}")


@pytest.fixture(scope="session")
def film_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained student of ml-100k's 1,682 films, in the form that `export` gives it, titles and all."""
    folder = tmp_path_factory.mktemp("films") / "bundle"
    write_random_bundle(folder, "student", 1682, "fp32", hidden_size=32)
    titles = [line.split("\t")[1] for line in FILMS.read_text().splitlines()[1:]]
    assert len(titles) == 1682
    (folder / "titles.txt").write_text("".join(f"{title}\n" for title in titles))
    rewrite_manifest(folder, dataset="ml-100k", precision="fp32")
    return folder


def rewrite_manifest(folder: Path, **values: object) -> None:
    (folder / "manifest.json").unlink()
    count = (folder / "items.txt").read_bytes().count(b"\n")
    write_manifest(folder, {"model": "student", "n_items": count, "max_length": 50, "topk": 20, **values})


class Served(NamedTuple):
    """A page at an address, and what was asked of it."""

    server: PageServer
    requests: list[str]


@pytest.fixture(scope="session")
def films(film_bundle: Path, runtime: Path) -> Iterator[Served]:
    requests: list[str] = []
    with serve(make_site(film_bundle), on_request=requests.append) as server:
        yield Served(server, requests)


class Visit(NamedTuple):
    """A visitor's page, with all that the browser complained about and all that it asked for."""

    page: Page
    complaints: list[str]
    requests: list[str]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens a page in a context of its own: nothing cached, no worker; keyword arguments are the context's."""
    contexts = []

    def visit(url: str, state: str | None = "sealed", script: str = "", **options: object) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        complaints: list[str] = []
        requests: list[str] = []
        page = context.new_page()
        # Of a frame it would be true; the server's policy takes windows and forms from a page of its own.
        harmless = "can escape its sandboxing"
        page.on(
            "console",
            lambda message: harmless in message.text or complaints.append(f"{message.type}: {message.text}"),
        )
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        context.on("request", lambda request: requests.append(request.url))
        if script:
            page.add_init_script(script)
        if state:
            open_page(page, url, state)
        else:
            page.goto(url)
        return Visit(page, complaints, requests)

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture
def damaged_copy(film_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to damage."""
    return Path(shutil.copytree(film_bundle, tmp_path / "copy"))
