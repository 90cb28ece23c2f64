"""Bundles that nobody exported: the valid bundle's answer, or one line, soon.

Checksums find every accident (test_recommender.py mutates bundles whose checksums are stale). Here they are made anew,
as somebody would who writes bundles by hand. A changed model with new checksums is another model: its answers may be
others, and still are items, each once, by falling scores. ONNX Runtime, which reads it, promises nothing about a
malformed one: that is tried in a process of its own.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from recbole_odrec.bundle import BundleError, Recommender
from recbole_odrec.bundle.manifest import sha256

HISTORY = ["5", "17", "30"]
JSON_VALUES = [None, True, False, -1, 0, 1.0, 2**31, 10**30, -1.5, "", "60", "\ud800", [], [60], {}, {"bytes": 1}]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends what hangs."""

    def ring(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def answer_or_refusal(folder: Path, history: list[str] = HISTORY) -> list | None:
    """None for a BundleError of one line; any other exception, and a hang, fails the test."""
    try:
        with at_most(5):
            return Recommender(folder).recommend(history, k=10)
    except BundleError as error:
        line = str(error)
    assert "\n" not in line
    assert len(line) < 500
    return None


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def write_with_checksum(folder: Path, values: dict) -> None:
    values.pop("checksum", None)
    values["checksum"] = sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
    (folder / "manifest.json").write_text(json.dumps(values))


def test_every_value_of_the_manifest_as_every_type(folder: Path, tiny_bundle: Path) -> None:
    right = Recommender(tiny_bundle).recommend(HISTORY, k=10)
    original = (folder / "manifest.json").read_text()
    n_refused = 0

    def places(values: dict) -> Iterator[tuple[dict, str]]:
        for key, value in values.items():
            yield values, key
            if isinstance(value, dict):
                yield from places(value)

    n_places = len(list(places(json.loads(original))))
    for index in range(n_places):
        for value in [*JSON_VALUES, ...]:
            values = json.loads(original)
            owner, key = list(places(values))[index]
            if value is ...:
                del owner[key]
            else:
                owner[key] = value
            if key == "checksum":
                (folder / "manifest.json").write_text(json.dumps(values))
            else:
                write_with_checksum(folder, values)
            answer = answer_or_refusal(folder)
            assert answer in (None, right), (key, value)
            # These are what an answer depends on; the others only describe.
            if key in ("format", "format_version", "checksum", "n_items", "max_length", "topk", "bytes", "sha256"):
                assert answer is None, (key, value)
            n_refused += answer is None
    assert n_refused > 150


def as_pipe(path: Path, content: bytes) -> None:
    os.mkfifo(path)


def as_socket(path: Path, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path.relative_to(Path.cwd())))


def as_sparse(path: Path, content: bytes) -> None:
    path.touch()
    os.truncate(path, 2**33)


def as_link(path: Path, content: bytes) -> None:
    path.with_name("elsewhere").write_bytes(content)
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "items.txt"])
@pytest.mark.parametrize(
    ("make", "is_served"),
    [
        (as_pipe, False),
        (as_socket, False),
        (as_sparse, False),
        (lambda path, _: path.mkdir(), False),
        (lambda path, _: path.touch(), False),
        (lambda path, _: path.symlink_to("/dev/zero"), False),
        (lambda path, _: path.symlink_to("/dev/tty"), False),
        (lambda path, _: path.symlink_to("nowhere"), False),
        (lambda path, _: path.symlink_to(path), False),
        (as_link, True),  # as in the cache of a model hub
    ],
)
def test_a_file_of_every_kind(
    folder: Path, tiny_bundle: Path, name: str, make: Callable[[Path, bytes], None], is_served: bool
) -> None:
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    make(folder / name, content)
    answer = answer_or_refusal(folder)
    assert answer == (Recommender(tiny_bundle).recommend(HISTORY, k=10) if is_served else None)
    if name != "manifest.json" and not is_served:  # sizes that fit do not help
        values = json.loads((folder / "manifest.json").read_text())
        size = (folder / name).lstat().st_size
        values["files"][name] = {"bytes": size, "sha256": sha256(b"")}
        write_with_checksum(folder, values)
        assert answer_or_refusal(folder) is None


def plain_tokens(content: bytes) -> list[str] | None:
    """What a plain reader makes of items.txt; None for what no export writes."""
    try:
        *tokens, rest = content.decode().split("\n")
    except UnicodeDecodeError:
        return None
    is_right = rest == "" and len(tokens) == 60 == len(set(tokens)) and all(0 < len(t.encode()) <= 4096 for t in tokens)
    return tokens if is_right else None


def mutants(content: bytes, n: int) -> Iterator[bytes]:
    """Bits flipped, pieces cut off, put in and doubled."""
    drawn = random.Random(3)
    for _ in range(n):
        mutant, place = bytearray(content), drawn.randrange(len(content))
        change = drawn.choice(["flip", "flip", "cut", "insert", "double"])
        if change == "flip":
            mutant[place] ^= 1 << drawn.randrange(8)
        elif change == "cut":
            del mutant[place:]
        else:
            mutant[place:place] = drawn.randbytes(4) if change == "insert" else content[place : place + 50]
        yield bytes(mutant)


def test_another_model_with_new_checksums_answers_in_form_or_is_refused(folder: Path) -> None:
    content, values = (folder / "model.onnx").read_bytes(), json.loads((folder / "manifest.json").read_text())
    known = set((folder / "items.txt").read_text().splitlines())

    def n_answers() -> int:
        n = 0
        for mutant in mutants(content, 60):
            (folder / "model.onnx").write_bytes(mutant)
            values["files"]["model.onnx"] = {"bytes": len(mutant), "sha256": sha256(mutant)}
            write_with_checksum(folder, values)
            answer = answer_or_refusal(folder)
            if answer is not None:
                scores = [score for _, score, _ in answer]
                assert {item for item, _, _ in answer} <= known
                assert len({item for item, _, _ in answer}) == len(answer) == 10
                assert all(map(math.isfinite, scores))
                assert scores == sorted(scores, reverse=True)
                n += 1
        return n

    child = os.fork()
    if not child:  # told by its exit code alone: 0 for another exception, a signal's number for a crash
        n = 0
        with suppress(BaseException):
            n = n_answers()
        os._exit(n)
    _, status = os.waitpid(child, 0)
    assert not status & 0x7F, f"ended by signal {status & 0x7F}"
    assert 5 < status >> 8 < 55  # some of each


def test_lists_of_items_are_read_as_a_plain_reader_reads_them(folder: Path) -> None:
    generator, content, read = random.Random(7), (folder / "items.txt").read_bytes(), 0
    values = json.loads((folder / "manifest.json").read_text())
    pieces = [*map(str.encode, ["", "\n", "\r", "\0", "é", "\ufeff", "9", " ", "x"] * 2), b"\xff", b"\xc3", b"a" * 5000]
    for _ in range(200):
        mutated = bytearray(content)
        for _ in range(generator.randint(1, 2)):
            place = generator.randrange(len(mutated))
            mutated[place : place + generator.randint(0, 1)] = generator.choice(pieces)
        (folder / "items.txt").write_bytes(mutated)
        values["files"]["items.txt"] = {"bytes": len(mutated), "sha256": sha256(bytes(mutated))}
        write_with_checksum(folder, values)
        tokens = plain_tokens(bytes(mutated))
        history = [generator.choice(tokens or HISTORY) for _ in range(5)]
        answer = answer_or_refusal(folder, history)
        assert (answer is None) == (tokens is None), bytes(mutated)
        if tokens:
            ids, _ = Recommender(folder).recommend_ids([[tokens.index(token) + 1 for token in history]], k=10)
            assert [item for item, _, _ in answer] == [tokens[i - 1] for i in ids[0]]
            read += 1
    assert 20 < read < 180
