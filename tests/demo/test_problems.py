"""What a visitor reads when the page cannot recommend."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_odrec.benchmark.chromium import make_site, serve
from recbole_odrec.demo.site import assemble
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


TITLES_OF = {count: "".join(f"Film {i}\n" for i in range(count)).encode() for count in (1681, 1682)}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("items.txt", lambda content: content[:-1] + b"\xff\n", "items.txt: not UTF-8"),
        ("items.txt", lambda content: content[:-1], "items.txt: the last line is not complete"),
        ("items.txt", lambda content: content.replace(b"\n17\n", b"\n18\n"), "items.txt: a token stands twice"),
        ("items.txt", lambda content: content.replace(b"\n17\n", b"\n\n"), "items.txt: a token is empty"),
        ("items.txt", lambda content: content.replace(b"\n17\n", b"\n" + b"1" * 5000 + b"\n"), "a line of 5000 bytes"),
        ("titles.txt", lambda content: TITLES_OF[1681], "titles.txt: 1681 items, the manifest says 1682"),
        ("max_length", 0, "`max_length` is not 1 to 2147483647"),
        ("topk", 1683, "`topk` is not 1 to 1682"),
        ("topk", 19, "model.onnx gives 6"),
        ("n_items", 1682.5, "`n_items` is not 1 to 2147483647"),
    ],
)
def test_what_no_export_writes_is_not_shown(damaged_copy: Path, runtime: Path, visit, name, content, message) -> None:
    """The page is given what Python refuses to serve: every checksum is right."""
    values: dict[str, object] = {}
    if callable(content):
        (damaged_copy / name).write_bytes(content((damaged_copy / name).read_bytes()))
    else:
        values[name] = content
    rewrite_manifest(damaged_copy, **{"n_items": 1682, "max_length": 50, "topk": 20, **values})
    bundle = {f"bundle/{path.name}": path for path in sorted(damaged_copy.iterdir())}
    with serve(assemble(bundle, runtime)) as server:
        page = visit(server.url, state=None).page
        page.wait_for_selector("#problem:visible")
        assert message in page.inner_text("#problem")


ANSWERS = [  # ids, scores, whether such an answer can be
    ([[3, 1, 2]], [[2, 1, 1]], True),
    ([[3, 0, 0]], [[2, "-Infinity", "-Infinity"]], True),
    ([[3, 1, 2]], [["Infinity", 1, 1]], False),
    ([[3, 1, 2]], [[2, 1, "NaN"]], False),
    ([[3, 1, 2]], [[1, 2, 0]], False),
    ([[3, 1, 3]], [[2, 1, 0]], False),
    ([[3, 1, 4]], [[2, 1, 0]], False),
    ([[3, 1]], [[2, 1]], False),
    ([3, 1, 2], [2, 1, 0], False),
]


def test_the_page_too_serves_only_an_answer_that_can_be_one(films, visit) -> None:
    page = visit(films.server.url, state=None).page
    script = """async (answers) => {
      const { Recommender } = await import("./recommender.js");
      const dims = (rows) => (Array.isArray(rows[0]) ? [rows.length, rows[0].length] : [rows.length]);
      return Promise.all(answers.map(async ([ids, scores]) => {
        const tensor = (type, rows, data) => ({ type, dims: dims(rows), data: data(rows.flat()) });
        const outputs = {
          item_ids: tensor("int64", ids, (flat) => BigInt64Array.from(flat, BigInt)),
          scores: tensor("float32", scores, (flat) => Float32Array.from(flat, Number)),
        };
        const ort = {
          env: { wasm: {} }, Tensor: class {}, InferenceSession: { create: async () => ({ run: async () => outputs }) },
        };
        const recommender = await Recommender.create(ort, null, MODEL);
        return recommender.recommend([1], 3, false).then(() => true, () => false);
      }));
    }"""
    # The least model with an initializer `exclude_seen`, field 5 of field 7, whose name is field 8.
    name = b"exclude_seen"
    tensor = bytes([66, len(name), *name])
    model = bytes([58, len(tensor) + 2, 42, len(tensor), *tensor])
    bundle = (
        f"{{ manifest: {{ n_items: 3, max_length: 5, topk: 3 }}, model: Uint8Array.of({', '.join(map(str, model))}) }}"
    )
    found = page.evaluate(script.replace("MODEL", bundle), [[ids, scores] for ids, scores, _ in ANSWERS])
    assert found == [is_right for _, _, is_right in ANSWERS]


def test_elsewhere_without_https_it_says_so(films, visit, monkeypatch) -> None:
    monkeypatch.setattr(films.server, "names", {*films.server.names, ELSEWHERE})
    url = films.server.url.replace("127.0.0.1", ELSEWHERE)
    page = visit(url, state=None).page
    page.wait_for_selector("#problem:visible")
    assert page.inner_text("#problem h2") == "Open this page over https or on localhost"
