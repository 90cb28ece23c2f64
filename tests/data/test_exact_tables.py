"""Tables are read as they stand, with every fault named, and rows follow exact times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_odrec.baseline import baseline_dataset
from recbole_odrec.config import make_config
from recbole_odrec.data.exact_tables import interaction_files
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.errors import UserError

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "\n1\t2\t3\t4\n1\t2\t3\n", "line 3: 3 columns, expected 4"),
        (HEADER + "\n1\t2\t3\t4\t5\n", "line 2: 5 columns, expected 4"),
        (HEADER + "\n1\t\t3\t4\n", "line 2: `item_id` is empty, expected a token"),
        (HEADER + "\n1\t2\t3\tyesterday\n", "line 2: `timestamp` is `yesterday`, expected a finite number"),
        (HEADER.replace("item_id:token", "item_id:tokn") + "\n", "line 1: column `item_id:tokn`, expected `name:type`"),
        (HEADER.replace("item_id", "item") + "\n1\t2\t3\t4\n", "line 1: no column `item_id`, found `user_id`, `item`"),
        (HEADER + "\n", "no line below the header"),
        ("", "line 1: column ``, expected `name:type`"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(small_config, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "ml-small").mkdir()
    (tmp_path / "ml-small" / "ml-small.inter").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        SessionDataset(small_config(data_path=str(tmp_path)))
    assert "ml-small.inter" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_binary_file_is_refused(small_config, tmp_path: Path) -> None:
    (tmp_path / "ml-small").mkdir()
    (tmp_path / "ml-small" / "ml-small.inter").write_bytes(b"\x80\x81\xff\xfe")
    with pytest.raises(UserError, match="not a text file"):
        SessionDataset(small_config(data_path=str(tmp_path)))


def test_missing_files_are_named(small_config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ml-small\.inter does not exist.*--data_path"):
        SessionDataset(small_config(data_path=str(tmp_path)))
    with pytest.raises(UserError, match="three names"):
        SessionDataset(small_config(benchmark_filename=["train", "test"]))


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "BPR"])
def test_a_data_set_of_recboles_name_is_read_from_the_folder_given(tmp_path: Path, model: str) -> None:
    given, own = make_config(model, "ml-100k", config_dict={"data_path": str(tmp_path)}), make_config(model, "ml-100k")
    assert [path.parent for path in interaction_files(own)] != [tmp_path / "ml-100k"]
    with pytest.raises(UserError, match=r"ml-100k\.inter does not exist.*--data_path"):
        interaction_files(given)
    (tmp_path / "ml-100k").mkdir()
    (tmp_path / "ml-100k" / "ml-100k.inter").touch()
    assert interaction_files(given) == [tmp_path / "ml-100k" / "ml-100k.inter"]


# ---------------------------------------------------------------------- values as they stand, rows in exact order


def write(folder: Path, events: list[tuple[str, str, str]], name: str = "t", encoding: str = "utf-8", end: str = "\n"):
    (folder / name).mkdir(exist_ok=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *("\t".join(event) for event in events)]
    (folder / name / f"{name}.inter").write_bytes("".join(line + end for line in lines).encode(encoding))


def config_of(model: str, folder: Path, **values: object):
    return make_config(model, "t", config_dict={"state": "ERROR", "data_path": str(folder), **values})


def rows_of(part) -> list[tuple[str, tuple[str, ...], str]]:
    """(user, history, next item) of every row of a sequential split."""
    rows = part[torch.arange(len(part))]
    user, item = (part.field2id_token[name] for name in (part.uid_field, part.iid_field))
    columns = (rows[n].tolist() for n in ("user_id", "item_id_list", "item_length", "item_id"))
    return [(user[u], tuple(item[i] for i in items[:n]), item[t]) for u, items, n, t in zip(*columns, strict=True)]


ODD_ITEMS = [
    "NA",
    "null",
    "None",
    "nan",
    "N/A",
    "n/a",
    "-nan",
    '"',
    '"a',
    'b"c',
    "0",
    "",
    "Ærø",
    "#",
    "a b",
    "1_0",
    "a\x85",
]


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n")])
def test_items_are_called_what_the_file_calls_them(tmp_path: Path, model: str, encoding: str, end: str) -> None:
    items = [item for item in ODD_ITEMS if item]
    write(
        tmp_path,
        [(user, item, str(at)) for user in ("None", '"u') for at, item in enumerate(items)],
        encoding=encoding,
        end=end,
    )
    config = config_of(model, tmp_path, **({"encoding": "utf-16"} if encoding == "utf-16" else {}))
    train, _, test = baseline_dataset(config).build() if model == "GRU4Rec" else SessionDataset(config).build()
    n = len(items)
    assert rows_of(test) == [(user, tuple(items[:-1]), items[-1]) for user in ("None", '"u')]
    assert len(train) == 2 * (n - 3)
    assert sorted(set(test.field2id_token["item_id"]) - {"[PAD]"}) == sorted(items)


EPOCH = 1_700_000_000


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
@pytest.mark.parametrize("unit", [1, 1000, 10**9, 0.001])
def test_rows_follow_times_that_32_bits_cannot_tell_apart(tmp_path: Path, model: str, unit: float) -> None:
    """One second apart, in seconds, milliseconds, nanoseconds and fractions; ties in the order of the file."""
    items = [f"i{at}" for at in range(9)]
    moments = [f"{EPOCH + at * unit:.3f}" if unit < 1 else str((EPOCH + at) * int(unit)) for at in range(9)]
    moments[8] = moments[7]
    events = [(user, item, moment) for item, moment in zip(items, moments, strict=True) for user in "ab"]
    write(tmp_path, [events[i] for i in (9, 0, 4, 2, 11, 1, 3, 8, 5, 7, 10, 6, 13, 12, 14, 15, 16, 17)])
    config = config_of(model, tmp_path)
    parts = baseline_dataset(config).build() if model == "GRU4Rec" else SessionDataset(config).build()
    found = sorted(row for part in parts for row in rows_of(part))
    assert found == [(user, tuple(items[:end]), items[end]) for user in "ab" for end in range(1, 9)]
    assert sorted(rows_of(parts[2])) == [(user, tuple(items[:8]), "i8") for user in "ab"]
    times = parts[2].inter_feat["timestamp"]
    assert times.dtype == torch.float32
    assert times.tolist() == [float(np.float32(float(moments[8])))] * 2
    if model == "GRU4Rec":  # its lists of times are times again, zero where there is none
        expected = np.array([*map(float, moments[:8]), *[0] * (config["MAX_ITEM_LIST_LENGTH"] - 8)], np.float32)
        np.testing.assert_array_equal(parts[2].inter_feat["timestamp_list"][0].numpy(), expected)


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
@pytest.mark.parametrize(
    "moments",
    [
        [str(2**53 - 3 + at) for at in range(5)],
        [f"{EPOCH * 10**9 + at}{'.0' * (at == 2)}" for at in range(5)],
        [f"{EPOCH}.00000000{at}" for at in range(5)],
        [str(2**63 + at) for at in range(5)],
        ["1.7e18", *(str(EPOCH * 10**9 + at) for at in range(1, 5))],
    ],
)
def test_rows_follow_times_that_64_bits_cannot_tell_apart(tmp_path: Path, model: str, moments: list[str]) -> None:
    """Nanoseconds as whole numbers and as fractions, mixed, beyond 2**53 and 2**63."""
    write(tmp_path, [("u", f"i{at}", moments[at]) for at in (3, 1, 4, 0, 2)])
    config = config_of(model, tmp_path)
    parts = baseline_dataset(config).build() if model == "GRU4Rec" else SessionDataset(config).build()
    items = [f"i{at}" for at in range(5)]
    assert sorted(row for part in parts for row in rows_of(part)) == [
        ("u", tuple(items[:end]), items[end]) for end in range(1, 5)
    ]
    assert float(parts[2].inter_feat["timestamp"][0]) == np.float32(float(moments[4]))


@pytest.mark.parametrize("split", [{"RS": [0.6, 0.2, 0.2]}, {"TS": [0.6, 0.2, 0.2]}])
@pytest.mark.parametrize("model", ["BPR", "GRU4RecTeacher"])
def test_splits_by_time_cut_between_exact_times(tmp_path: Path, model: str, split: dict) -> None:
    """All users together: RecBole's order of 32 bits would sort the users within 128 s."""
    events = [(f"u{(7 * at) % 5}", f"i{at}", str(EPOCH + at)) for at in range(60)]
    write(tmp_path, [events[(11 * i) % 60] for i in range(60)])
    group_by = None if "RS" in split else "user"
    args = {"split": split, "order": "TO", "group_by": group_by, "mode": "full"}
    config = config_of(model, tmp_path, eval_args=args, load_col={"inter": ["user_id", "item_id", "timestamp"]})
    parts = baseline_dataset(config).build() if model == "BPR" else SessionDataset(config).build()
    number = [
        np.array([int(part.field2id_token["item_id"][i][1:]) for i in part.inter_feat["item_id"]]) for part in parts
    ]
    first = 0 if model == "BPR" else 5  # a sequential row needs a history
    assert len(np.concatenate(number)) == 60 - first
    if "RS" in split:
        assert np.array_equal(np.concatenate(number), np.arange(first, 60))
    else:
        assert sorted(number[2]) == list(range(48 if model == "BPR" else 49, 60))


def test_of_two_events_at_the_same_time_the_first_in_the_file_is_the_first(tmp_path: Path) -> None:
    write(tmp_path, [("u", f"i{at % 20}", "7") for at in range(400)] + [("u", "last", "8"), ("u", "i3", "9")])
    config = config_of("GRU4RecTeacher", tmp_path, rm_dup_inter="first")
    rows = rows_of(SessionDataset(config).build()[2])
    assert rows == [("u", tuple(f"i{at}" for at in range(20)), "last")]


@pytest.mark.parametrize(
    "word", ["nan", "inf", "-inf", "1_700", " 5", "5 ", "٣", "0x1", "1e999", "1e39", "-", "", "True"]
)
def test_a_time_is_a_finite_number(tmp_path: Path, word: str) -> None:
    write(tmp_path, [("u", "a", "1"), ("u", "b", word), ("u", "c", "3")])
    with pytest.raises(UserError, match=r"t\.inter, line 3: `timestamp` is ") as error:
        SessionDataset(config_of("GRU4RecTeacher", tmp_path))
    assert "expected a" in str(error.value)
    with pytest.raises(UserError, match="line 3"):
        baseline_dataset(config_of("GRU4Rec", tmp_path))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id:token\titem_id:token\ttimestamp:token", "column `timestamp:token`, expected `timestamp:float`"),
        ("user_id:token\titem_id:float\ttimestamp:float", "column `item_id:float`, expected `item_id:token`"),
        ("user_id:token\titem_id:token\titem_id:token", "two columns `item_id`, expected each name once"),
        ("user_id\titem_id\ttimestamp", "column `user_id`, expected `name:type`"),
    ],
)
def test_headers_say_what_a_column_is(tmp_path: Path, header: str, message: str) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "t.inter").write_text(header + "\nu\t1\t2\n")
    with pytest.raises(UserError, match=rf"t\.inter, line 1: {message}"):
        SessionDataset(config_of("GRU4RecTeacher", tmp_path))


@pytest.mark.parametrize(
    ("item_file", "message"),
    [
        ("item_id:token\tprice:float\na\t2\nb\t-\n", "line 3: `price` is `-`, expected a finite number"),
        ("item_id:token\tprice:float\na\t2\tx\n", "line 2: 3 columns, expected 2 as in line 1"),
        ("item_id\tprice\na\t2\n", "line 1: column `item_id`, expected `name:type`"),
        ("item_id:token\tprice:float\n\t2\n", "line 2: `item_id` is empty, expected a token"),
        ("item_id:token\tprice:float\n[PAD]\t2\n", r"line 2: `item_id` is `\[PAD\]`, expected another name"),
        ("item_id:token\tprice:float\na\t2\nb\t3\na\t4\n", "line 4: `item_id` is `a`, expected each name once: line 2"),
        ("item_id:token\tprix:float\na\t2\n", "line 1: no column `price`, found `item_id`, `prix`"),
    ],
)
def test_an_item_file_is_checked_like_any_other(tmp_path: Path, item_file: str, message: str) -> None:
    write(tmp_path, [("u", "a", "1"), ("u", "b", "2"), ("u", "c", "3")])
    (tmp_path / "t" / "t.item").write_text(item_file)
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "price"]}
    with pytest.raises(UserError, match=rf"t\.item, {message}"):
        SessionDataset(config_of("GRU4RecTeacher", tmp_path, load_col=columns))


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "SASRec"])
def test_interactions_that_the_item_file_leaves_out_are_counted_aloud(tmp_path: Path, caplog, model: str) -> None:
    """RecBole drops them without a word."""
    write(tmp_path, [("u", item, str(at)) for at, item in enumerate("abcab")])
    (tmp_path / "t" / "t.item").write_text("item_id:token\na\nb\n")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}
    dataset = baseline_dataset(config_of(model, tmp_path, load_col=columns))
    assert dataset.inter_num == 4
    assert "1 of 5 interactions are left out: .user or .item does not list" in caplog.text
    caplog.clear()
    kept = baseline_dataset(config_of(model, tmp_path, load_col=columns, filter_inter_by_user_or_item=False))
    assert kept.inter_num == 5
    assert not caplog.text


def test_a_missing_price_is_the_mean_price_and_a_missing_word_is_padding(tmp_path: Path) -> None:
    """As RecBole has it."""
    write(tmp_path, [("u", item, str(at)) for at, item in enumerate("abc")])
    (tmp_path / "t" / "t.item").write_text("item_id:token\tprice:float\tkind:token\na\t2\tNA\nb\t\t\nc\t4\tx\n")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "price", "kind"]}
    dataset = SessionDataset(config_of("GRU4RecTeacher", tmp_path, load_col=columns))
    ids = dataset.token2id("item_id", list("abc"))
    assert dataset.item_feat["price"].to_numpy()[ids].tolist() == [2, 3, 4]
    assert list(dataset.field2id_token["kind"][dataset.item_feat["kind"].to_numpy(int)[ids]]) == ["NA", "[PAD]", "x"]
