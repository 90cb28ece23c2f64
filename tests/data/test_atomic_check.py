from __future__ import annotations

from pathlib import Path

import pytest

from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.errors import UserError

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "\n1\t2\t3\t4\n1\t2\t3\n", "line 3: 3 columns, expected 4"),
        (HEADER + "\n1\t2\t3\t4\t5\n", "line 2: 5 columns, expected 4"),
        (HEADER + "\n1\t\t3\t4\n", "line 2: `item_id` is empty, expected a token"),
        (HEADER + "\n1\t2\t3\tyesterday\n", "line 2: `timestamp` is `yesterday`, expected a number"),
        (HEADER.replace("item_id:token", "item_id:tokn") + "\n", "line 1: column `item_id:tokn`, expected `name:type`"),
        (HEADER.replace("item_id", "item") + "\n1\t2\t3\t4\n", "line 1: no column `item_id`, found `user_id`, `item`"),
        (HEADER + "\n", "no interaction below the header"),
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
