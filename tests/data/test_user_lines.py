"""Users with their items, a line each, become a table whose last items are left out."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from recbole_odrec.cli import main
from recbole_odrec.config import make_config
from recbole_odrec.data.session_dataset import SessionDataset

CONVERT = ("convert", "--name", "shop", "--output", "data")


@pytest.mark.parametrize("name", ["users.txt", "users.txt.gz"])
def test_a_line_a_user_is_a_table_in_its_order(name: str, capsys) -> None:
    lines = "ann 7 007 c b\r\n" + "".join(f"{user}\t7  b {user} 7\n" for user in ("bo", "cy"))
    Path(name).write_bytes(gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode())
    assert main([*CONVERT, "--users", name]) == 0
    assert capsys.readouterr().out == "3 users, 6 items, 12 interactions, data/shop/shop.inter\n"
    assert Path("data/shop/shop.inter").read_text() == (
        "user_id:token\titem_id:token\ttimestamp:float\nann\t7\t0\nann\t007\t1\nann\tc\t2\nann\tb\t3\n"
        "bo\t7\t0\nbo\tb\t1\nbo\tbo\t2\nbo\t7\t3\ncy\t7\t0\ncy\tb\t1\ncy\tcy\t2\ncy\t7\t3\n"
    )
    data = SessionDataset(make_config("SASRecTeacher", "shop", config_dict={"data_path": "data"}))
    targets = [data.id2token("item_id", part.inter_feat["item_id"].numpy()).tolist() for part in data.build()[1:]]
    assert targets == [["c", "bo", "cy"], ["b", "7", "7"]]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", [], "users.txt: no user in it."),
        ("1 2 3\n\n", [], "users.txt, line 2: ``, expected a user and its items, oldest first."),
        ("1 2 3\n4\n", [], "users.txt, line 2: `4`, expected a user and its items"),
        ("1 2 3\n1 4\n", [], "users.txt, line 2: user `1` once more, expected one line with all of its items."),
        ("user_id:token\titem_id:token\n1\t5\n", [], "users.txt: `user_id:token\\titem_id:token` is RecBole's header"),
        ("1 2 [PAD]\n", [], "users.txt, line 1: item `[PAD]`, expected a name"),
        ("1 2 3\n", ["--name", "a/b"], "--name 'a/b', expected the plain name of a folder"),
        ("1 2 3\n", ["--valid_share", "0.2"], "--valid_share belongs to --train_sessions, and --users is given"),
        ("1 2 3\n", ["--format", "parquet"], "--format belongs to --train_sessions, and --users is given"),
        ("1 2 3\n", ["--expand"], "--expand belongs to --train_sessions, and --users is given"),
        ("1 2 3\n", ["--inter", "a.inter"], "2 sources given, expected one of"),
    ],
)
def test_what_is_no_user_is_one_line_and_nothing_is_written(
    content: str, options: list[str], message: str, capsys
) -> None:
    Path("users.txt").write_text(content)
    assert main([*CONVERT, "--users", "users.txt", *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("data").exists()
