"""The runtime: answers, limits, and that nothing damaged is ever served."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from recbole_odrec.bundle import BundleError, Recommender, tokens
from recbole_odrec.bundle.graph import IR_VERSION, OPSET
from recbole_odrec.bundle.manifest import sha256, write_manifest
from recbole_odrec.bundle.onnx_session import open_session, run_model
from recbole_odrec.bundle.tokens import TokenTable
from recbole_odrec.cli import main

HISTORY = ["5", "17", "30"]


@pytest.fixture
def recommender(tiny_bundle: Path) -> Recommender:
    return Recommender(tiny_bundle)


def items(answer: list) -> list[str]:
    return [item for item, _, _ in answer]


def test_unknown_items_are_skipped_and_reported(recommender: Recommender) -> None:
    answer = recommender.recommend(["5", "nobody", "17", "0", "30", "61", ""], k=10)
    assert answer == recommender.recommend(HISTORY, k=10)
    assert answer.unknown == ("nobody", "0", "61", "")
    assert recommender.recommend(HISTORY, k=10).unknown == ()


def test_numbers_are_tokens_too(recommender: Recommender) -> None:
    assert recommender.recommend([5, np.int64(17), "30"], k=10) == recommender.recommend(HISTORY, k=10)


def test_of_a_long_history_the_most_recent_items_count(recommender: Recommender) -> None:
    assert recommender.max_length == 50
    long = [str(1 + i * 7 % 60) for i in range(130)]
    assert recommender.recommend(long, k=10) == recommender.recommend(long[-50:], k=10)
    assert recommender.recommend(long, k=10) != recommender.recommend(long[-49:], k=10)


def test_seen_items_can_be_left_out_beyond_the_maximum_too(recommender: Recommender) -> None:
    history = [str(item) for item in range(1, 56)]  # the first five never reach the model
    assert set(items(recommender.recommend(history, k=10))) & set(history)
    left = recommender.recommend(history, k=10, exclude_seen=True)
    assert items(left)
    assert set(items(left)) <= {"56", "57", "58", "59", "60"}
    everything = [str(item) for item in range(11, 61)]
    assert set(items(recommender.recommend(everything, k=10, exclude_seen=True))) == {str(i) for i in range(1, 11)}


def test_a_history_is_looked_up_from_its_end_as_far_as_it_is_read(recommender: Recommender, monkeypatch) -> None:
    """A plain look-up of every token is the oracle; `unknown` tells of the part that was looked at."""
    asked: list[str] = []
    find_all = TokenTable.find_all
    monkeypatch.setattr(TokenTable, "find_all", lambda self, words: asked.extend(words) or find_all(self, words))
    generator = random.Random(1)
    for block in (3, 4096):
        monkeypatch.setattr("recbole_odrec.bundle.recommender._LOOKED_UP_AT_ONCE", block)
        for length in (1, 49, 50, 51, 60, 200):
            words = ["1", *(str(generator.randint(0, 90)) for _ in range(length))]  # a third is unknown
            known = [i for i, word in enumerate(words) if 1 <= int(word) <= 60]
            read = words[known[-50] :] if len(known) > 50 else words
            answer = recommender.recommend(words, k=10)
            assert answer == recommender.recommend([words[i] for i in known], k=10)
            assert answer.unknown == tuple(word for word in read if not 1 <= int(word) <= 60)
            left = recommender.recommend_ids([[int(words[i]) for i in known]], k=10, exclude_seen=True)[0][0]
            assert items(recommender.recommend(words, k=10, exclude_seen=True)) == [str(i) for i in left if i]
    asked.clear()
    recommender.recommend(["1"] * 1_000_000, k=1)
    assert len(asked) == 4096


def test_a_batch_is_its_sessions_one_by_one(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(0)
    histories = [[str(generator.randint(1, 60)) for _ in range(generator.randint(1, 70))] for _ in range(30)]
    single = [recommender.recommend(history, k=10) for history in histories]
    batch = recommender.recommend_batch(histories, k=10)
    monkeypatch.setattr("recbole_odrec.bundle.recommender._SCORES_AT_ONCE", 60 * 7)
    for answers in (batch, recommender.recommend_batch(histories, k=10)):
        assert [items(answer) for answer in answers] == [items(answer) for answer in single]
        for answer, alone in zip(answers, single, strict=True):
            np.testing.assert_allclose([score for _, score, _ in answer], [s for _, s, _ in alone], atol=1e-5)
    assert recommender.recommend_batch([], k=3) == []


def test_a_smaller_k_is_the_start_of_a_larger_one(recommender: Recommender) -> None:
    whole = recommender.recommend(HISTORY, k=10)
    assert len(set(items(whole))) == 10
    assert [score for _, score, _ in whole] == sorted((score for _, score, _ in whole), reverse=True)
    assert recommender.recommend(HISTORY, k=4) == whole[:4]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.recommend([], k=3), "history 0: it is empty"),
        (lambda r: r.recommend(["x", "y"], k=3), "none of its 2 items is known"),
        (lambda r: r.recommend("51", k=3), "'51', expected a list of item tokens"),
        (lambda r: r.recommend(None, k=3), "None, expected a list"),
        (lambda r: r.recommend([1.5], k=3), "item 1.5, expected a token"),
        (lambda r: r.recommend([True], k=3), "item True, expected a token"),
        (lambda r: r.recommend([None], k=3), "item None, expected a token"),
        (lambda r: r.recommend(np.array(5), k=3), "expected a list of item tokens"),
        (lambda r: r.recommend(bytearray(b"51"), k=3), "expected a list of item tokens"),
        (lambda r: r.recommend([10**5000], k=3), "history 0: Exceeds the limit"),
        (lambda r: r.recommend(HISTORY, k=2.0), "k=2.0, expected 1 to 10"),
        (lambda r: r.recommend(HISTORY, k="3"), "k='3', expected 1 to 10"),
        (lambda r: r.recommend_ids([[1]], k=True), "k=True, expected 1 to 10"),
        (lambda r: r.recommend_ids(None, k=3), "histories=None, expected a list of histories"),
        (lambda r: r.recommend_ids(5, k=3), "histories=5, expected"),
        (lambda r: r.recommend_ids(5.0, k=3), "histories=5.0, expected"),
        (lambda r: r.recommend_ids(True, k=3), "histories=True, expected"),
        (lambda r: r.recommend_ids("12", k=3), "histories='12', expected"),
        (lambda r: r.recommend_ids([[1, [2]]], k=3), "history 0: expected a list of at least one item id"),
        (lambda r: r.recommend_ids([[1], [True, 2]], k=3), "history 1: expected a list of at least one item id"),
        (lambda r: r.recommend_ids([None], k=3), "history 0: expected a list"),
        (lambda r: r.recommend_ids(["12"], k=3), "history 0: expected a list"),
        (lambda r: r.recommend_ids([[10**30]], k=3), "history 0: expected a list"),
        (lambda r: r.recommend_ids([[2**63 + 1]], k=3), "item ids go from 1 to 60"),
        (lambda r: Recommender(None), "folder=None, expected the path of a bundle"),
        (lambda r: Recommender("a\0b"), "not readable as JSON (ValueError)"),
        (lambda r: Recommender(r.folder, threads="2"), "threads='2', expected a number of threads"),
        (lambda r: r.recommend(HISTORY, k=11), "k=11, expected 1 to 10"),
        (lambda r: r.recommend(HISTORY, k=0), "k=0, expected"),
        (lambda r: r.recommend(HISTORY, k=True), "k=True, expected"),
        (lambda r: r.recommend(HISTORY, k=2, exclude_seen="no"), "exclude_seen='no'"),
        (lambda r: r.recommend_batch("51"), "expected a list of histories"),
        (lambda r: r.recommend_batch([["1"], []], k=3), "history 1: it is empty"),
        (lambda r: r.recommend_ids([[0]], k=3), "item ids go from 1 to 60"),
        (lambda r: r.recommend_ids([[61]], k=3), "item ids go from 1 to 60"),
        (lambda r: r.recommend_ids([[1.0]], k=3), "a whole number"),
        (lambda r: r.recommend_ids([[]], k=3), "at least one item id"),
    ],
)
def test_input_that_cannot_be_served_is_one_clear_error(recommender, call: Callable, message: str) -> None:
    with pytest.raises(BundleError) as error:
        call(recommender)
    text = str(error.value)
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["5", "--k=many"], "argument --k: invalid int value: 'many'; see recbole-odrec recommend --help."),
        (["5", "--k=0"], "k=0, expected 1 to 10; for more, export with a larger --topk."),
        (["5", "--k=2.0"], "argument --k: invalid int value: '2.0'; see recbole-odrec recommend --help."),
        (["5", f"--k={10**30}"], f"k={10**30}, expected 1 to 10; for more, export with a larger --topk."),
        (["5", ""], "ITEM '', expected an item's token, such as 50, in UTF-8."),
        (["5", "\udcff7"], r"ITEM '\udcff7', expected an item's token, such as 50, in UTF-8."),
        (
            ["a\nb", "--k=3"],
            "history 0: none of its 1 items is known, so there is nothing to go by; show popular items instead.",
        ),
    ],
)
def test_bad_arguments_are_one_line(tiny_bundle: Path, words: list[str], line: str, capsys) -> None:
    assert main(["recommend", f"--bundle={tiny_bundle}", *words]) == 2
    assert capsys.readouterr() == ("", f"recbole_odrec: {line}\n")


def test_what_a_terminal_cannot_have_is_escaped(tiny_bundle: Path, tmp_path: Path, capsys) -> None:
    titles = "".join(f"Amélie \x1b[31m {i}\n" for i in range(1, 61)).encode()
    folder = damaged(tiny_bundle, tmp_path / "titled", swap_in(titles, "titles.txt"))
    assert main(["recommend", f"--bundle={folder}", "5", "no\nbody", "--k=1"]) == 0
    out, err = capsys.readouterr()
    item, _, title = out.split("\t")
    assert title == f"Amélie \\x1b[31m {item}\n"
    assert err == "recbole_odrec: unknown items, skipped: no\\nbody\n"
    script = "import sys; from recbole_odrec.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, "recommend", f"--bundle={folder}", "5", "--k=1"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.stdout.split("\t")[2] == f"Am\\xe9lie \\x1b[31m {item}\n"


# ---------------------------------------------------------------------- damaged bundles


def damaged(bundle: Path, folder: Path, change: Callable[[Path], object]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bundle, folder)
    change(folder)
    return folder


def edit_manifest(key: str, value: object, with_checksum: bool = False) -> Callable[[Path], None]:
    """Gives a key another value, or what a function makes of its value."""

    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        values = json.loads(path.read_text())
        values[key] = value(values[key]) if callable(value) else value
        if with_checksum:
            del values["checksum"]
            values["checksum"] = sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
        path.write_text(json.dumps(values))

    return change


def add_file(name: str, **entry: object) -> Callable[[Path], None]:
    """Lists a file that may be anything, in a manifest with the right checksum."""
    return edit_manifest("files", lambda files: {**files, name: {"bytes": 0, "sha256": "0" * 64, **entry}}, True)


def swap_model(folder: Path) -> None:
    """A well-formed bundle, checksums and all, around something that is no model."""
    (folder / "model.onnx").write_bytes(b"no model")
    rewrite_manifest(folder)


def rewrite_manifest(folder: Path, **values: object) -> None:
    kept = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    write_manifest(folder, {key: kept[key] for key in ("n_items", "max_length", "topk")} | values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: shutil.rmtree(f), "is not a bundle: it has no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{"), "not readable as JSON"),
        (lambda f: (f / "manifest.json").write_text("[1]"), "is not the manifest of a bundle"),
        (edit_manifest("format_version", 2), "format version 2, this runtime reads 1"),
        (edit_manifest("format_version", True), "format version True"),
        (edit_manifest("max_length", 49), "does not match its checksum"),
        (edit_manifest("files", {}), "does not match its checksum"),
        (lambda f: rewrite_manifest(f, topk="ten"), "`topk` is 'ten', expected 1 to n_items"),
        (lambda f: rewrite_manifest(f, topk=61), "`topk` is 61, expected 1 to n_items"),
        (lambda f: rewrite_manifest(f, topk=9), r"gives \(1, 10\) ids and \(1, 10\) scores, expected 9 a session"),
        (lambda f: rewrite_manifest(f, max_length=0), "`max_length` is 0, expected 1 to 2147483647"),
        (lambda f: (f / "manifest.json").write_text('{"format": 1, "format": 2}'), "not readable as JSON"),
        (lambda f: (f / "manifest.json").write_text('{"format": NaN}'), "not readable as JSON"),
        (lambda f: (f / "manifest.json").write_text('{"format": 1e999}'), "not readable as JSON"),
        (lambda f: (f / "manifest.json").write_text("[" * 10**5), "not readable as JSON"),
        (lambda f: (f / "manifest.json").write_text("1" * 10**5), "not readable as JSON"),
        (lambda f: (f / "manifest.json").write_bytes(b"\xff"), "not readable as JSON"),
        (lambda f: os.truncate(f / "manifest.json", 2**21), "manifest.json: cannot be read .2,097,152 bytes, at most"),
        (add_file("../outside"), "expected plain names"),
        (add_file("manifest.json"), "expected plain names"),
        (add_file("LICENSE", sha256="A" * 64), "expected plain names"),
        (add_file("LICENSE", bytes=True), "expected plain names"),
        (lambda f: (f / "model.onnx").unlink(), "model.onnx: cannot be read"),
        (lambda f: (f / "items.txt").unlink(), "items.txt: cannot be read"),
        (lambda f: (f / "model.onnx").write_bytes((f / "model.onnx").read_bytes()[:-1]), "bytes, expected"),
        (lambda f: (f / "items.txt").write_text((f / "items.txt").read_text().replace("17", "71")), "SHA-256"),
        (swap_model, "cannot be loaded by ONNX Runtime"),
    ],
)
def test_a_damaged_bundle_is_one_clear_error(tiny_bundle: Path, tmp_path: Path, change, message: str, capsys) -> None:
    folder = damaged(tiny_bundle, tmp_path / "damaged", change)
    with pytest.raises(BundleError, match=message) as error:
        Recommender(folder).recommend(["5"], k=3)
    assert "\n" not in str(error.value)
    assert main(["recommend", f"--bundle={folder}", "5", "--k=3"]) == 2
    assert re.search(message, capsys.readouterr().err)


def swap_in(content: bytes, name: str = "items.txt", **values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)
        rewrite_manifest(folder, **values)

    return change


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1\n2\n", "2 items, the manifest says 3"),
        (b"1\n2\n3", "the last line is not complete"),
        (b"1\n\xff\n3\n", "not UTF-8"),
        (b"1\n2\n3\xc3\n", "not UTF-8"),
        (b"1\n2\n1\n", "token '1' stands twice"),
        (b"1\n" + 20_000_000 * b"2" + b"\n3\n", "a line of 20,000,000 bytes, at most 4,096 are read"),
    ],
)
def test_lists_that_no_export_writes_are_refused(
    tiny_bundle: Path, tmp_path: Path, content: bytes, reason: str
) -> None:
    folder = damaged(tiny_bundle, tmp_path / "damaged", swap_in(content, n_items=3, topk=3))
    with pytest.raises(BundleError, match=f"items.txt: {reason}; export the bundle again"):
        Recommender(folder).recommend(["1"], k=3)


def test_a_token_longer_than_every_item_is_unknown_and_never_hashed(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, hash_of = [], tokens._hash
    monkeypatch.setattr(tokens, "_hash", lambda raw: hashed.append(len(raw)) or hash_of(raw))
    assert recommender.recommend(["5", "7" * 20_000_000], k=3).unknown == ("7" * 20_000_000,)
    assert hashed == [1, 0]


def test_titles_are_checked_as_tokens_are(tiny_bundle: Path, tmp_path: Path) -> None:
    titles = "".join(f"Title {i}\n" if i % 2 else "\n" for i in range(1, 61)).encode()  # empty and equal ones may be
    recommender = Recommender(damaged(tiny_bundle, tmp_path / "titled", swap_in(titles, "titles.txt")))
    shown = {item: title for item, _, title in recommender.recommend(HISTORY, k=10)}
    assert shown == {item: f"Title {item}" if int(item) % 2 else None for item in shown}
    for content, reason in ((titles[:-2] + b"\xff\n", "not UTF-8"), (titles[8:], "59 items, the manifest says 60")):
        folder = damaged(tiny_bundle, tmp_path / "damaged", swap_in(content, "titles.txt"))
        with pytest.raises(BundleError, match=f"titles.txt: {reason}"):
            Recommender(folder).recommend(HISTORY, k=3)


class Model:
    """Answers as it was told to."""

    def __init__(self, ids: object, scores: object) -> None:
        self.outputs = ids, scores

    def run(self, *_: object) -> object:
        return self.outputs


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("ids", "scores", "is_right"),
    [
        ([[3, 1, 2]], [[2.0, 1.0, 1.0]], True),
        ([[3, 0, 0]], [[2.0, -INF, -INF]], True),
        ([[3, 1, 2]], [[INF, 1.0, 1.0]], False),
        ([[3, 1, 2]], [[2.0, 1.0, NAN]], False),
        ([[3, 1, 2]], [[2.0, 1.0, -INF]], False),  # an item without a score
        ([[3, 0, 0]], [[2.0, 1.0, -INF]], False),  # a score without an item
        ([[3, 1, 2]], [[1.0, 2.0, 0.0]], False),  # not best first
        ([[3, 1, 3]], [[2.0, 1.0, 0.0]], False),  # twice
        ([[3, 1, 61]], [[2.0, 1.0, 0.0]], False),
        ([[3, 1, -1]], [[2.0, 1.0, 0.0]], False),
        ([[3, 1]], [[2.0, 1.0]], False),
        ([[3, 1, 2]] * 2, [[2.0, 1.0, 0.0]] * 2, False),
        ([3, 1, 2], [2.0, 1.0, 0.0], False),
    ],
)
def test_only_an_answer_that_can_be_one_is_served(ids: list, scores: list, is_right: bool) -> None:
    ids, scores = np.array(ids, np.int64), np.array(scores, np.float32)
    call = lambda: run_model(Model(ids, scores), np.ones((1, 1), np.int64), False, 60, 3)  # noqa: E731
    if is_right:
        np.testing.assert_array_equal(call(), (ids, scores))
    else:
        with pytest.raises(BundleError, match=r"the model gives"):
            call()


def graph_of(inputs: dict, outputs: dict) -> bytes:
    """A model whose outputs are copies of its inputs."""
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Identity", [a], [b]) for a, b in zip(inputs, outputs, strict=True)]
    parts = ([value(name, *kind) for name, kind in part.items()] for part in (inputs, outputs))
    graph, opset = onnx.helper.make_graph(nodes, "g", *parts), onnx.helper.make_opsetid("", OPSET)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString()


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (("item_seq", 7, 2), ("item_ids", 7, 2)),
        (("sequence", 7, 2), ("item_ids", 7, 2)),
        (("item_seq", 7, 3), ("item_ids", 7, 3)),
        (("item_seq", 1, 2), ("item_ids", 1, 2)),
    ],
)
def test_a_model_with_other_inputs_or_outputs_is_not_loaded(inputs: tuple, outputs: tuple) -> None:
    dims = ["a", "b", "c"]
    model = graph_of(*({name: (kind, dims[:rank])} for name, kind, rank in (inputs, outputs)))
    with pytest.raises(BundleError, match="the model has other inputs or outputs than a bundle's model"):
        open_session(model)


@pytest.mark.parametrize("damage", [(b"item_seq", b"item\xffseq"), (b"Identity", b"Idontity")])
def test_a_damaged_model_is_one_clear_error_and_nothing_is_printed(damage: tuple[bytes, bytes], capfd) -> None:
    model = graph_of({"item_seq": (7, ["a", "b"])}, {"item_ids": (7, ["a", "b"])}).replace(*damage)
    with pytest.raises(BundleError, match="the model cannot be loaded by ONNX Runtime") as error:
        open_session(model)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_more_items_than_the_model_has_is_one_clear_error(tiny_bundle: Path, tmp_path: Path) -> None:
    more = "".join(f"{item}\n" for item in range(1, 5001)).encode()
    folder = damaged(tiny_bundle, tmp_path / "damaged", swap_in(more, n_items=5000))
    with pytest.raises(BundleError, match="the model cannot answer"):
        Recommender(folder).recommend(["5000"], k=3)


def test_a_list_of_another_length_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    def shorten(folder: Path) -> None:
        (folder / "items.txt").write_text("1\n2\n3\n")
        rewrite_manifest(folder)

    with pytest.raises(BundleError, match="3 items, the manifest says 60"):
        Recommender(damaged(tiny_bundle, tmp_path / "damaged", shorten)).recommend(["1"], k=3)


def mutate(folder: Path, generator: random.Random) -> str:
    """One accident: bits flipped, bytes lost, added or moved, a file emptied, removed or replaced by another."""
    path = generator.choice(sorted(folder.iterdir()))
    content = bytearray(path.read_bytes())
    kind = generator.choice(["flip", "flip", "truncate", "append", "swap", "zero", "remove", "other file", "number"])
    place = generator.randrange(len(content))
    if kind == "flip":
        content[place] ^= 1 << generator.randrange(8)
    elif kind == "truncate":
        del content[place:]
    elif kind == "append":
        content += bytes(generator.randrange(256) for _ in range(generator.randint(1, 9)))
    elif kind == "swap":
        half = len(content) // 2
        content = content[half:] + content[:half]
    elif kind == "zero":
        content[place : place + 16] = bytes(len(content[place : place + 16]))
    elif kind == "other file":
        content = bytearray(generator.choice(sorted(folder.iterdir())).read_bytes())
    elif kind == "number":
        digits = [i for i, byte in enumerate(content) if byte in b"0123456789"]
        place = generator.choice(digits)
        content[place] = ord(str((int(chr(content[place])) + generator.randint(1, 9)) % 10))
    if kind == "remove":
        path.unlink()
    else:
        path.write_bytes(content)
    return f"{kind} {path.name}"


def answer_or_refusal(call: Callable[[], list]) -> list | None:
    """None for a BundleError of one line; any other exception fails the test."""
    try:
        return call()
    except BundleError as error:
        if "\n" in str(error):
            raise
        return None


def test_a_thousand_mutations_never_serve_a_wrong_answer(tiny_bundle: Path, tmp_path: Path) -> None:
    """600 mutated bundles and 400 mutated inputs: the right answer or one BundleError, nothing else."""
    generator, refused = random.Random(5), 0
    right = Recommender(tiny_bundle).recommend(HISTORY, k=10)
    original = {path.name: path.read_bytes() for path in tiny_bundle.iterdir()}
    folder = tmp_path / "mutated"
    shutil.copytree(tiny_bundle, folder)
    for _ in range(600):
        what = mutate(folder, generator)
        answer = answer_or_refusal(lambda: Recommender(folder).recommend(HISTORY, k=10))
        refused += answer is None
        assert answer in (None, right), what
        for name, content in original.items():
            if not (folder / name).is_file() or (folder / name).read_bytes() != content:
                (folder / name).write_bytes(content)
    assert refused > 550  # what is left changed nothing: a swap of blanks, a file by itself

    recommender, answered = Recommender(tiny_bundle), 0
    strange = [
        "",
        "\n",
        "5\n6",
        "\uff11\uff17",
        "17 ",
        "-1",
        "0",
        "60",
        "61",
        60,
        -1,
        10**30,
        1.5,
        None,
        True,
        b"5",
        ["5"],
        "\ud800",
        "a" * 10_000,
    ]
    for _ in range(400):
        history = [generator.choice([*HISTORY, *strange, *strange]) for _ in range(generator.randint(0, 90))]
        if generator.random() < 0.7:
            history = [token for token in history if isinstance(token, (str, int)) and token is not True]
        k = generator.choice([1, 5, 10, 10, 10, 0, 11, -1, "5", None])
        known = [str(token) for token in history if str(token) in {*HISTORY, "60"} and not isinstance(token, bytes)]
        answer = answer_or_refusal(lambda history=history, k=k: recommender.recommend(history, k=k))
        if answer is not None:
            answered += 1
            assert answer == recommender.recommend(known, k=k)
            assert len(answer) == k
    assert answered > 100


# ---------------------------------------------------------------------- without PyTorch and RecBole


def test_it_imports_neither_torch_nor_recbole(tiny_bundle: Path) -> None:
    """Neither is touched although both are installed; and with both made impossible to import it works."""
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "recbole", "pandas", "onnx", "yaml", "scipy", "tqdm"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
from recbole_odrec.bundle import Recommender
from recbole_odrec.cli import main
print([item for item, _, _ in Recommender(sys.argv[1]).recommend(["5", "17", "30"], k=10)])
assert main(["recommend", "--bundle", sys.argv[1], "5", "--k", "2"]) == 0
assert not {"torch", "recbole", "pandas", "onnx"} & set(sys.modules), "imported"
assert main(["export", "--checkpoint", "x", "--output", "y"]) == 2  # one line that names what is missing
assert main(["train"]) == 2
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_bundle)], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(items(Recommender(tiny_bundle).recommend(HISTORY, k=10)))
    assert len(done.stdout.splitlines()) == 3
    exported, trained = done.stderr.splitlines()
    assert exported == (
        "recbole_odrec: export needs the package onnx, which is not installed: pip install 'recbole_odrec[bundle]'."
    )
    assert trained.startswith("recbole_odrec: train needs the package ")
    assert trained.endswith(", which is not installed: pip install recbole_odrec.")
