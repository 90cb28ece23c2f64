"""Parquet folders of sessions: what is written, what is read, streamed or held."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ML_100K, SMALL

from recbole_odrec.cli import main
from recbole_odrec.config import make_config
from recbole_odrec.data.head_tail import head_items, training_counts
from recbole_odrec.data.parquet_manifest import read_manifest
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.window_loader import NEXT_ITEMS, SessionWindowLoader

FILES = {"benchmark_filename": ["train", "valid", "test"], "USER_ID_FIELD": "session_id"}


def convert(*words: object) -> int:
    return main(["convert", "--no_progress", *map(str, words)])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real sessions, each user's first 30 films in time order, and the cases of the last users'."""
    folder = tmp_path_factory.mktemp("sources")
    events: dict[str, list[tuple[float, str]]] = {}
    for line in (ML_100K / "ml-100k.inter").read_text().splitlines()[1:]:
        user, item, _, time = line.split("\t")
        events.setdefault(user, []).append((float(time), item))
    sessions = [[item for _, item in sorted(found)[:30]] for found in events.values()][:200]
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
    blocks = list(train.training_blocks(torch.Generator().manual_seed(1)))
    assert len(blocks) > 5
    assert max(len(block.tokens) - len(block.runs) for block in blocks) <= 700
    assert sum(len(block.runs) for block in blocks) == 162
    other = list(train.training_blocks(torch.Generator().manual_seed(2)))
    assert blocks[0].tokens.tolist() != other[0].tokens.tolist()
    in_order = list(train.training_blocks(None))
    assert (
        np.concatenate([block.tokens for block in in_order]).tolist()
        == data_of("arrow")[0].tokens[: sum(len(block.tokens) for block in in_order)].tolist()
    )


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
