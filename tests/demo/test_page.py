"""The page as a visitor meets it: first click, keyboard, phone, light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from recbole_odrec.benchmark.chromium import make_site, serve
from recbole_odrec.bundle import Recommender

from .page_actions import answers, search_and_pick, shown


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
