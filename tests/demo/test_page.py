"""The page in a real Chromium: Python's answers, no request after loading, and every state a visitor can meet."""

from __future__ import annotations

import functools
import http.server
import random
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from recbole_odrec.benchmark.chromium import make_site, open_page, serve
from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.bundle import Recommender
from recbole_odrec.demo.site import write_site
from recbole_odrec.errors import UserError

from .conftest import ELSEWHERE, rewrite_manifest

_ANSWERS = """async ([histories, excludeSeen]) => {
  const { recommender } = await (await import("./main.js")).loaded;
  const k = Math.min(20, recommender.topk);
  return Promise.all(histories.map((history) => recommender.recommend(history, k, excludeSeen)));
}"""


def shown(page) -> list[tuple[int, str, float]]:
    """Id, title and score of each row, as displayed."""
    return page.eval_on_selector_all(
        "#results button",
        "rows => rows.map(r => [+r.dataset.id, r.querySelector('.title').textContent, +r.dataset.score])",
    )


def search_and_pick(page, words: str) -> None:
    page.fill("#search", words)
    page.click("#matches li >> nth=0")


def answers(page, number: int) -> None:
    page.wait_for_selector(f"html[data-answers='{number}']")


def same_answers(page, recommender: Recommender, histories: list[list[int]], exclude_seen: bool) -> None:
    """The page's lists and scores are Python's, up to the order of scores that differ by rounding."""
    k = min(20, recommender.topk)
    found = page.evaluate(_ANSWERS, [histories, exclude_seen])
    for history, answer in zip(histories, found, strict=True):
        ids, scores = recommender.recommend_ids([history], k, exclude_seen)
        kept = ids[0] > 0
        ids, scores = ids[0][kept], scores[0][kept]
        np.testing.assert_allclose(answer["scores"], scores, rtol=1e-5, atol=1e-5)
        differ = ids != np.array(answer["ids"])
        all_scores = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        for mine, score in zip(np.array(answer["ids"])[differ].tolist(), scores[differ].tolist(), strict=True):
            assert abs(all_scores.get(mine, scores[-1]) - score) < 1e-5, (history, ids, answer["ids"])
        assert differ.sum() <= 2


def test_three_films_by_search_give_pythons_top_20_and_no_request(films, film_bundle: Path, visit) -> None:
    page, complaints, requests = visit(films.server.url)
    before = len(films.requests), len(requests)
    for number, words in enumerate(["toy sto", "star wars", "FARGO"], start=1):
        search_and_pick(page, words)
        answers(page, number)
    assert page.locator("#chips button").all_inner_texts() == ["Toy Story", "Star Wars", "Fargo"]
    tokens = [str(1 + title_index(film_bundle, title)) for title in ("Toy Story", "Star Wars", "Fargo")]
    expected = Recommender(film_bundle).recommend(tokens, k=20, exclude_seen=True)
    rows = shown(page)
    assert [title for _, title, _ in rows] == [title for _, _, title in expected]
    np.testing.assert_allclose([score for _, _, score in rows], [score for _, score, _ in expected], atol=1e-5)

    page.uncheck("#exclude-seen")
    answers(page, 4)
    expected = Recommender(film_bundle).recommend(tokens, k=20)
    assert [str(id) for id, _, _ in shown(page)] == [item for item, _, _ in expected]

    page.click("#chips button >> nth=1")
    answers(page, 5)
    expected = Recommender(film_bundle).recommend([tokens[0], tokens[2]], k=20)
    assert [str(id) for id, _, _ in shown(page)] == [item for item, _, _ in expected]
    page.click("#clear")
    page.wait_for_selector("#invitation:visible")
    assert page.locator("#results, #history").filter(visible=True).count() == 0

    assert (len(films.requests), len(requests)) == before
    assert page.inner_text("#requests") == "0 requests since loading"
    assert page.inner_text("#time").endswith(" ms")
    assert page.inner_text("#size") == f"{round((film_bundle / 'model.onnx').stat().st_size / 1000)} kB"
    assert complaints == []


def title_index(bundle: Path, title: str) -> int:
    return (bundle / "titles.txt").read_text().splitlines().index(title)


def test_fifty_random_histories_give_pythons_answers(films, film_bundle: Path, visit) -> None:
    """Up to 70 items, of which the model reads 50; items repeat; seen items left out and not."""
    generator = random.Random(3)
    histories = [[generator.randint(1, 1682) for _ in range(generator.randint(1, 70))] for _ in range(50)]
    page = visit(films.server.url).page
    for exclude_seen in (False, True):
        same_answers(page, Recommender(film_bundle), histories, exclude_seen)


@pytest.mark.parametrize(("model", "precision"), [("student", "int8"), ("student", "fp16"), ("teacher", "fp32")])
def test_every_kind_of_bundle_runs(model: str, precision: str, tmp_path: Path, visit) -> None:
    """70 items: leaving out 65 of them leaves 5."""
    write_random_bundle(tmp_path / "bundle", model, 70, precision, hidden_size=32)
    histories = [[1, 2, 3], list(range(1, 66)), list(range(70, 0, -1)), [5] * 60]
    with serve(make_site(tmp_path / "bundle")) as server:
        page = visit(server.url).page
        for exclude_seen in (False, True):
            same_answers(page, Recommender(tmp_path / "bundle"), histories, exclude_seen)
        assert [len(answer["ids"]) for answer in page.evaluate(_ANSWERS, [histories, True])] == [20, 5, 0, 20]


def test_equal_scores_come_in_the_order_of_ids(tmp_path: Path, visit) -> None:
    import torch

    from recbole_odrec.benchmark import device_bundles

    class ZeroEmbedding(device_bundles.DenseEmbedding):
        def __init__(self, *args: int) -> None:
            super().__init__(*args)
            torch.nn.init.zeros_(self.weight)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_bundles, "DenseEmbedding", ZeroEmbedding)
        write_random_bundle(tmp_path / "bundle", "teacher", 60, "fp32", hidden_size=16)
    with serve(make_site(tmp_path / "bundle")) as server:
        page = visit(server.url).page
        assert page.evaluate(_ANSWERS, [[[7]], False])[0]["ids"] == list(range(1, 21))
        assert page.evaluate(_ANSWERS, [[[7]], True])[0]["ids"] == [id for id in range(1, 22) if id != 7]


def test_a_first_visitor_is_one_click_away_and_works_without_titles(tiny_bundle: Path, visit) -> None:
    with serve(make_site(tiny_bundle)) as server:
        page = visit(server.url).page
        assert page.get_attribute("#search", "placeholder") == "Type the id of an item"
        page.click("#example-list button >> nth=2")
        answers(page, 1)
        [picked] = page.locator("#chips button").all_inner_texts()
        expected = Recommender(tiny_bundle).recommend([picked], k=10, exclude_seen=True)
        assert [title for _, title, _ in shown(page)] == [item for item, _, _ in expected]
        page.fill("#search", "59")
        assert page.locator("#matches li").all_inner_texts() == ["59"]
        page.fill("#search", "  no such ")
        assert page.inner_text("#no-match") == "Nothing in the catalogue is called “no such”."


def test_it_works_with_the_network_cut(film_bundle: Path, visit) -> None:
    with serve(make_site(film_bundle)) as server:
        url = server.url
        page, complaints, _ = visit(url)
        assert "works offline" in page.inner_text("#facts")
        search_and_pick(page, "toy story")
        answers(page, 1)
        before = shown(page)
    with pytest.raises(OSError, match="refused"):
        __import__("urllib.request").request.urlopen(url, timeout=5)
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


def test_while_it_loads_it_shows_the_bytes_and_takes_no_input(films, browser) -> None:
    context = browser.new_context()
    page, held = context.new_page(), []
    page.route("**/*.wasm", lambda route: held.append(route))
    page.goto(films.server.url)
    expect(page.locator("#progress-text")).to_have_text(re.compile(r"^[1-9][0-9]* kB of 14\.[0-9] MB$"), timeout=20_000)
    assert 0 < page.eval_on_selector("#progress", "bar => bar.value") < 0.2
    assert page.is_disabled("#search")
    assert page.locator("#example-list button").count() == 0
    assert page.inner_text("#requests") == "Loading"
    held[0].continue_()
    page.wait_for_selector("html[data-state=sealed]")
    assert page.locator("#example-list button").count() == 6
    assert not page.is_visible("#progress")
    context.close()


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_shows_it_all_without_overflow_or_shift(films, visit, width: int) -> None:
    script = """
      window.shift = 0;
      const add = (entry) => (window.shift += entry.hadRecentInput ? 0 : entry.value);
      const observer = new PerformanceObserver((list) => list.getEntries().forEach(add));
      observer.observe({ type: "layout-shift", buffered: true });"""
    screen = {"viewport": {"width": width, "height": 844}, "device_scale_factor": 2, "has_touch": True}
    page = visit(films.server.url, script=script, **screen, is_mobile=True).page
    assert page.evaluate("window.shift") < 0.01
    page.tap("#example-list button >> nth=0")
    answers(page, 1)
    assert page.evaluate("document.activeElement === document.body")  # no keyboard pops up
    search_and_pick(page, "the")
    answers(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("visualViewport.scale") == 1
    rights = "elements => elements.map(element => element.getBoundingClientRect().right)"
    assert max(page.eval_on_selector_all("button, input, dd, .bar span", rights)) <= width
    heights = page.eval_on_selector_all("#results button", "rows => rows.map(r => r.getBoundingClientRect().height)")
    assert len(heights) == 20
    assert min(heights) >= 44


def test_the_keyboard_is_enough(films, visit) -> None:
    page = visit(films.server.url).page
    focused = "document.activeElement.{}"
    page.keyboard.press("Tab")
    assert page.evaluate(focused.format("id")) == "search"
    page.keyboard.type("star t")
    options = page.locator("#matches li").all_inner_texts()
    assert all("star t" in option.lower() for option in options)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.get_attribute("#search", "aria-activedescendant") == "match-1"
    page.keyboard.press("Enter")
    answers(page, 1)
    assert page.locator("#chips button").all_inner_texts() == [options[1]]
    assert page.inner_text("#spoken").startswith("20 recommendations, first ")

    for _ in range(4):  # clear, the chip, the switch, the first row
        page.keyboard.press("Tab")
    assert page.evaluate(focused.format("matches('#results li:first-child button')"))
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    answers(page, 2)
    assert page.evaluate(focused.format("matches('#results li:first-child button')"))
    page.keyboard.press("/")
    assert page.evaluate(focused.format("id")) == "search"
    page.keyboard.press("Backspace")
    answers(page, 3)
    assert page.locator("#chips button").count() == 1
    page.focus("#chips button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#invitation:visible")
    assert page.evaluate(focused.format("id")) == "search"
    page.focus("#example-list button")
    page.keyboard.press("Space")
    answers(page, 5)
    assert page.evaluate(focused.format("id")) == "search"


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


def test_an_exported_page_works_below_any_address_of_any_server(film_bundle: Path, tmp_path: Path, visit) -> None:
    write_site(make_site(film_bundle), tmp_path / "www" / "some where" / "demo")
    handler = functools.partial(_Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/some%20where/demo/"
        page, complaints, _ = visit(url)
        same_answers(page, Recommender(film_bundle), [[1, 2, 3]], True)
        server.shutdown()
    open_page(page, url)  # offline, below a path
    assert "works offline" in page.inner_text("#facts")
    assert [line for line in complaints if not line.startswith("error: Failed to load resource")] == []


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_light_and_dark_are_both_readable(films, visit) -> None:
    """Text against background: at least 4.5 to 1, as WCAG AA asks."""
    backgrounds = set()
    for scheme in ("light", "dark"):
        page = visit(films.server.url, color_scheme=scheme).page
        search_and_pick(page, "fargo")
        answers(page, 1)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        backgrounds.add(background)
        for selector in (".top p", ".rank", ".score", ".title", "#clear", "#scale", "dt"):
            color = page.eval_on_selector(selector, "element => getComputedStyle(element).color")
            assert contrast(color, background) >= 4.5, (scheme, selector, color)
    assert len(backgrounds) == 2


def contrast(*colors: str) -> float:
    """WCAG's contrast of two `rgb(r, g, b)`."""
    lights = []
    for color in colors:
        parts = [int(part) / 255 for part in color[4:-1].split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(lights) / min(lights)
