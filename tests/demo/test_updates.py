"""A new bundle at the same address: what the browser has stays, what differs travels, and nothing else."""

from __future__ import annotations

import json
import random
import shutil
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from recbole_odrec.benchmark.chromium import make_site, open_page, serve
from recbole_odrec.bundle import Recommender
from recbole_odrec.bundle.delta_maker import encoded, make_delta
from recbole_odrec.bundle.manifest import sha256
from recbole_odrec.bundle.withdraw import withdraw

from .conftest import rewrite_manifest
from .page_actions import ANSWERS, answers, same_answers, search_and_pick, shown

NAMES = ("manifest.json", "model.onnx", "items.txt", "titles.txt")


@pytest.fixture(scope="session")
def new_bundle(film_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The films after a little training, one of them renamed."""
    folder = Path(shutil.copytree(film_bundle, tmp_path_factory.mktemp("new") / "bundle"))
    model, drawn = onnx.load(folder / "model.onnx"), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.raw_data) > 64:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.raw_data = (values * (1 + 0.5 * drawn.standard_normal(values.shape, np.float32))).tobytes()
    onnx.save(model, folder / "model.onnx")
    titles = (folder / "titles.txt").read_text()
    (folder / "titles.txt").write_text(titles.replace("Toy Story\n", "Toy Story, the first\n"))
    rewrite_manifest(folder, dataset="ml-100k", precision="fp32")
    return folder


def asked_again(old: Path, site: dict, visit: Callable, between: Callable = lambda page: None) -> tuple:
    """The page of a visitor who had the old bundle and meets another site there, and what it asked for then."""
    requests: list[str] = []
    with serve(make_site(old)) as server:
        url, port = server.url, server.server_address[1]
        page = visit(url).page
        between(page)
    with serve(site, port, requests.append):
        open_page(page, url)
    return page, requests, url


def path_of_delta(old: Path) -> str:
    return f"/deltas/{sha256((old / 'manifest.json').read_bytes())}.delta"


def test_only_the_difference_travels_and_works_offline(film_bundle: Path, new_bundle: Path, visit) -> None:
    page, requests, url = asked_again(film_bundle, make_site(new_bundle, earlier=[film_bundle]), visit)
    assert path_of_delta(film_bundle) in requests
    assert not [path for path in requests if path.startswith("/bundle/") or path.endswith(".wasm")]
    size = len(make_delta(film_bundle, new_bundle)[1])
    assert f"{round(size / 1000)} kB travelled, the rest was here" in page.inner_text("#facts")
    assert page.evaluate("caches.keys().then(names => names.length)") == 1
    search_and_pick(page, "toy story, the first")  # the server is gone, and so is the old bundle
    answers(page, 1)
    same_answers(page, Recommender(new_bundle), [[1], [50, 172, 1]], False)
    before = shown(page)
    open_page(page, url)
    search_and_pick(page, "toy story, the first")
    answers(page, 1)
    assert shown(page) == before
    assert "travelled" not in page.inner_text("#facts")
    assert page.inner_text("#requests") == "0 requests since loading"


def test_a_visitor_without_the_old_bundle_gets_the_whole_one(film_bundle, new_bundle, tiny_bundle, visit) -> None:
    site = make_site(new_bundle, earlier=[film_bundle])
    page, requests, _ = asked_again(tiny_bundle, site, visit)
    assert "/bundle/model.onnx" in requests
    assert path_of_delta(film_bundle) not in requests
    assert not [path for path in requests if path.endswith(".wasm")]  # the runtime is the same
    same_answers(page, Recommender(new_bundle), [[50, 172, 1]], False)
    requests.clear()
    with serve(site, on_request=requests.append) as server:
        page = visit(server.url).page
        page.wait_for_timeout(500)
    assert path_of_delta(film_bundle) not in requests
    assert "travelled" not in page.inner_text("#facts")


def damage_the_old_model(page) -> None:
    page.evaluate(
        "async () => (await caches.open((await caches.keys())[0])).put('bundle/model.onnx', new Response('junk'))"
    )


def damaged(delta: bytes) -> bytes:
    return delta[:-9] + bytes([delta[-9] ^ 1]) + delta[-8:]


@pytest.mark.parametrize(
    ("change", "between"),
    [
        (lambda site, path: site.pop(path), lambda page: None),
        (lambda site, path: site.update({path: damaged(site[path])}), lambda page: None),
        (lambda site, path: site.update({path: site[path][:-5]}), lambda page: None),
        (lambda site, path: site.update({path: site[path] + b"more"}), lambda page: None),
        (lambda site, path: None, damage_the_old_model),
        (lambda site, path: None, lambda page: page.add_init_script("delete window.DecompressionStream")),
    ],
)
def test_a_delta_of_no_use_is_made_up_for(film_bundle: Path, new_bundle: Path, visit, change, between) -> None:
    site = dict(make_site(new_bundle, earlier=[film_bundle]))
    change(site, path_of_delta(film_bundle)[1:])
    page, requests, _ = asked_again(film_bundle, site, visit, between)
    assert "/bundle/model.onnx" in requests
    same_answers(page, Recommender(new_bundle), [[50, 172, 1]], False)


def test_broken_off_it_leaves_the_old_page_which_works_offline(film_bundle, new_bundle, visit) -> None:
    """Page and files.js of the new version arrive, and a delta; of what is not in it nothing."""
    site = {name: file for name, file in make_site(new_bundle, earlier=[film_bundle]).items() if name != "main.js"}
    with serve(make_site(film_bundle)) as server:
        url, port = server.url, server.server_address[1]
        page = visit(url).page
    with serve(site, port):
        page.goto(url)
        page.wait_for_timeout(1500)
    open_page(page, url)
    same_answers(page, Recommender(film_bundle), [[50, 172, 1]], False)


def test_the_bytes_of_the_delta_count_in_the_progress(film_bundle: Path, new_bundle: Path, visit) -> None:
    with serve(make_site(film_bundle)) as server:
        url, port = server.url, server.server_address[1]
        page = visit(url, service_workers="block").page
    page.add_init_script("""
      window.seen = [];
      const look = () => seen.push(document.getElementById("progress-text")?.textContent);
      new MutationObserver(look).observe(document, { childList: true, subtree: true });""")
    site = make_site(new_bundle, earlier=[film_bundle])
    with serve(site, port):
        open_page(page, url)
    listed = json.loads(site["files.js"].decode().removeprefix("self.FILES = ").removesuffix(";\n"))
    names = ["runtime/ort-wasm-simd-threaded.wasm", *(f"bundle/{name}" for name in NAMES)]
    size = sum(listed["files"][name]["bytes"] for name in names) + len(site[path_of_delta(film_bundle)[1:]])
    assert f"{size / 1e6:.1f} MB of {size / 1e6:.1f} MB" in page.evaluate("window.seen")


def model_of(raw: bytes, width: int) -> bytes:
    """A model of one weight."""
    values = np.frombuffer(raw, f"<u{width}")
    graph = onnx.helper.make_graph([], "g", [], [], [onnx.numpy_helper.from_array(values, "weight")])
    return onnx.helper.make_model(graph).SerializeToString()


def test_the_page_restores_what_python_encodes(films, visit) -> None:
    page = visit(films.server.url, state=None).page
    page.wait_for_function("self.stored")
    drawn, cases = random.Random(0), []
    for width in (1, 2, 4):
        for length in (1, 300, 2**18 + 5):
            old = drawn.randbytes(width * length)
            steps = np.array([drawn.randint(-3, 3) for _ in range(length)]).astype(f"<u{width}")
            new = (np.frombuffer(old, f"<u{width}") + steps).tobytes()
            cases.append((model_of(old, width), model_of(new, width), True))
    text = b"".join(b"%d\n" % i for i in range(5000))
    cases += [(text, text[3000:] + b"new" + text[:4000], False), (b"", text, False)]
    script = """async ([old, code, size]) => {
      const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes(code)]).stream().pipeThrough(new DecompressionStream("deflate"));
      const inflated = new Uint8Array(await new Response(stream).arrayBuffer());
      return self.stored.sha256(self.stored.restored(bytes(old), inflated, size));
    }"""
    for old, new, is_model in cases:
        sent = [b64encode(old).decode(), b64encode(encoded(old, new, is_model)).decode(), len(new)]
        assert page.evaluate(script, sent) == sha256(new)


def test_withdrawn_items_are_not_shown(film_bundle: Path, tmp_path: Path, visit) -> None:
    recommender = Recommender(film_bundle)
    out = [item for item, _, _ in recommender.recommend(["50"], k=20)][:3]
    withdraw(film_bundle, out, tmp_path / "new")
    page, requests, _ = asked_again(film_bundle, make_site(tmp_path / "new", earlier=[film_bundle]), visit)
    assert not [path for path in requests if path.startswith("/bundle/")]
    [answer] = page.evaluate(ANSWERS, [[[50]], False])
    expected = Recommender(tmp_path / "new").recommend_ids([[50]])[0][0]
    assert answer["ids"] == expected[expected > 0].tolist()
    assert len(answer["ids"]) == 17
    favourites = "async () => (await (await import('./main.js')).loaded).recommender.favourites(1682)"
    assert not {*map(int, out)} & {*page.evaluate(favourites)}
