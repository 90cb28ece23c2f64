"""No request after loading, none needed for a reload, and no old version in the way."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from recbole_odrec.benchmark.chromium import make_site, open_page, serve

from .page_actions import answers, search_and_pick, shown


def test_it_works_with_the_network_cut(film_bundle: Path, visit) -> None:
    with serve(make_site(film_bundle)) as server:
        url = server.url
        page, complaints, _ = visit(url)
        assert "works offline" in page.inner_text("#facts")
        search_and_pick(page, "toy story")
        answers(page, 1)
        before = shown(page)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)
    open_page(page, url)
    search_and_pick(page, "toy story")
    answers(page, 1)
    assert shown(page) == before
    assert page.inner_text("#requests") == "0 requests since loading"
    assert [line for line in complaints if not line.startswith("error: Failed to load resource")] == []


def test_another_bundle_at_the_same_address_is_not_hidden_by_the_cache(film_bundle: Path, tiny_bundle, visit) -> None:
    with serve(make_site(film_bundle)) as server:
        url, port = server.url, server.server_address[1]
        page = visit(url).page
    with serve(make_site(tiny_bundle), port):
        open_page(page, url)
        assert "60 items" in page.inner_text("#facts")
        assert page.evaluate("caches.keys().then(names => names.length)") == 1


def test_once_loaded_the_browser_refuses_every_connection(films, visit) -> None:
    page, complaints, _ = visit(films.server.url)
    before = len(films.requests)
    for address in ("bundle/items.txt?history=1", "https://example.org/"):
        assert page.evaluate(f"fetch('{address}').then(() => 'sent', (error) => error.name)") == "TypeError"
    assert len(films.requests) == before
    assert sum("Content Security Policy" in line for line in complaints) >= 2


def test_a_later_visit_loads_only_what_the_cache_has_lost(film_bundle: Path, visit) -> None:
    requests: list[str] = []
    with serve(make_site(film_bundle), on_request=requests.append) as server:
        page = visit(server.url).page
        page.evaluate(
            "async () => (await caches.open((await caches.keys())[0])).put('bundle/model.onnx', new Response('junk'))"
        )
        requests.clear()
        open_page(page, server.url)
        assert requests.count("/bundle/model.onnx") == 1
        assert not [path for path in requests if path.endswith(".wasm")]  # that one was whole

        # On a later visit the browser looks for a new version by itself; that asks for two files and tells nothing.
        requests.clear()
        search_and_pick(page, "toy story")
        answers(page, 1)
        page.wait_for_timeout(2500)
        assert set(requests) <= {"/sw.js", "/files.js"}
        assert page.inner_text("#requests") == "0 requests since loading"
