"""What a reader accepts it reads as an independent plain reader does; everything else is a UserError of one line."""

from __future__ import annotations

import gzip
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_odrec.data.plain_text import read_plain_cases, read_plain_sessions
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.session_file import read_sessions
from recbole_odrec.data.session_sources import read_pickle
from recbole_odrec.errors import UserError

bounded = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Words that readers have stumbled over, beside ordinary ones; all below is made of them.
WORDS = [
    *("a", "b", "c", "1", "2", "0", "NA", "nan", "null", "None", '"', '"a', "[PAD]", "", " ", "a b", "é", "\ufeffa"),
    *("1_0", "1e5", "inf", "-", "-3", "+.5", "٣", "1e999", "a\x85b", "a\u2028b", "\x1c", "a\rb", "\0", "[1,", "x" * 70),
]
words = st.sampled_from(WORDS)
good = st.sampled_from(["a", "b", "c", "NA", "nan", '"a', "é", "0", "1_0", "a\x85b"])
numbers = st.sampled_from(["1", "2", "-3", "+.5", "1e5", "1700000020", "0.25"])
ends = st.sampled_from(["\n", "\r\n"])


def plain_lines(content: bytes) -> list[str]:
    """The oracle's lines: those of a text in utf-8, its mark left out; ValueError for what is none."""
    text = content.decode("utf-8").removeprefix("\ufeff")
    lines = text.removesuffix("\n").split("\n") if text else []
    lines = [line[:-1] if line.endswith("\r") else line for line in lines]
    if any("\r" in line or "\0" in line for line in lines):
        raise ValueError("carriage return")
    return lines


def agree(read: Callable[[], object], plain: Callable[[], object]) -> None:
    """Both give the same, or both refuse; a refusal of ours is one line."""
    try:
        expected = plain()
    except ValueError:
        expected = None
    try:
        found, refusal = read(), ""
    except UserError as error:
        found, refusal = None, str(error)
    assert "\n" not in refusal
    assert found == expected, refusal


def check(holds: object) -> None:
    if not holds:
        raise ValueError


def is_number(word: str) -> bool:
    return (
        re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", word) is not None and abs(float(word)) < 3e38
    )


def is_token(token: str) -> bool:
    return token != "[PAD]" and len(token.splitlines()) == 1 and not set(" \t\n") & set(token)


rows = st.one_of(st.tuples(good, good, numbers), st.lists(words, min_size=2, max_size=4).map(tuple))


@bounded
@given(
    st.lists(st.tuples(good, good, numbers), min_size=6, max_size=9), st.lists(rows, max_size=2), ends, st.booleans()
)
def test_tables(tmp_path: Path, ok: list, odd: list, end: str, has_mark: bool) -> None:
    from recbole_odrec.config import make_config

    (tmp_path / "t").mkdir(exist_ok=True)
    path = tmp_path / "t" / "t.inter"
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *("\t".join(row) for row in [*ok, *odd])]
    path.write_bytes((b"\xef\xbb\xbf" if has_mark else b"") + "".join(line + end for line in lines).encode())
    config = make_config("GRU4RecTeacher", "t", config_dict={"state": "ERROR", "data_path": str(tmp_path)})

    def ours() -> list:
        dataset = SessionDataset(config)
        tokens = [dataset.field2id_token[name][dataset.inter_feat[name]] for name in ("user_id", "item_id")]
        return list(
            zip(*(map(str, column) for column in tokens), dataset.inter_feat["timestamp"].tolist(), strict=True)
        )

    def plain() -> list:
        _, *below = plain_lines(path.read_bytes())
        read = [line.split("\t") for line in below]
        for row in read:
            check(len(row) == 3 and row[0].strip() and row[1].strip() and "[PAD]" not in row and is_number(row[2]))
        return [(user, item, float(time)) for user, item, time in read]

    agree(ours, plain)


cases = st.tuples(good, st.lists(good, min_size=1, max_size=3).map(" ".join), good)


@bounded
@given(
    st.lists(st.lists(cases, min_size=2, max_size=5), min_size=3, max_size=3),
    st.lists(
        st.one_of(
            st.tuples(words, st.lists(words, min_size=1, max_size=3).map(" ".join), words),
            st.lists(words, min_size=2, max_size=4).map(tuple),
        ),
        max_size=1,
    ),
    ends,
    st.booleans(),
)
def test_benchmark_files_of_cases(tmp_path: Path, ok: list, odd: list, end: str, has_mark: bool) -> None:
    """One case a line: history and next item, in three files; histories hold items, but for what begins them."""
    from recbole_odrec.config import make_config

    (tmp_path / "t").mkdir(exist_ok=True)
    parts = ("train", "valid", "test")
    paths = [tmp_path / "t" / f"t.{part}.inter" for part in parts]
    for path, rows in zip(paths, [[*odd, *ok[0]], *ok[1:]], strict=True):
        lines = ["session_id:token\titem_id_list:token_seq\titem_id:token", *("\t".join(row) for row in rows)]
        path.write_bytes((b"\xef\xbb\xbf" if has_mark else b"") + "".join(line + end for line in lines).encode())
    values = {"data_path": str(tmp_path), "benchmark_filename": list(parts), "USER_ID_FIELD": "session_id"}
    config = make_config("GRU4RecTeacher", "t", config_dict={"state": "ERROR", **values})

    def ours() -> list:
        found = []
        for part in SessionDataset(config).build():
            rows = part[torch.arange(len(part))]
            items, users = (part.field2id_token[name] for name in ("item_id", "session_id"))
            columns = (rows[name].tolist() for name in ("session_id", "item_id_list", "item_length", "item_id"))
            found.append(
                [
                    (str(users[user]), tuple(str(items[i]) for i in history[:n]), str(items[target]))
                    for user, history, n, target in zip(*columns, strict=True)
                ]
            )
        return found

    def plain() -> list:
        read = []
        for path in paths:
            rows = [line.split("\t") for line in plain_lines(path.read_bytes())[1:]]
            check(all(len(row) == 3 and all(word.strip() for word in row) for row in rows))
            read.append([(user, tuple(filter(None, words.split(" "))), item) for user, words, item in rows])
        all_rows = [row for rows in read for row in rows]
        check(all("[PAD]" not in (user, item, *history) for user, history, item in all_rows))
        items = {item for _, _, item in all_rows}
        behind = [token for _, history, _ in all_rows for token in history[1:]]
        firsts = [history[0] for _, history, _ in all_rows]
        tokens, most = (behind, 0.01) if behind else (firsts, 0.5)
        check(sum(token not in items for token in tokens) / len(tokens) <= most)
        return read

    agree(ours, plain)


@bounded
@given(
    st.lists(st.lists(good, min_size=3, max_size=5), min_size=1, max_size=5),
    st.lists(
        st.tuples(st.lists(words, min_size=1, max_size=4), st.sampled_from(["1", "2", "0", "x", "٣", ""])), max_size=2
    ),
    st.booleans(),
    ends,
)
def test_session_files(tmp_path: Path, ok: list, odd: list, has_given: bool, end: str) -> None:
    from recbole_odrec.config import make_config

    path = tmp_path / "t.inter"
    lines = ["session_id:token\titem_id_list:token_seq" + ("\tn_given:float" if has_given else "")]
    for at, (items, given_word) in enumerate([*((items, "1") for items in ok), *odd]):
        lines.append(f"s{at}\t{' '.join(items)}" + (f"\t{given_word}" if has_given else ""))
    path.write_bytes("".join(line + end for line in lines).encode())
    config = make_config("GRU4RecTeacher", "t", config_dict={"state": "ERROR", "show_progress": False})

    def ours() -> list:
        sessions = read_sessions([path], config)
        names, part = list(sessions.item_ids), sessions.parts[0]
        given = [part.n_given] * part.n_sessions if isinstance(part.n_given, int) else part.n_given.tolist()
        found = [[names[i] for i in sessions.tokens[a:b]] for a, b in zip(part.starts, part.starts[1:], strict=False)]
        return list(zip(found, given, strict=True))

    def plain() -> list:
        header, *below = plain_lines(path.read_bytes())
        found = []
        for line in below:
            values = line.split("\t")
            check(len(values) == len(header.split("\t")))
            items = values[1].split(" ")
            check(not has_given or re.fullmatch("[0-9]+", values[2]))
            n_given = int(values[2]) if has_given else 1
            check(n_given >= 1 and len(items) > n_given and "" not in items and "[PAD]" not in items)
            found.append((items, n_given))
        return found

    def ours_or_plain() -> list:
        try:
            return ours()
        except UserError as error:
            if re.search("fills .* sessions up|every list is written like", str(error)):
                return plain()  # the oracle knows nothing of lists that look padded or written by a program
            raise

    agree(ours_or_plain, plain)


text_lines = st.one_of(
    st.lists(good, min_size=2, max_size=5).map(" ".join),
    st.lists(words, max_size=4).map(" ".join),
    st.tuples(st.lists(good, min_size=1, max_size=4), good).map(lambda case: f"{' '.join(case[0])}\t{case[1]}"),
    st.tuples(st.lists(words, max_size=3), words).map(lambda case: f"{' '.join(case[0])}\t{case[1]}"),
)


def cases_of(source) -> list:
    return sorted(
        session[: end + 1]
        for session, n_given in zip(source.sessions, source.given(), strict=True)
        for end in range(n_given, len(session))
    )


@bounded
@given(st.lists(text_lines, max_size=5), ends, st.booleans(), st.one_of(st.none(), st.integers(0, 60)))
def test_plain_text(tmp_path: Path, lines: list, end: str, is_packed: bool, cut: int | None) -> None:
    content = "".join(line + end for line in lines).encode()
    path = tmp_path / ("t.gz" if is_packed else "t.txt")
    stored = gzip.compress(content, mtime=0) if is_packed else content
    path.write_bytes(stored[:cut] if is_packed and cut else stored)

    def plain_content() -> list[str]:
        check(not is_packed or not cut or cut >= len(stored))
        found = plain_lines(content)
        check(found)
        return found

    def sessions() -> list:
        found = [[item for item in line.replace("\t", " ").split(" ") if item] for line in plain_content()]
        check(all(len(items) > 1 and all(map(is_token, items)) for items in found))
        return [tuple(items) for items in found]

    def cases() -> list:
        found = []
        for line in plain_content():
            check("\t" in line)
            history, target = line.split("\t", 1)
            items = [item for item in history.split(" ") if item] + [target.strip(" ")]
            check(len(items) > 1 and all(map(is_token, items)))
            found.append(tuple(items))
        return sorted(found)

    agree(lambda: read_plain_sessions(path).sessions, sessions)
    agree(lambda: cases_of(read_plain_cases(path)), cases)


scalars = st.one_of(words, st.integers(0, 5), st.sampled_from([True, None, 1.5, b"a", "\ud800", (1,), {1}, {}]))
lists = st.one_of(st.lists(st.integers(0, 9), max_size=4), st.lists(good, max_size=4), st.lists(scalars, max_size=3))
contents = st.one_of(
    st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=4), min_size=1, max_size=4),
    st.lists(st.tuples(st.lists(good, min_size=1, max_size=3), good), min_size=1, max_size=5).map(
        lambda cases: tuple(map(list, zip(*cases, strict=True)))
    ),
    st.lists(lists, max_size=4),
    st.tuples(st.lists(lists, max_size=3), lists),
    scalars,
)


def as_tokens(items: object) -> tuple[str, ...]:
    check(isinstance(items, (list, tuple)) and len(items) > 1 and all(type(item) in (int, str) for item in items))
    tokens = tuple(str(item) for item in items)
    check(all(map(is_token, tokens)) and "\ud800" not in tokens)
    return tokens


@bounded
@given(contents)
def test_pickles(tmp_path: Path, content: object) -> None:
    path = tmp_path / "t.pkl"
    path.write_bytes(pickle.dumps(content))

    def plain() -> list:
        check(isinstance(content, (list, tuple)) and content)
        is_pair = len(content) == 2 and isinstance(content[0], (list, tuple))
        if is_pair and any(isinstance(history, (list, tuple)) for history in content[0]):
            histories, targets = content
            check(isinstance(targets, (list, tuple)) and len(histories) == len(targets))
            check(all(isinstance(history, (list, tuple)) for history in histories))
            items = [[*history, target] for history, target in zip(histories, targets, strict=True)]
            found = sorted(map(as_tokens, items))
        else:
            items = list(content)
            found = sorted(tokens[: end + 1] for tokens in map(as_tokens, items) for end in range(1, len(tokens)))
        check(len({type(item) for row in items for item in row}) == 1)
        return found

    agree(lambda: cases_of(read_pickle(path)), plain)


@bounded
@given(st.binary(max_size=80))
@pytest.mark.parametrize("read", [read_pickle, read_plain_sessions, read_plain_cases])
def test_noise_is_refused_in_one_line(tmp_path: Path, read: Callable, content: bytes) -> None:
    for suffix in (".txt", ".gz"):
        path = tmp_path / f"t{suffix}"
        path.write_bytes(content)
        refusal = ""
        try:
            read(path)
        except UserError as error:
            refusal = str(error)
        assert "\n" not in refusal
