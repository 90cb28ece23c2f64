"""Any set of cases (history, next item) is a data set: written as sessions, read as exactly these cases."""

from __future__ import annotations

import gzip
import pickle
import random
import resource
from collections import Counter
from pathlib import Path

import pytest
import torch
from recbole.data.dataset import SequentialDataset

from recbole_odrec.cli import main
from recbole_odrec.config import make_config
from recbole_odrec.data.exact_tables import exact
from recbole_odrec.data.head_tail import training_counts
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.session_sources import join_cases
from recbole_odrec.data.window_loader import NEXT_ITEMS, SessionWindowLoader

Case = tuple[tuple[str, ...], str]


def draw_cases(n: int, seed: int, n_items: int = 30) -> list[Case]:
    """Cases at mixed lengths, many of one session, some alike, in no order."""
    drawn = random.Random(seed)
    sessions = [[f"i{drawn.randrange(n_items)}" for _ in range(drawn.randrange(2, 9))] for _ in range(n)]
    cases = [(tuple(s[:end]), s[end]) for s in sessions for end in range(1, len(s)) if drawn.random() < 0.6]
    drawn.shuffle(cases)
    return cases


def write_plain(cases: list[Case], path: str) -> None:
    Path(path).write_text("".join(f"{' '.join(history)}\t{target}\n" for history, target in cases))


def convert(*words: object) -> int:
    return main(["convert", "--no_progress", "--output", ".", *map(str, words)])


def parts_of(name: str, kind: type = SessionDataset, **values: object) -> list:
    config = make_config(
        "GRU4RecTeacher",
        name,
        config_dict={
            "state": "ERROR",
            "show_progress": False,
            "data_path": ".",
            "USER_ID_FIELD": "session_id",
            "benchmark_filename": ["train", "valid", "test"],
            "alias_of_item_id": ["item_id_list"],
            **values,
        },
    )
    return kind(config).build()


def cases_of(part) -> Counter[Case]:
    rows = part[torch.arange(len(part))]
    token = part.field2id_token["item_id"]
    columns = (rows[name].tolist() for name in ("item_id_list", "item_length", "item_id"))
    return Counter(
        (tuple(str(token[i]) for i in items[:n]), str(token[t])) for items, n, t in zip(*columns, strict=True)
    )


@pytest.mark.parametrize("seed", range(20))
def test_cases_become_sessions_that_expand_to_these_cases(seed: int) -> None:
    cases = draw_cases(40, seed)
    source = join_cases([(*history, target) for history, target in cases])
    found = Counter(
        (session[:end], session[end])
        for session, given in zip(source.sessions, source.given(), strict=True)
        for end in range(given, len(session))
    )
    assert found == Counter(cases)
    assert source.n_cases == len(cases)


@pytest.mark.parametrize("longest_first", [True, False])
def test_whole_sessions_are_found_again_whatever_the_order(longest_first: bool) -> None:
    sessions = [("a", "b", "c"), ("a", "b"), ("c", "b", "a", "b"), ("b", "a")]
    cases = [s[:end] for s in sessions for end in sorted(range(2, len(s) + 1), reverse=longest_first)]
    source = join_cases(cases)
    assert source.n_given is None
    assert source.sessions == sessions


@pytest.mark.parametrize("kind", ["plain", "pickle"])
@pytest.mark.parametrize("expand", [False, True])
def test_training_and_test_cases_are_those_of_the_source(kind: str, expand: bool) -> None:
    train, test = draw_cases(60, 1), [case for case in draw_cases(90, 2) if len(case[0]) > 1]
    if kind == "plain":
        Path("train.txt").write_text("".join(f"{' '.join(history)} {target}\n" for history, target in train))
        write_plain(test, "test.txt")
        words = ["--train_sessions", "train.txt", "--test_prefixes", "test.txt"]
    else:
        for name, cases in (("train", train), ("test", test)):
            Path(f"{name}.pkl").write_bytes(pickle.dumps(tuple(map(list, zip(*cases, strict=True)))))
        words = ["--train_pickle", "train.pkl", "--test_pickle", "test.pkl"]
    assert convert("--name", "t", *words, *(["--expand"] if expand else [])) == 0
    parts = parts_of("t")
    assert cases_of(parts[2]) == Counter(test)
    assert len(parts[2]) == len(test)
    if kind == "pickle":
        assert cases_of(parts[0]) + cases_of(parts[1]) == Counter(train)
    whole, stock = parts_of("t"), parts_of("t", exact(SequentialDataset)) if expand else None
    assert stock is None or cases_of(stock[2]) == cases_of(whole[2])
    # Training: every case in exactly one window, and counted as often as RecBole's rows say.
    loader = SessionWindowLoader(parts[0].config, parts[0])
    seen = Counter(
        (tuple(items[: at + 1]), target)
        for batch in loader
        for items, targets in zip(batch["item_id_list"].tolist(), batch[NEXT_ITEMS].tolist(), strict=True)
        for at, target in enumerate(targets)
        if target
    )
    token = parts[0].field2id_token["item_id"]
    named = Counter({(tuple(str(token[i]) for i in h), str(token[t])): n for (h, t), n in seen.items()})
    assert named == cases_of(parts[0])
    expected = Counter(target for _, target in cases_of(parts[0]).elements())
    expected.update(history[0] for history, _ in cases_of(parts[0]).elements() if len(history) == 1)
    counts = training_counts(parts[0])
    assert {str(token[i]): n for i, n in enumerate(counts.tolist()) if n} == dict(expected)


def test_a_refit_joins_sessions_of_different_given_items() -> None:
    train, test = draw_cases(60, 3), draw_cases(20, 4)
    for name, cases in (("train", train), ("test", test)):
        Path(f"{name}.pkl").write_bytes(pickle.dumps(tuple(map(list, zip(*cases, strict=True)))))
    convert("--name", "t", "--train_pickle", "train.pkl", "--test_pickle", "test.pkl")
    joined = parts_of("t", refit_epochs=1)
    assert cases_of(joined[0]) == Counter(train)


# ---------------------------------------------------------------------- what no file can hold

ODD_TOKENS = [
    "a b",
    "a\tb",
    "a\nb",
    "",
    "[PAD]",
    "\ud800",
    *(f"a{mark}b" for mark in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"),
]


@pytest.mark.parametrize("token", ODD_TOKENS)
@pytest.mark.parametrize("shape", ["sessions", "cases"])
def test_a_token_that_would_change_on_the_way_is_refused_with_its_place(capsys, token: str, shape: str) -> None:
    sessions = [["a", "b"], ["c", token], ["a", "c"]] * 4
    cases = [[s[0]] for s in sessions], [s[1] for s in sessions]
    Path("t.pkl").write_bytes(pickle.dumps(sessions if shape == "sessions" else cases))
    assert convert("--name", "t", "--train_pickle", "t.pkl", "--test_pickle", "t.pkl") == 2
    error = capsys.readouterr().err
    assert f"t.pkl, {shape[:-1]} 1: item `" in error
    assert error.count("\n") == 1
    assert not Path("t").exists()


@pytest.mark.parametrize("token", ["NA", '"a"', "a\u00a0b", "a\u200db", "\ufeffa", "[x]", "1_0", "🛒", "a" * 300])
def test_any_other_token_comes_back_as_it_was(token: str) -> None:
    sessions = [["a", "b", token], ["c", token], [token, "c"]] * 4
    Path("t.pkl").write_bytes(pickle.dumps(sessions))
    assert convert("--name", "t", "--train_pickle", "t.pkl", "--test_pickle", "t.pkl") == 0
    assert set(parts_of("t")[0].field2id_token["item_id"]) == {"[PAD]", "a", "b", "c", token}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[1, 2], [3, True]], "session 1: `[3, True]`, with it the file holds bool, int"),
        ([[1, 2], [3, 4.0]], "session 1: `[3, 4.0]`, with it the file holds float, int"),
        ([[1, 2], [3, None]], "session 1"),
        ([[1, 2], ["1", "2"]], "session 1: `['1', '2']`, with it the file holds int, str"),
        ([[1, 2], [3, [4]]], "session 1"),
        ([[1, 2], [3]], "session 1: `[3]`, expected a list of at least two items"),
        ([[1, 2], "ab"], "session 1: `ab`, expected a list"),
        (([[1], [2]], [3]), "2 histories and 1 next items"),
        (([[1], []], [3, 4]), "case 1: `[4]`, expected a list of at least two items"),
        (([[1], 2], [3, 4]), "case 1: `2`, expected a list"),
        (([[1], [2]], 7), "2 histories and a int of next items"),
        ([], "an empty list"),
        ({1: 2}, "a pickled dict"),
        ([[1, 10**5000]], "holds what no item is called"),
    ],
)
def test_a_pickle_is_refused_by_place(capsys, content: object, message: str) -> None:
    Path("t.pkl").write_bytes(pickle.dumps(content))
    assert convert("--name", "t", "--train_pickle", "t.pkl") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_two_sessions_of_two_items_are_no_cases() -> None:
    Path("t.pkl").write_bytes(pickle.dumps([[1, 2], [3, 4]]))
    assert convert("--name", "t", "--train_pickle", "t.pkl", "--valid_share", "0.5", "--test_pickle", "t.pkl") == 0
    assert Path("t/t.test.inter").read_text().splitlines()[1:] == ["3\t1 2", "4\t3 4"]


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "", "a\\b", "a\nb", "/x"])
def test_a_name_stays_inside_the_output_folder(capsys, name: str) -> None:
    Path("t.pkl").write_bytes(pickle.dumps([[1, 2]] * 10))
    assert convert("--name", name, "--train_pickle", "t.pkl", "--test_pickle", "t.pkl") == 2
    assert "expected the plain name of a folder" in capsys.readouterr().err
    assert [path.name for path in Path.cwd().iterdir()] == ["t.pkl"]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_full_disk_is_one_line_and_leaves_nothing(capsys, is_there: bool) -> None:
    """The third file does not fit: no other is there either, nor a folder; earlier files stay as they are."""
    Path("train.txt").write_text("".join(f"a{n} b c\n" for n in range(20)))
    write_plain([((f"a{n}", "b"), "c") for n in range(20)] * 20, "test.txt")
    words = ["--name", "t", "--output", "out/data", "--train_sessions", "train.txt", "--test_prefixes", "test.txt"]
    if is_there:
        Path("out/data/t").mkdir(parents=True)
        Path("out/data/t/t.train.inter").write_text("mine")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert main(["convert", "--no_progress", *words]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    error = "out/data/t cannot be written (File too large): make room there, or choose another folder."
    assert capsys.readouterr().err == f"recbole_odrec: {error}\n"
    assert [path.name for path in Path("out").rglob("*")] == (["data", "t", "t.train.inter"] if is_there else [])
    assert Path("out").exists() == is_there
    assert main(["convert", "--no_progress", *words]) == 0
    assert len(list(Path("out/data/t").iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "flip", "text"])
def test_a_damaged_file_is_named(capsys, damage: str) -> None:
    packed = bytearray(gzip.compress("\n".join(f"{i} {i + 1}" for i in range(999)).encode()))
    if damage == "flip":
        packed[len(packed) // 2] ^= 255
    Path("t.gz").write_bytes(b"1 2\n" if damage == "text" else packed[:-20] if damage == "cut" else packed)
    assert convert("--name", "t", "--train_sessions", "t.gz") == 2
    error = capsys.readouterr().err
    assert "t.gz" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("word", ["nan", "inf", "1_700", " 5", ""])
def test_convert_takes_finite_times_alone(capsys, word: str) -> None:
    Path("t.inter").write_text(f"session_id:token\titem_id:token\ttimestamp:float\ns\ta\t1\ns\tb\t{word}\n")
    assert convert("--name", "t", "--inter", "t.inter") == 2
    assert "t.inter, line 3: `timestamp`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--inter", "t.inter", "--test_prefixes", "t.txt"),
            "--test_prefixes belongs to --train_sessions, and --inter",
        ),
        (("--train_pickle", "t.pkl", "--test_prefixes", "t.txt"), "and --train_pickle is given: leave it out."),
        (("--train_sessions", "t.txt", "--test_pickle", "t.pkl"), "--test_pickle belongs to --train_pickle, and"),
        (("--train_sessions", "t.txt", "--min_item_count", "5"), "--min_item_count belongs to --inter, and"),
        (("--train_pickle", "t.pkl", "--time_field", "when"), "--time_field belongs to --inter, and --train_pickle"),
        (
            ("--train_pickle", "t.pkl", "--test_pickle", "t.pkl", "--test_share", "0.3"),
            "--test_share 0.3, and the test",
        ),
        (("--inter", "t.inter", "--min_item_count", "-4"), "--min_item_count -4, expected a number from 1."),
    ],
)
def test_an_option_that_the_source_would_ignore_is_refused(capsys, words: tuple[str, ...], message: str) -> None:
    assert convert("--name", "t", *words) == 2
    assert message in capsys.readouterr().err
    assert not Path("t").exists()


@pytest.mark.parametrize("expand", [[], ["--expand"]])
def test_histories_with_commas_are_refused_however_they_are_written(tmp_path: Path, capsys, expand: list[str]) -> None:
    """Expanded, every odd token would be an item: the `.item` lists it."""
    Path("train.txt").write_text("a b c d\n" * 20)
    Path("test.txt").write_text("a, b,\tc\nb, c,\td\n")
    words = ["--name=n", "--output=out", "--train_sessions=train.txt", "--test_prefixes=test.txt", "--no_progress"]
    assert main(["convert", *words, *expand]) == 2
    assert "every test session is written like `b, c, d`; expected items without" in capsys.readouterr().err
    assert not Path("out").exists()
