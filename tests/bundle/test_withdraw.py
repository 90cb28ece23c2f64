"""Items withdrawn from sale are never recommended again; everything else stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recbole_odrec.bundle import BundleError, Recommender
from recbole_odrec.bundle.manifest import write_manifest
from recbole_odrec.cli import main

HISTORY = ["5", "17", "30"]


def test_withdrawn_items_leave_every_answer_and_the_rest_stays_in_order(tiny_bundle: Path, capsys) -> None:
    before = Recommender(tiny_bundle).recommend(HISTORY, k=10)
    out = sorted([before[0].item, before[4].item, "17"], key=int)
    assert main(["withdraw", f"--bundle={tiny_bundle}", "--output=new", *out[:2]]) == 0
    assert capsys.readouterr().out == "2 of 60 items withdrawn\nnew\n"
    assert main(["withdraw", "--bundle=new", "--output=next", out[2], out[0]]) == 0  # added to those, once
    recommender = Recommender("next")
    assert recommender.manifest["withdrawn"] == [int(item) for item in out]
    answer = recommender.recommend(HISTORY, k=10)
    assert answer == [row for row in before if row.item not in out]
    assert answer.unknown == ()  # in a history they say as much as before
    assert recommender.recommend(HISTORY, k=5) == answer[:5]
    ids, scores = recommender.recommend_ids([[5, 17, 30], [17]], k=10)
    assert not np.isin(ids, recommender.manifest["withdrawn"]).any()
    n_out = 10 - len(answer)
    assert (ids[0][-n_out:].tolist(), scores[0][-n_out:].tolist()) == ([0] * n_out, [-np.inf] * n_out)
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)
    long = [str(item) for item in range(1, 56)]  # beyond the maximum too, both together
    left = recommender.recommend(long, k=10, exclude_seen=True)
    assert {row.item for row in left} <= {"56", "57", "58", "59", "60"} - set(out)


def test_a_delta_carries_them_in_its_manifest_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    assert main(["withdraw", f"--bundle={tiny_bundle}", "--output=new", "7"]) == 0
    assert main(["delta", str(tiny_bundle), "new", "--output=new.delta"]) == 0
    assert Path("new.delta").stat().st_size < 1500
    device = tmp_path / "device"
    assert main(["withdraw", f"--bundle={tiny_bundle}", f"--output={device}", "8"]) == 0
    assert main(["recommend", f"--bundle={device}", "--update=new.delta"]) == 2  # another bundle by now
    assert main(["delta", str(device), "new", "--output=other.delta", "--sell_again"]) == 0
    assert main(["recommend", f"--bundle={device}", "--update=other.delta"]) == 0
    assert (device / "manifest.json").read_bytes() == Path("new/manifest.json").read_bytes()


def test_a_delta_to_a_bundle_that_would_sell_them_again_is_refused(tiny_bundle: Path, capsys) -> None:
    assert main(["withdraw", f"--bundle={tiny_bundle}", "--output=old", "7", "8"]) == 0
    assert main(["withdraw", f"--bundle={tiny_bundle}", "--output=half", "8", "9"]) == 0
    capsys.readouterr()
    assert main(["delta", "old", "half", "--output=new.delta"]) == 2
    assert capsys.readouterr().err == (
        "recbole_odrec: half recommends items again that old leaves out (7): make it with recbole-odrec withdraw "
        "--bundle half --as_in old, or add --sell_again.\n"
    )
    assert not Path("new.delta").exists()
    assert main(["withdraw", "--bundle=half", "--as_in=old", "--output=new"]) == 0
    assert Recommender("new").manifest["withdrawn"] == [7, 8, 9]
    assert main(["delta", "old", "new", "--output=new.delta"]) == 0
    assert main(["delta", "old", "half", "--output=back.delta", "--sell_again"]) == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nobody"], "'nobody' is no item of BUNDLE: expected a line of items.txt."),
        (["5", ""], "'' is no item of BUNDLE: expected a line of items.txt."),
        (["5", "--output=BUNDLE"], "BUNDLE exists; give a new folder, or remove it first."),
        (["5", "--output=/proc/new"], "/proc/new cannot be written ("),
        ([*map(str, range(1, 61))], "BUNDLE would have no item left to recommend."),
        ([], "no ITEM, expected tokens of items that are not for sale any more."),
        (["--as_in=BUNDLE"], "BUNDLE leaves out nothing that BUNDLE does not, expected tokens of items"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tiny_bundle: Path, words: list[str], line: str, capsys) -> None:
    words = [word.replace("BUNDLE", str(tiny_bundle)) for word in words]
    assert main(["withdraw", f"--bundle={tiny_bundle}", "--output=new", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"recbole_odrec: {line.replace('BUNDLE', str(tiny_bundle))}")
    assert error.count("\n") == 1
    assert not list(Path().iterdir())


def test_more_than_a_manifest_holds_is_one_line(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("recbole_odrec.bundle.withdraw.MOST_MANIFEST_BYTES", 100)
    assert main(["withdraw", f"--bundle={tiny_bundle}", "--output=new", "5"]) == 2
    expected = "recbole_odrec: 1 items are more than manifest.json can hold: export without them.\n"
    assert capsys.readouterr().err == expected
    assert not list(Path().iterdir())


@pytest.mark.parametrize("ids", ["5", [0], [61], [5, 5], [6, 5], [True], [5.0], None])
def test_a_list_that_cannot_be_is_refused(tiny_bundle: Path, tmp_path: Path, ids: object) -> None:
    values = json.loads((tiny_bundle / "manifest.json").read_text())
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in values["files"]:
        (folder / name).write_bytes((tiny_bundle / name).read_bytes())
    write_manifest(folder, {**values, "withdrawn": ids})
    with pytest.raises(BundleError, match=r"`withdrawn` is .*, expected ascending item ids, or no such key"):
        Recommender(folder)
