"""Parquet folders of sessions: what is written, what is read, streamed or held."""

from __future__ import annotations

import json
import shutil
import sys
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SMALL, film_sessions

from recbole_odrec import run
from recbole_odrec.cli import main
from recbole_odrec.config import make_config
from recbole_odrec.data import window_loader
from recbole_odrec.data.convert import split_by_time, write_parquet
from recbole_odrec.data.head_tail import head_items, training_counts
from recbole_odrec.data.parquet_manifest import read_manifest
from recbole_odrec.data.parquet_sessions import StreamedPart
from recbole_odrec.data.plain_text import read_plain_cases, read_plain_sessions
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.window_loader import NEXT_ITEMS, SessionWindowLoader
from recbole_odrec.data.window_plan import SessionBlock
from recbole_odrec.data.windows import Windows
from recbole_odrec.trainer.resumable import ResumableTrainer

FILES = {"benchmark_filename": ["train", "valid", "test"], "USER_ID_FIELD": "session_id"}


def convert(*words: object) -> int:
    return main(["convert", "--no_progress", *map(str, words)])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real sessions, each user's first 30 films in time order, and the cases of the last users'."""
    folder = tmp_path_factory.mktemp("sources")
    sessions = list(film_sessions().values())[:200]
    (folder / "train.txt").write_text("".join(" ".join(items) + "\n" for items in sessions[:-20]))
    cases = [(items[:end], items[end]) for items in sessions[-20:] for end in range(len(items) - 1, 2, -1)]
    (folder / "test.txt").write_text("".join(f"{' '.join(items)}\t{target}\n" for items, target in cases))
    return folder


@pytest.fixture
def both(sources: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with the same data set as text in `text/ml` and as a Parquet folder of many small row groups."""
    monkeypatch.setattr("recbole_odrec.data.parquet_writer.GROUP_ITEMS", 200)
    monkeypatch.setattr("recbole_odrec.data.parquet_writer.PART_ITEMS", 1500)
    words = ["--train_sessions", sources / "train.txt", "--test_prefixes", sources / "test.txt"]
    assert convert("--name", "ml", "--output", "text", *words) == 0
    assert convert("--name", "ml", "--output", "arrow", *words, "--format", "parquet") == 0
    return Path.cwd()


def data_of(kind: str, model: str = "SASRecTeacher", **settings: object) -> list[SessionDataset]:
    return SessionDataset(config_of(kind, model, **settings)).build()


def config_of(kind: str, model: str = "SASRecTeacher", **settings: object):
    values = {**SMALL, "data_path": kind, "train_batch_size": 64, **(FILES if kind == "text" else {}), **settings}
    values.pop("compression_rate") if model != "ODRec" else None
    return make_config(model, "ml", config_dict=values)


def batches_of(kind: str, **settings: object) -> list[dict[str, np.ndarray]]:
    config = config_of(kind, **settings)
    loader = SessionWindowLoader(config, SessionDataset(config).build()[0])
    batches = [{name: values.numpy() for name, values in batch.interaction.items()} for batch in loader]
    assert len(batches) == len(loader)
    return batches


def cases_of(batches: list[dict[str, np.ndarray]]) -> list[tuple[int, ...]]:
    """Each case as its last three items and the next one."""
    return sorted(
        (*items[max(0, at - 2) : at + 1].tolist(), int(target))
        for batch in batches
        for items, targets in zip(batch["item_id_list"], batch[NEXT_ITEMS], strict=True)
        for at, target in enumerate(targets)
        if target
    )


@pytest.mark.parametrize("settings", [{}, {"item_skip_prob": 0.2, "session_jump_prob": 0.1}, {"refit_epochs": 1}])
@pytest.mark.parametrize("longest", [20, 7])
def test_batches_are_those_of_text_where_the_buffer_holds_everything(both: Path, settings: dict, longest: int) -> None:
    held, text = (batches_of(kind, MAX_ITEM_LIST_LENGTH=longest, **settings) for kind in ("arrow", "text"))
    assert len(held) == len(text) > 60
    for mine, theirs in zip(held, text, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name])


@pytest.mark.parametrize("longest", [20, 7])
@pytest.mark.parametrize("buffer", [1, 700, 5000])
@pytest.mark.parametrize("refit", [0, 1])
def test_a_streamed_epoch_has_every_case_once_in_full_batches(
    both: Path, longest: int, buffer: int, refit: int
) -> None:
    settings = {"MAX_ITEM_LIST_LENGTH": longest, "refit_epochs": refit}
    streamed, text = batches_of("arrow", shuffle_buffer=buffer, **settings), batches_of("text", **settings)
    assert cases_of(streamed) == cases_of(text)
    sizes = [int((batch[NEXT_ITEMS] > 0).sum()) for batch in streamed]
    # A window goes to the batch that it begins in.
    assert all(abs(size - 64) < longest for size in sizes[:-1])
    again = batches_of("arrow", shuffle_buffer=buffer, **settings)
    for one, other in zip(streamed, again, strict=True):
        np.testing.assert_array_equal(one[NEXT_ITEMS], other[NEXT_ITEMS])


def test_no_more_is_in_memory_than_the_buffer_and_a_row_group(both: Path) -> None:
    train = data_of("arrow", shuffle_buffer=700)[0]
    part = train.inter_feat.part

    def blocks_of(generator: torch.Generator | None) -> list[SessionBlock]:
        return list(part.blocks(part.dealt(generator)[0]))

    blocks = blocks_of(torch.Generator().manual_seed(1))
    assert len(blocks) > 5
    assert max(len(block.tokens) - len(block.runs) for block in blocks) <= 700
    assert sum(len(block.runs) for block in blocks) == 162
    other = blocks_of(torch.Generator().manual_seed(2))
    assert blocks[0].tokens.tolist() != other[0].tokens.tolist()
    in_order = blocks_of(None)
    assert (
        np.concatenate([block.tokens for block in in_order]).tolist()
        == data_of("arrow")[0].tokens[: sum(len(block.tokens) for block in in_order)].tolist()
    )


class Streams(NamedTuple):
    """What some processes stream in an epoch: of each its batches, row groups and the state of
    the generator that all have alike; of each block its items."""

    batches: list[list[dict[str, np.ndarray]]]
    groups: list[list[int]]
    n_items: list[int]
    states: list[list[int]]


def streams_of(n_processes: int, **settings: object) -> Streams:
    """One process after the other, none told of the others' rows; an empty share is a batch of no row."""
    config, found = config_of("arrow", **settings), Streams([], [], [], [])
    dataset, block_of, n_rows = SessionDataset(config).build()[0], StreamedPart._block, list[int]()

    def read(self: StreamedPart, numbers: list[int]) -> SessionBlock:
        found.groups[-1].extend(numbers)
        found.n_items.append(len((block := block_of(self, numbers)).tokens))
        return block

    def share(own: list[tuple[Windows, int]]) -> list[Windows]:
        n_rows.extend(n for _, n in own)
        return [windows for windows, _ in own]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_loader, "n_processes", lambda: n_processes)
        patch.setattr(window_loader, "beside_others", share)
        patch.setattr(StreamedPart, "_block", read)
        for number in range(n_processes):
            patch.setattr(window_loader, "rank", lambda number=number: number)
            found.groups.append([])
            n_rows.clear()
            loader = SessionWindowLoader(config, dataset)
            batches = [{name: v.numpy() for name, v in batch.interaction.items()} for batch in loader]
            assert len(batches) == len(loader)
            own = zip(batches, n_rows, strict=True)
            found.batches.append([{name: v[:rows] for name, v in batch.items()} for batch, rows in own])
            found.states.append(loader.generator.get_state().tolist())
    return found


@pytest.mark.parametrize(("n_processes", "size", "buffer"), [(2, 64, 700), (3, 32, 4000), (3, 5, 1), (20, 64, 1)])
def test_several_processes_stream_row_groups_of_their_own(both: Path, n_processes: int, size: int, buffer: int) -> None:
    """Every case once an epoch, in batches as full as one process's."""
    settings = {"train_batch_size": size, "shuffle_buffer": buffer}
    text = cases_of(batches_of("text"))
    found = streams_of(n_processes, **settings)
    assert cases_of([batch for batches in found.batches for batch in batches]) == text
    together = [*zip(*found.batches, strict=True)]
    sizes = np.array([[(share[NEXT_ITEMS] > 0).sum() for share in shares] for shares in together])
    longest = 20
    assert abs(sizes.sum(1) - size).max() < n_processes * longest
    n_groups = len(read_manifest(Path("arrow/ml/ml.parquet")).groups["train"])
    assert sorted(number for groups in found.groups for number in groups) == [*range(n_groups)]
    assert min(map(len, found.groups)) >= 1
    assert max(found.n_items) <= max(buffer // n_processes * 30 / 29, 230)  # a row group and what was waiting
    assert found.states == found.states[:1] * n_processes
    again = streams_of(n_processes, **settings, item_skip_prob=0.2, session_jump_prob=0.1)
    assert again.states == found.states
    assert again.groups == found.groups


def test_rows_items_and_frequencies_are_those_of_text(both: Path) -> None:
    text, held, streamed = data_of("text"), data_of("arrow"), data_of("arrow", shuffle_buffer=500)
    for other in (held, streamed):
        assert other[0].field2id_token["item_id"].tolist() == text[0].field2id_token["item_id"].tolist()
        for part, rows in zip(other[1:], text[1:], strict=True):
            mine, theirs = part[torch.arange(len(part))], rows[torch.arange(len(rows))]
            assert torch.equal(mine["item_id_list"], theirs["item_id_list"])
            assert torch.equal(mine["item_id"], theirs["item_id"])
        assert len(other[0]) == len(text[0])
        np.testing.assert_array_equal(training_counts(other[0]), training_counts(text[0]))
        assert torch.equal(head_items(other[0]), head_items(text[0]))
    refit = [data_of(kind, shuffle_buffer=500, refit_epochs=1)[0] for kind in ("text", "arrow")]
    np.testing.assert_array_equal(*map(training_counts, refit))
    sizes = json.loads(Path("arrow/ml/ml.parquet/manifest.json").read_text())
    assert sizes["sessions"] == {"train": 162, "valid": 18, "test": 20}
    assert sizes["cases"]["test"] == len(text[2]) == 528
    assert len(read_manifest(Path("arrow/ml/ml.parquet")).groups["train"]) > 20


# ---------------------------------------------------------------------- runs


def test_a_streamed_run_resumes_and_ends_as_one_that_was_never_stopped(both: Path) -> None:
    """The order of an epoch is its seed: nothing of the stream is in a checkpoint."""
    values = {**SMALL, "data_path": "arrow", "train_batch_size": 64, "shuffle_buffer": 700, "epochs": 3}
    del values["compression_rate"]
    whole = run("SASRecTeacher", "ml", config_dict={**values, "checkpoint_dir": "whole"})
    with pytest.MonkeyPatch.context() as patch:
        epoch = ResumableTrainer._train_epoch

        def stop(self: ResumableTrainer, data: object, number: int, *rest: object, **more: object) -> object:
            if number == 2:
                raise KeyboardInterrupt
            return epoch(self, data, number, *rest, **more)

        patch.setattr(ResumableTrainer, "_train_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run("SASRecTeacher", "ml", config_dict={**values, "checkpoint_dir": "stopped"})
    resumed = run("SASRecTeacher", "ml", config_dict={**values, "checkpoint_dir": "stopped"}, resume=True)
    for name in ("losses", "test"):
        assert resumed["phases"]["model"][name] == whole["phases"]["model"][name]


def test_a_student_and_its_teacher_train_on_a_stream(both: Path) -> None:
    values = {**SMALL, "data_path": "arrow", "train_batch_size": 256, "shuffle_buffer": 2000, "epochs": 1}
    result = run("ODRec", "ml", config_dict={**values, "exclude_seen": True})
    for phase in ("teacher", "student"):
        cases = result["phases"][phase]["test"]["cases"]
        assert cases["head"] + cases["tail"] == 528
    again = run("ODRec", "ml", config_dict={**values, "exclude_seen": True})
    assert again["phases"]["teacher"]["source"] == "cache"
    assert again["phases"]["student"]["test"] == result["phases"]["student"]["test"]


def test_held_in_memory_every_model_has_the_numbers_of_text(both: Path) -> None:
    for model in ("GRU4Rec", "VSKNN"):
        values = {
            key: value for key, value in SMALL.items() if key in ("show_progress", "state", "metric_decimal_place")
        }
        values.update({"epochs": 1, "MAX_ITEM_LIST_LENGTH": 20} if model == "GRU4Rec" else {})
        text, arrow = (
            run(model, "ml", config_dict={**values, "data_path": kind, **(FILES if kind == "text" else {})})
            for kind in ("text", "arrow")
        )
        assert arrow["phases"]["model"]["test"] == text["phases"]["model"]["test"]


@pytest.mark.parametrize(
    ("model", "settings", "who"),
    [
        ("GRU4Rec", {}, "GRU4Rec"),
        ("VSKNN", {}, "VSKNN"),
        ("ODRec", {"teacher": "GRU4Rec", "recipe": "none"}, "GRU4Rec"),
        ("ODRec", {"teachers": [{"model": "SASRecTeacher"}, {"model": "VSKNN"}]}, "VSKNN"),
        ("ODRec", {"n_followers": 2}, "counting followers"),
        ("SASRecTeacher", {"metrics": ["NDCG", "TailPercentage"]}, "a model or metric that is asked for"),
    ],
)
def test_what_needs_every_case_at_once_is_refused_by_name(
    both: Path, capsys, model: str, settings: dict, who: str
) -> None:
    words = [f"--{key}={value}" for key, value in {"shuffle_buffer": 700, "show_progress": False, **settings}.items()]
    assert main([f"--model={model}", "--dataset=ml", "--data_path=arrow", *words]) == 2
    error = capsys.readouterr().err
    assert f"its 4,585 training cases are streamed, and {who} needs all of them at once" in error
    assert "--shuffle_buffer=4585" in error
    assert error.count("\n") == 1
    assert not Path("saved").exists()


# ---------------------------------------------------------------------- damage


def _flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 0xFF
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _manifest(change: object) -> object:
    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return damage


def _write(name: str, **columns: object) -> object:
    """Another table in place of one of the folder, its size noted, so that only what is in it is wrong."""

    def damage(folder: Path) -> None:
        pq.write_table(pa.table(columns), folder / name)

        def note(found: dict) -> None:
            places = [found["items"], *(part for parts in found["splits"].values() for part in parts)]
            for place in places:
                if place.get("file", "items.parquet") == name:
                    place["bytes"] = (folder / name).stat().st_size

        _manifest(note)(folder)

    return damage


PART, ITEMS = "valid-00000.parquet", "items.parquet"


def _overwrite(folder: Path) -> None:
    (folder / PART).write_bytes(b"x" * (folder / PART).stat().st_size)


def _first(found: dict) -> dict:
    return found["splits"]["train"][0]


DAMAGE = {
    "a part is missing": (lambda f: (f / "train-00001.parquet").unlink(), "train-00001.parquet does not exist, and"),
    "a part is cut off": (lambda f: _cut(f / "train-00001.parquet"), "bytes, and manifest.json lists"),
    "a bit of a part": (lambda f: _flip(f / "train-00001.parquet", 0.3), "train-00001.parquet cannot be read ("),
    "a bit of the items": (lambda f: _flip(f / ITEMS, 0.2), "items.parquet cannot be read ("),
    "no footer": (_overwrite, f"{PART} cannot be read ("),
    "another file": (lambda f: (f / "notes.txt").touch(), "holds notes.txt, which manifest.json does not list"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "holds no manifest.json: `recbole-odrec convert"),
    "half a manifest": (lambda f: _cut(f / "manifest.json"), "manifest.json cannot be read ("),
    "no object": (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is none that"),
    "another version": (_manifest(lambda m: m.update(version=2)), "(version 2, expected 1)"),
    "a part elsewhere": (_manifest(lambda m: _first(m).update(file="../x.parquet")), "(a part '../x.parquet')"),
    "no sessions": (_manifest(lambda m: m["splits"].update(valid=[])), "(no valid session)"),
    "wrong counts": (_manifest(lambda m: _first(m)["row_groups"][0].__setitem__(0, 9)), "and manifest.json lists"),
    "bad counts": (_manifest(lambda m: _first(m)["row_groups"][0].__setitem__(2, -9)), "(-9, expected a whole"),
    "fewer items": (_manifest(lambda m: m["items"].update(count=3)), "expected 3: convert the data again"),
    "other columns": (_write(PART, words=["a"] * 18), "column `items` is nothing, expected list<int32>"),
    "another type": (_write(PART, items=[["a"]] * 18), "column `items` is list<string>, expected list<int32>"),
    "an item twice": (_write(ITEMS, item_id=["a", "a"], train=[1, 1], valid=[1, 1]), "lists 1 items, expected"),
    "no item": (_write(ITEMS, item_id=["a", None], train=[1, 1], valid=[1, 1]), "a value of `item_id` is missing"),
}


@pytest.mark.parametrize("buffer", [700, 10_000])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(both: Path, capsys, damage: str, buffer: int) -> None:
    change, message = DAMAGE[damage]
    change(Path("arrow/ml/ml.parquet"))
    words = ["--model=SASRecTeacher", "--dataset=ml", "--data_path=arrow", "--show_progress=False", "--epochs=1"]
    assert main([*words, f"--shuffle_buffer={buffer}", "--hidden_size=16"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert "Traceback" not in error


def test_ids_and_lengths_that_no_item_and_no_session_has_are_refused(both: Path, capsys) -> None:
    folder = Path("arrow/ml/ml.parquet")
    table = pq.read_table(folder / "valid-00000.parquet")
    lists = table["items"].to_pylist()
    for first, message in ((10**6, "item ids 1 .. 1000000, expected 1 .. "), (0, "item ids 0 .. ")):
        lists[0][0] = first
        _write("valid-00000.parquet", items=pa.array(lists, pa.list_(pa.int32())))(folder)
        _manifest(lambda m: m["splits"]["valid"][0].update(row_groups=[[18, 513, 495]]))(folder)
        _manifest(lambda m: m["splits"].update(valid=m["splits"]["valid"][:1]))(folder)
        assert main(["--model=SASRecTeacher", "--dataset=ml", "--data_path=arrow", "--show_progress=False"]) == 2
        assert message in capsys.readouterr().err


def test_text_and_parquet_of_one_name_beside_each_other_are_refused(both: Path, capsys) -> None:
    shutil.copytree("text/ml", "arrow/ml", dirs_exist_ok=True)
    assert main(["--model=ODRec", "--dataset=ml", "--data_path=arrow"]) == 2
    assert "ml.train.inter are beside each other, expected one of them: move the other away" in capsys.readouterr().err


def test_a_folder_of_something_else_is_not_replaced(sources: Path, capsys) -> None:
    Path("x/x.parquet").mkdir(parents=True)
    Path("x/x.parquet/mine").touch()
    assert (
        convert("--name", "x", "--output", ".", "--format", "parquet", "--train_sessions", sources / "train.txt") == 2
    )
    assert "x.parquet exists and is no conversion of ours (no manifest.json)" in capsys.readouterr().err
    assert Path("x/x.parquet/mine").exists()


def test_keys_that_have_no_effect_on_a_folder_are_refused(both: Path, capsys) -> None:
    words = ["--model=SASRecTeacher", "--dataset=ml", "--data_path=arrow", "--show_progress=False"]
    for word, message in (
        ("--user_inter_num_interval=[5,inf)", "user_inter_num_interval='[5,inf)' has no effect on"),
        ("--shuffle_buffer=0", "shuffle_buffer=0, expected a whole number from 1"),
    ):
        assert main([*words, word]) == 2
        assert message in capsys.readouterr().err


def test_without_pyarrow_the_extra_is_named(both: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert main(["--model=SASRecTeacher", "--dataset=ml", "--data_path=arrow"]) == 2
    assert "Parquet needs pyarrow: pip install 'recbole_odrec[parquet]'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--test_prefixes", "test.txt"], ["--test_share", "0.2"]])
def test_plain_text_goes_through_line_by_line_and_gives_the_folder_of_memory(
    sources: Path, tmp_path: Path, words: list[str]
) -> None:
    shutil.copytree(sources, tmp_path, dirs_exist_ok=True)
    assert convert("--name", "ml", "--train_sessions", "train.txt", *words, "--format", "parquet") == 0
    has_test = words[0] == "--test_prefixes"
    test, test_share = (read_plain_cases(Path("test.txt")), 0.1) if has_test else (None, 0.2)
    split = split_by_time(read_plain_sessions(Path("train.txt")), test, 0.1, test_share)
    folder, held = Path("dataset/ml/ml.parquet"), write_parquet(split, Path("held"), "ml")
    assert [file.name for file in sorted(folder.iterdir())] == [file.name for file in sorted(held.iterdir())]
    for file in held.iterdir():
        assert file.read_bytes() == (folder / file.name).read_bytes(), file.name


def test_plain_text_takes_no_more_memory_where_there_is_more_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbole_odrec.data.convert._CHUNK", 100)
    peaks = []
    for n_sessions in (1000, 10_000):
        lines = (f"{n % 50} {(n + 1) % 50} {(n + 7) % 50}" for n in range(n_sessions))
        Path("train.txt").write_text("\n".join(lines) + "\n")
        tracemalloc.start()
        assert convert("--name", "ml", "--train_sessions", "train.txt", "--format", "parquet") == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000  # 9,000 sessions in memory take 2 MB
