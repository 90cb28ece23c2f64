"""No request after loading, none needed for a reload, and no old version in the way."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from recbole_odrec.benchmark.chromium import make_site, open_page, serve
from recbole_odrec.demo.server import _Handler

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


def element(tag: str, **attributes: str) -> str:
    """Script that puts an element into the page."""
    return f"document.body.append(Object.assign(document.createElement('{tag}'), {attributes}))"


def link(rel: str, **attributes: str) -> str:
    return element("link", rel=rel, href="URL", **attributes)


def anchor(**attributes: str) -> str:
    return f"Object.assign(document.createElement('a'), {attributes}).click()"


def form(method: str) -> str:
    return (
        f"(() => {{ const f = Object.assign(document.createElement('form'), {{ action: 'URL', method: '{method}' }});"
        " f.append(Object.assign(document.createElement('input'), { name: 'way', value: 'form' }));"
        " document.body.append(f); f.submit(); })()"
    )


# Ways in which a page can say something to a server; URL stands for an address with a history in it.
WAYS_OUT = {
    "fetch": "fetch('URL').catch(() => {})",
    "fetch keepalive": "fetch('URL', { method: 'POST', body: '17', keepalive: true }).catch(() => {})",
    "xhr": "(() => { const x = new XMLHttpRequest(); x.open('GET', 'URL'); x.send(); })()",
    "beacon": "navigator.sendBeacon('URL', '17')",
    "websocket": "new WebSocket('URL'.replace('http', 'ws'))",
    "event source": "new EventSource('URL')",
    "image": "new Image().src = 'URL'",
    "background": "document.body.style.backgroundImage = 'url(URL)'",
    "cursor": "document.body.style.cursor = 'url(URL), auto'",
    "font": "new FontFace('f', 'url(URL)').load().catch(() => {})",
    "style": "document.head.append(Object.assign(document.createElement('style'), { textContent: '@import \"URL\"' }))",
    "stylesheet": link("stylesheet"),
    "prefetch": link("prefetch"),
    "preload": link("preload", **{"as": "fetch"}),
    "modulepreload": link("modulepreload"),
    "prerender": link("prerender"),
    "icon": link("icon"),
    "manifest": link("manifest"),
    "script": element("script", src="URL"),
    "module": "import('URL').catch(() => {})",
    "iframe": element("iframe", src="URL"),
    "object": element("object", data="URL"),
    "embed": element("embed", src="URL"),
    "video": element("video", src="URL", poster="URL"),
    "audio": element("audio", src="URL"),
    "worker": "try { new Worker('URL') } catch {}",
    "shared worker": "try { new SharedWorker('URL') } catch {}",
    "service worker": "navigator.serviceWorker.register('URL').catch(() => {})",
    "form": form("get"),
    "posted form": form("post"),
    "window": "window.open('URL')",
    "link": anchor(href="URL"),
    "other window": anchor(href="URL", target="_blank"),
    "ping": anchor(href="#x", ping="URL"),
    "assign": "location.assign('URL')",
    "href": "location.href = 'URL'",
    "replace": "location.replace('URL')",
    "navigate": "navigation.navigate('URL').finished.catch(() => {})",
    "refresh": "document.head.append(Object.assign(document.createElement('meta'),"
    " { httpEquiv: 'refresh', content: '0; url=URL' }))",
}


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first line of everything that arrives at a server, in whatever method."""
    lines: list[str] = []
    parse_request = _Handler.parse_request
    monkeypatch.setattr(
        _Handler, "parse_request", lambda self: lines.append(self.raw_requestline.decode()) or parse_request(self)
    )
    return lines


@pytest.mark.parametrize("workers", ["allow", "block"])
def test_after_sealing_nothing_arrives_by_any_way_out(films, visit, heard: list[str], workers: str) -> None:
    page = visit(films.server.url, service_workers=workers).page
    for address in ("", "bundle/items.txt", "elsewhere"):
        for way, script in WAYS_OUT.items():
            tag = f"{address}?way={way.replace(' ', '-')}"
            page.evaluate(f"() => {{ {script.replace('URL', films.server.url + tag)} }}")
    page.wait_for_timeout(1500)
    assert [line for line in heard if "way=" in line] == []
    assert page.url.partition("#")[0] == films.server.url
    search_and_pick(page, "toy story")  # the same page, and it still answers
    answers(page, 1)


def test_the_ways_out_are_ways_out_of_an_open_page(visit, heard: list[str], monkeypatch) -> None:
    """Otherwise the test above would test nothing."""
    monkeypatch.setattr("recbole_odrec.demo.server.HEADERS", {})
    with serve({"index.html": b"<body>"}) as server:
        context = visit(server.url, state=None).page.context
        for way, script in WAYS_OUT.items():
            page = context.new_page()
            page.goto(server.url)
            page.evaluate(f"() => {{ {script.replace('URL', f'{server.url}?way={way.replace(chr(32), chr(45))}')} }}")
        page.wait_for_timeout(1000)
    arrived = {line.partition("way=")[2].partition(" ")[0].replace("-", " ") for line in heard}
    # A browser without a window asks for these never.
    assert set(WAYS_OUT) - arrived <= {"icon", "manifest", "prerender"}


def test_the_worker_sends_no_more_than_a_name(films, visit, heard: list[str]) -> None:
    """Where a browser does not know of `navigation`, the worker stands before the server."""
    page = visit(films.server.url, script="delete window.navigation").page
    page.wait_for_function("navigator.serviceWorker.controller")
    heard.clear()
    with page.expect_navigation():
        page.evaluate("location.href = '/?history=17'")
    assert page.inner_text("h1") == "Next, on your device"
    assert [line for line in heard if "history=" in line] == []


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

        # On a later visit the browser looks for a new version by itself; that asks for three files and tells nothing.
        requests.clear()
        search_and_pick(page, "toy story")
        answers(page, 1)
        page.wait_for_timeout(2500)
        assert set(requests) <= {"/sw.js", "/files.js", "/stored.js"}
        assert page.inner_text("#requests") == "0 requests since loading"
