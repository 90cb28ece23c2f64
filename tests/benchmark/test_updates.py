"""Updates over time and items added without training, on a few sessions: rows, and what they are measured against."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import recbole
from conftest import film_sessions

from recbole_odrec.benchmark import new_items, updates
from recbole_odrec.bundle import Recommender
from recbole_odrec.cli import main
from recbole_odrec.errors import UserError


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of seconds."""
    small = {"hidden_size": 16, "compression_rate": 2, "epochs": 2, "train_batch_size": 1024}
    monkeypatch.setattr(updates, "_SETTINGS", {**updates._SETTINGS, **small})
    Path("films.txt").write_text(
        "".join(f"{' '.join(session[:10])}\n" for session in [*film_sessions().values()][:400])
    )


def test_gains_are_those_of_the_target_s_place(tiny_bundle: Path) -> None:
    answer = [item for item, _, _ in Recommender(tiny_bundle).recommend(["5", "17"], k=10)]
    sessions = [["5", "17", answer[0]], ["5", "17", answer[2]], ["nobody", "5"], ["5", "nobody"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates, "_K", 10)
        targets, gains = updates.answered(tiny_bundle, sessions)
    assert targets == ["17", answer[0], "17", answer[2], "5", "nobody"]
    assert gains[[1, 3, 4, 5]].tolist() == [1, 1 / np.log2(4), 0, 0]


def test_slices_follow_one_another_and_items_that_are_rare_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("".join(f"a b {'c' if number % 5 else 'd'}\n" for number in range(20)) + "a x\n")
    sessions = updates.read(tmp_path / "s.txt", 21, 4)
    assert len(sessions) == 20  # of the last one a single item is left
    parts = updates.cut(sessions, 0.5, 3)
    assert [len(part) for part in parts] == [10, 2, 3, 3, 2]
    assert [session for part in parts for session in part] == sessions
    with pytest.raises(UserError, match="20 sessions are too few for 30 updates"):
        updates.cut(sessions, 0.5, 30)


def test_updates_over_time(quick, capsys) -> None:
    words = ["--sessions=films.txt", "--updates=1", "--budgets=0.3", "--output=out/updates.json"]
    assert main(["benchmark", "updates", *words]) == 0
    told = json.loads(Path("out/updates.json").read_text())["films"]
    stale, full, bounded = told["rows"]
    assert [row["way"] for row in told["rows"]] == ["stale", "retrained", "budget 30 %"]
    assert bounded["bytes"] <= 0.3 * full["bundle_bytes"] * 1.02 < full["bytes"]
    assert stale["cases"] == full["cases"] == bounded["cases"] > 100
    text = Path("out/updates.md").read_text()
    assert f"| 1 | retrained | {full['bytes']:,} |" in text
    assert "| 1.000 |" in text
    assert capsys.readouterr().out.endswith("out/updates.json\n")
    assert f" | {full['teacher_table_bytes'] / full['bytes']:.0f}x | " in text
    # An update learns from the teacher that a retraining has: one of the base, one of the update.
    assert len([*Path("updates/saved/teachers").iterdir()]) == 2
    # Again, and beside another file of sessions: nothing is trained, what stands there stays.
    before = {path: path.stat().st_mtime_ns for path in Path("updates").glob("*/best.pth")}
    Path("films.txt").rename("more.films.txt")
    assert main(["benchmark", "updates", "--sessions=more.films.txt", *words[1:]]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    results = json.loads(Path("out/updates.json").read_text())
    assert results["films"]["rows"] == results["more"]["rows"] == told["rows"]
    assert Path("out/updates.md").read_text().index("## films") < Path("out/updates.md").read_text().index("## more")
    kept, words = Path("out/updates.json").read_text(), ["--sessions=more.films.txt", *words[1:]]
    capsys.readouterr()
    for other, message in (
        (["--base=2"], "--base and --budgets are shares"),
        (["--newest=300"], "--folder updates has students of other sessions, keys or cuts"),
        (["--keys", "table=rounded"], "--folder updates has students of other sessions, keys or cuts"),
        (["--keys", "tabel=rounded", "--folder=others"], "unknown key `tabel`"),
        (["--output=more.films.txt"], "more.films.txt is no result of `benchmark updates`"),
    ):
        assert main(["benchmark", "updates", *words, *other]) == 2
        assert message in capsys.readouterr().err
        assert Path("out/updates.json").read_text() == kept


def test_updates_of_another_table(quick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "_OF_UPDATES", {"epochs": 1, "learning_rate": 0.05})  # an epoch is a few steps here
    words = ["--sessions=films.txt", "--updates=1", "--budgets=0.3", "--output=updates.json"]
    assert main(["benchmark", "updates", *words, "--keys", "table=rounded", "bits=4", "n_followers=2"]) == 0
    told = json.loads(Path("updates.json").read_text())["films table=rounded bits=4 n_followers=2"]
    _, full, bounded = told["rows"]
    assert 0.05 * full["bundle_bytes"] < bounded["bytes"] <= 0.3 * full["bundle_bytes"] * 1.02
    config = [json.loads(path.read_text())["config"] for path in Path("updates/saved").glob("*/result.json")]
    assert [(one["table"], one["bits"], one["n_followers"]) for one in config] == 3 * [("rounded", 4, 2)]


def test_new_items_of_a_student_of_rounded_columns(quick, monkeypatch) -> None:
    rounded = {"table": "rounded", "bits": 4, "n_followers": 2}
    monkeypatch.setattr(updates, "_SETTINGS", {**updates._SETTINGS, **rounded})
    monkeypatch.setattr(new_items, "_SEEN", (5,))
    monkeypatch.setattr(new_items, "_OFTEN", 15)
    words = ["--sessions=films.txt", "--items=10", "--output=out/new-items.json"]
    assert main(["benchmark", "new-items", *words]) == 0
    (run,) = json.loads(Path("out/new-items.json").read_text())["runs"]
    before, after = run["rows"]
    assert (before["recall@20 of new"], before["new cases"]) == (0, after["new cases"])
    assert 500 < after["bytes"] < 10_000


def test_new_items_without_training(quick, monkeypatch, capsys) -> None:
    monkeypatch.setattr(new_items, "_SEEN", (5,))
    monkeypatch.setattr(new_items, "_OFTEN", 15)
    output = Path("out/new-items.json")
    words = ["benchmark", "new-items", "--sessions=films.txt", "--items=10", f"--output={output}"]
    assert main(words) == 0
    (run,) = json.loads(output.read_text())["runs"]
    before, after = run["rows"]
    assert (before["recall@20 of new"], before["sessions seen"], after["sessions seen"]) == (0, 0, 5)
    assert before["new cases"] == after["new cases"] > 5
    assert 500 < after["bytes"] < 10_000
    assert "| 5 | sessions | " in output.with_suffix(".md").read_text()

    Path("films.txt").rename("films-2.txt")  # other data: the first rows stay
    words[2] = "--sessions=films-2.txt"
    films = Path(str(recbole.__file__)).parent / "dataset_example" / "ml-100k" / "ml-100k.item"
    assert main([*words, f"--item_file={films}", "--exclude_seen"]) == 0
    first, second = json.loads(output.read_text())["runs"]
    assert first == run
    assert [(row["sessions seen"], row["by"]) for row in second["rows"]] == [
        *(
            (0, ""),
            (0, "mean row"),
            (0, "item file"),
            (5, "sessions"),
            (5, "item file and sessions"),
        )
    ]
    page = output.with_suffix(".md").read_text()
    assert page.index("## films\n") < page.index("## films-2\n") < page.index("| 0 | mean row | ")
    output.write_text("[]")
    assert main(words) == 2
    assert "out/new-items.json holds no runs of this command" in capsys.readouterr().err


def test_the_first_sessions_of_new_items_leave_out_those_that_have_had_theirs() -> None:
    past = [["a", "x"], ["b"], ["a", "c"], ["x", "y"], ["y"]]
    assert new_items.first_sessions(past, {"x", "y"}, 1) == [["a", "x"], ["x", "y"]]
    assert new_items.first_sessions(past, {"x", "y"}, 2) == [["a", "x"], ["x", "y"], ["y"]]


def test_what_was_seen_can_be_left_out_of_answers(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "_K", 10)
    answer = [item for item, _, _ in Recommender(tiny_bundle).recommend(["5", "17"], k=10, exclude_seen=True)]
    _, gains = updates.answered(tiny_bundle, [["5", "17", answer[0]], ["5", "17", "5"]], exclude_seen=True)
    assert (gains[1], gains[3]) == (1, 0)
