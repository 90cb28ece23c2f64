"""The page in a real Chromium gives Python's answers, wherever it is served."""

from __future__ import annotations

import functools
import http.server
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from recbole_odrec.benchmark.chromium import make_site, open_page, serve
from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.bundle import Recommender
from recbole_odrec.demo.site import write_site

from .page_actions import ANSWERS, answers, same_answers, search_and_pick, shown


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


@pytest.mark.parametrize(
    ("model", "precision"),
    [("student", "int8"), ("student", "fp16"), ("teacher", "fp32"), ("codes", "fp32"), ("rounded", "fp16")],
)
def test_every_kind_of_bundle_runs(model: str, precision: str, tmp_path: Path, visit) -> None:
    """70 items: leaving out 65 of them leaves 5."""
    write_random_bundle(tmp_path / "bundle", model, 70, precision, hidden_size=32)
    histories = [[1, 2, 3], list(range(1, 66)), list(range(70, 0, -1)), [5] * 60]
    with serve(make_site(tmp_path / "bundle")) as server:
        page = visit(server.url).page
        for exclude_seen in (False, True):
            same_answers(page, Recommender(tmp_path / "bundle"), histories, exclude_seen)
        assert [len(answer["ids"]) for answer in page.evaluate(ANSWERS, [histories, True])] == [20, 5, 0, 20]


def test_many_items_are_scanned_in_integers_there_too(tmp_path: Path, visit) -> None:
    write_random_bundle(tmp_path / "bundle", "rounded", 70_000, "fp32", hidden_size=32)
    histories = [[1, 2, 3], list(range(69_900, 69_965)), [5] * 60]
    with serve(make_site(tmp_path / "bundle")) as server:
        page = visit(server.url).page
        for exclude_seen in (False, True):
            same_answers(page, Recommender(tmp_path / "bundle"), histories, exclude_seen)


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
        assert page.evaluate(ANSWERS, [[[7]], False])[0]["ids"] == list(range(1, 21))
        assert page.evaluate(ANSWERS, [[[7]], True])[0]["ids"] == [id for id in range(1, 22) if id != 7]


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
