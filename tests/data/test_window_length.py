"""How long windows are where the data decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ML_100K, SMALL
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_odrec.baseline import baseline_dataset
from recbole_odrec.cli import main
from recbole_odrec.config import make_config
from recbole_odrec.data.window_length import KEY, decide_window
from recbole_odrec.quick_start import run
from recbole_odrec.registry import OUR_MODELS


def config_of(**given: Any) -> Any:
    return make_config("SASRecTeacher", "ml-100k", config_dict={"state": "ERROR", **given})


@pytest.mark.parametrize("seed", range(6))
def test_nine_tenths_of_the_histories_are_read_whole(seed: int) -> None:
    draw = np.random.default_rng(seed)
    shortest = draw.integers(1, 4, 300)
    longest = shortest - 1 + draw.integers(0, 40 + 60 * seed, 300)
    config = config_of()
    chosen = decide_window(config, shortest, longest)
    lengths = [n for first, last in zip(shortest, longest, strict=True) for n in range(first, last + 1)]

    def read_whole(limit: int) -> float:
        return np.mean([n <= limit for n in lengths])

    assert chosen == config[KEY]
    assert chosen in range(50, 101, 10)
    assert read_whole(chosen) >= 0.9 or chosen == 100
    assert chosen == 50 or read_whole(chosen - 10) < 0.9
    reason = f"{chosen}, for {1 - read_whole(50):.0%} of the histories have more than 50 items"
    assert (config["decided"] or {}) == ({KEY: reason} if chosen > 50 else {})


def test_what_nobody_knows_and_what_was_given_is_left() -> None:
    assert decide_window(config_of()) == 50
    assert decide_window(config_of(), 1, np.zeros(0, np.int64)) == 50
    given = config_of(MAX_ITEM_LIST_LENGTH=7)
    assert decide_window(given, 1, np.array([900])) == given[KEY] == 7


@pytest.mark.parametrize("model", ["SASRecTeacher", "ODRec", "VSKNN", "GRU4Rec"])
def test_the_films_of_ml_100k_ask_for_long_windows(model: str) -> None:
    asked = {} if model != "GRU4Rec" else {KEY: "auto", "train_neg_sample_args": None}  # RecBole's have 50 by default
    config = make_config(model, "ml-100k", config_dict={"state": "ERROR", **asked})
    assert config[KEY] == "auto"
    init_seed(1, True)
    dataset = (create_dataset if model in OUR_MODELS else baseline_dataset)(config)
    assert config[KEY] == 100  # a script may build its model before it splits the data
    train = dataset.build()[0]
    assert train.max_item_list_len == config[KEY] == 100
    assert train.inter_feat[train.item_list_length_field].max() == 100
    assert config["decided"][KEY].startswith("100, for 60% of the histories have more than 50 items")


@pytest.mark.parametrize("words", [[], ["--expand"]])
def test_files_of_sessions_and_of_prefixes_ask_their_training_part(words: list[str]) -> None:
    films: dict[str, list[tuple[float, str]]] = {}
    for line in (ML_100K / "ml-100k.inter").read_text().splitlines()[1:]:
        user, item, _, time = line.split("\t")
        films.setdefault(user, []).append((float(time), item))
    sessions = [[item for _, item in sorted(seen)[:90]] for seen in [*films.values()][:60]]
    Path("train.txt").write_text("\n".join(map(" ".join, sessions)) + "\n")
    kept = sessions[: 60 - 6 - 6]  # the last tenths are validation and test
    lengths = sorted(n for session in kept for n in range(1, len(session)))
    enough = lengths[int(0.9 * len(lengths))]
    assert 70 < enough <= 80  # the others' too would not change that
    assert (
        main(["convert", "--no_progress", "--name", "ml", "--output", ".", "--train_sessions", "train.txt", *words])
        == 0
    )
    given = {"state": "ERROR", "data_path": ".", "USER_ID_FIELD": "session_id"}
    config = make_config("SASRecTeacher", "ml", config_dict={**given, "benchmark_filename": ["train", "valid", "test"]})
    assert create_dataset(config).build()[0].max_item_list_len == config[KEY] == 80


def test_a_teacher_given_as_a_file_is_not_asked_for_more_than_it_reads(small_data, train) -> None:
    teacher = train("SASRecTeacher")
    path = str(Path(teacher["path"]).parent / "model/best.pth")
    given = {**{key: value for key, value in SMALL.items() if key != KEY}, "epochs": 1, "data_path": str(small_data)}
    result = run("ODRec", "ml-small", config_dict={**given, "teachers": [{"checkpoint": path}]}, tests=False)
    assert result["config"][KEY] == 20
    assert result["config"]["decided"] == {KEY: "20, as many as the networks that are given as files read"}
