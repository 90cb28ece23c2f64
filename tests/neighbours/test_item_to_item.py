"""Models of items by items against plain loops over the training cases of ml-100k's first users."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data import create_dataset

from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.errors import UserError
from recbole_odrec.neighbours.pairs import followers, normalised, strongest, together
from recbole_odrec.neighbours.sessions import once_each, repeated_share, training_sessions, whole
from recbole_odrec.quick_start import run
from recbole_odrec.registry import model_class
from recbole_odrec.trainer.checkpoint import load_weights
from recbole_odrec.trainer.counting import CountingTrainer

Pairs = dict[tuple[int, int], float]
QUIET = {"show_progress": False, "state": "ERROR", "metric_decimal_place": 10}


def split_of(config: Any) -> Any:
    return create_dataset(config).build()[0]


@pytest.fixture
def split(small_config) -> Any:
    """Training split of ml-small, by whose rows of full length the loops go."""
    return split_of(small_config("SASRecTeacher", MAX_ITEM_LIST_LENGTH=800))


@pytest.fixture
def count(split, small_data):
    """A model of ml-small that has counted, with these keys."""
    from recbole_odrec.config import make_config

    def counted(model: str, **keys: object) -> Any:
        values = {**QUIET, "data_path": str(small_data), "MAX_ITEM_LIST_LENGTH": 20, **keys}
        found = model_class(model)(make_config(model, "ml-small", config_dict=values), split)
        found.fit_(split)
        return found

    return counted


def cases(split: Any) -> list[tuple[list[int], int]]:
    """Every training case: history, next item."""
    rows = split[torch.arange(len(split))]
    histories, lengths, targets = rows["item_id_list"].tolist(), rows["item_length"].tolist(), rows["item_id"].tolist()
    return [(items[:n], target) for items, n, target in zip(histories, lengths, targets, strict=True)]


def loop_of_followers(split: Any, max_distance: int) -> Pairs:
    counts: Pairs = defaultdict(float)
    for history, target in cases(split):
        for distance, item in enumerate(reversed(history), 1):
            if distance <= max_distance:
                counts[item, target] += 1 / distance
    return counts


def dense(counts: Pairs, n_items: int) -> np.ndarray:
    matrix = np.zeros((n_items, n_items))
    for pair, value in counts.items():
        matrix[pair] = value
    return matrix


def test_followers_are_those_of_a_loop(split) -> None:
    counts = dense(loop_of_followers(split, 3), split.item_num)
    sessions = training_sessions(split)
    np.testing.assert_allclose(followers(sessions, split.item_num, 3).toarray(), counts, rtol=1e-12)
    both = followers(sessions, split.item_num, 3, backward=0.5).toarray()
    np.testing.assert_allclose(both, counts + 0.5 * counts.T, rtol=1e-12)
    assert counts.sum() > 10_000


def test_items_together_are_those_of_a_loop(split) -> None:
    films: dict[int, set[int]] = defaultdict(set)
    users = split[torch.arange(len(split))]["user_id"].tolist()
    for user, (history, target) in zip(users, cases(split), strict=True):
        films[user] |= {*history, target}
    counts: Pairs = defaultdict(float)
    for items in films.values():
        for first in items:
            for second in items - {first}:
                counts[first, second] += 1
    found = together(training_sessions(split), split.item_num).toarray()
    np.testing.assert_array_equal(found, dense(counts, split.item_num))


def test_rows_that_are_prefixes_count_like_their_sessions(benchmark_settings, small_config) -> None:
    from recbole_odrec.config import make_config

    settings = {key: value for key, value in benchmark_settings.items() if key != "compression_rate"}
    settings["MAX_ITEM_LIST_LENGTH"] = 800  # RecBole cuts the rows of such files when it reads them
    rows = split_of(make_config("SASRecTeacher", "ml-sessions", config_dict=settings))
    sessions = training_sessions(rows)
    assert len(sessions.starts) - 1 == len(rows)
    found = whole(sessions)
    assert len(found.starts) - 1 == 60
    longest = {}
    file = Path(str(benchmark_settings["data_path"])) / "ml-sessions" / "ml-sessions.train.inter"
    for line in file.read_text().splitlines()[1:]:
        user, items, target = line.split("\t")
        longest[user] = [*items.split(), target]
    tokens = rows.field2id_token["item_id"][found.tokens]
    assert [list(part) for part in np.split(tokens, found.starts[1:-1])] == list(longest.values())
    of_rows = followers(sessions, rows.item_num, 5)
    all_targets = found._replace(is_target=np.ones(len(found.tokens), bool))
    np.testing.assert_allclose(of_rows.toarray(), followers(all_targets, rows.item_num, 5).toarray(), rtol=1e-12)


def test_items_once_each_stand_where_they_stand_last() -> None:
    from recbole_odrec.neighbours.sessions import TrainingSessions

    sessions = TrainingSessions(np.array([3, 1, 3, 2, 1, 1]), np.array([0, 4, 6]), np.array([0, 1, 1, 1, 0, 1], bool))
    found = once_each(sessions)
    assert found.tokens.tolist() == [1, 3, 2, 1]
    assert found.starts.tolist() == [0, 3, 4]
    assert repeated_share(sessions) == 0.5


def test_the_strongest_of_a_row_and_of_equal_ones_the_first() -> None:
    from scipy.sparse import csr_matrix

    matrix = csr_matrix([[0.0, 2, 1, 2, 2], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
    assert strongest(matrix, 2).toarray().tolist() == [[0, 2, 0, 2, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert (strongest(matrix, 0) != matrix).nnz == 0


@pytest.mark.parametrize("own_items", ["counted", "drop", 0.3])
def test_transitions_score_as_their_formula_says(split, count, own_items) -> None:
    model = count("ItemTransitions", own_items=own_items, max_distance=4, followers=30)
    counts: Pairs = defaultdict(float)
    for (item, target), value in loop_of_followers(split, 4).items():
        counts[item, target] += value
        counts[target, item] += 0.5 * value
    outgoing, incoming = defaultdict(float), defaultdict(float)
    for (item, target), value in counts.items():
        outgoing[item] += value
        incoming[target] += value
    weights: dict[int, dict[int, float]] = defaultdict(dict)
    for (item, target), value in counts.items():
        weights[item][target] = value / outgoing[item] ** 0.5 / incoming[target] ** 0.3
    for item, row in weights.items():
        weights[item] = dict(sorted(row.items(), key=lambda entry: (-np.float32(entry[1]), entry[0]))[:30])
    history, _ = cases(split)[40]
    session = history[-15:]
    strength: dict[int, float] = defaultdict(float)
    for back, item in enumerate(reversed(session)):
        for target, weight in weights[item].items():
            strength[target] += 0.7**back * weight
    if own_items == "drop":
        strength = {item: value for item, value in strength.items() if item not in session}
    share = {item: value / sum(strength.values()) for item, value in strength.items()}
    if own_items == 0.3:
        share = defaultdict(float, {item: 0.7 * value for item, value in share.items()})
        for back, item in enumerate(reversed(session)):
            share[item] += 0.3 * 0.8**back / sum(0.8**place for place in range(len(session)))
    popularity = [1] * split.item_num
    for history, target in cases(split):
        popularity[target] += 1
        popularity[history[0]] += len(history) == 1
    expected = [0.01 * times / sum(popularity) for times in popularity]
    for item, value in share.items():
        expected[item] += 0.99 * value
    item_seq = torch.zeros(1, 20, dtype=torch.long)
    item_seq[0, : len(session)] = torch.tensor(session)
    found = model.full_sort_predict({"item_id_list": item_seq})[0]
    torch.testing.assert_close(found, torch.tensor(expected).log(), rtol=1e-5, atol=1e-5)
    assert math.isclose(found.double().exp().sum(), 1, rel_tol=1e-5)
    for item in (0, 5, session[0]):
        rows = {"item_id_list": item_seq, "item_id": torch.tensor([item])}
        assert model.predict(rows).item() == found[item].item()


def test_sequential_rules_go_by_the_last_item_alone(split, count) -> None:
    model, counts = count("SR", own_items="counted"), loop_of_followers(split, 10)
    rules = sorted((-value, target) for (item, target), value in counts.items() if item == 7)[:20]
    scores = model.full_sort_predict({"item_id_list": torch.tensor([[3, 9, 7, 0]])})[0]
    found = scores[[target for _, target in rules]].double().exp()
    share = found / found.sum()
    weights = torch.tensor([-value for value, _ in rules])
    torch.testing.assert_close(share, (weights / weights.sum()).double(), rtol=0.02, atol=0)  # popularity's 1 % beside
    others = model.full_sort_predict({"item_id_list": torch.tensor([[7]])})[0]
    assert torch.equal(scores, others)


def test_what_is_popular_is_set_against_what_is_not(split) -> None:
    counts = followers(training_sessions(split), split.item_num, 2)
    matrix = counts.toarray()
    rows, columns = matrix.sum(1, keepdims=True), matrix.sum(0, keepdims=True)
    expected = matrix / np.where(rows > 0, rows, 1) ** 0.5 / np.where(columns > 0, columns, 1) ** 0.3
    np.testing.assert_allclose(normalised(counts, 0.5, 0.3).toarray(), expected, rtol=1e-12)


# ---------------------------------------------------------------------- as RecBole models


@pytest.mark.parametrize("name", ["ItemTransitions", "VSTAN"])  # one of each kind
def test_a_run_counts_once_and_its_file_scores_the_same(name, small_data, small_config) -> None:
    result = run(name, "ml-small", config_dict={**QUIET, "data_path": str(small_data)})
    report = result["phases"]["model"]
    assert len(report["seconds_per_epoch"]) == 1
    assert report["test"]["all"]["ndcg@10"] > 0
    assert report["decided"] == {
        "own_items": "drop, for fewer than 1% of the training targets stand in their own history"
    }
    from recbole_odrec.config import make_config

    config = make_config(name, "ml-small", config_dict={**QUIET, "data_path": str(small_data)})
    split = split_of(config)
    model = model_class(name)(config, split)
    trainer = CountingTrainer(config, model)
    trainer.load_best(report["checkpoint"])
    counted = model_class(name)(config, split)
    counted.fit_(split)
    rows = split[torch.arange(50)]
    assert torch.equal(model.full_sort_predict(rows), counted.full_sort_predict(rows))
    assert report["parameters"]["item_table_bytes"] == model.n_bytes == counted.n_bytes > 4 * split.item_num
    assert Path(report["checkpoint"]).stat().st_size < 1.2 * model.n_bytes + 20_000
    resumed = run(name, "ml-small", config_dict={**QUIET, "data_path": str(small_data)}, resume=_unfinished(result))
    assert resumed["phases"]["model"]["test"] == report["test"]
    with pytest.raises(UserError, match=f"{name} counts, and has no graph for a device"):
        export_bundle(report["checkpoint"], Path("bundle"))


def _unfinished(result: dict[str, Any]) -> str:
    """The run's folder, as it was before its last step."""
    path = Path(result["path"])
    path.unlink()
    return str(path.parent)


@pytest.mark.parametrize(
    ("array", "change", "message"),
    [
        ("items", lambda items: items + 2000, "`items` holds numbers outside of 0 .. 1265"),
        ("items", lambda items: items[:-1], "the rows of `first_of_row` are not those of its entries"),
        ("first_of_row", lambda first: first.flip(0), "the rows of `first_of_row` are not those of its entries"),
        ("first_of_row", lambda first: first[:-1].clamp(max=0), "are not those of its entries"),
        ("weights", lambda weights: weights.double(), "its weight `weights` is"),
    ],
)
def test_arrays_of_a_file_that_do_not_fit_are_refused(count, array, change, message) -> None:
    model = count("SR")
    state = model.state_dict()
    state[array] = change(state[array])
    with pytest.raises(UserError) as error:
        load_weights(count("SR", max_distance=2), state, Path("best.pth"))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        ("ItemTransitions", {"recency": 1.5}, "recency=1.5, expected a number in [0, 1]."),
        ("ItemTransitions", {"smoothing": 0.0}, "smoothing=0.0, expected a number between 0 and 1."),
        ("SR", {"own_items": "maybe"}, "own_items='maybe', expected auto, counted, drop or a number in [0, 1)."),
        ("AR", {"max_distance": 3}, "max_distance belongs to model=SR and"),
        ("SR", {"epochs": 3}, "unknown key `epochs` for SR"),
        ("SASRecTeacher", {"recency": 0.5}, "recency belongs to model=AR and"),
    ],
)
def test_keys_are_checked(model, keys, message) -> None:
    from recbole_odrec.config import make_config

    with pytest.raises(UserError) as error:
        make_config(model, "ml-100k", config_dict=keys)
    assert message in str(error.value)


def test_session_files_work_too(write_sessions) -> None:
    write_sessions("sessions", 60, 30)
    settings = {**QUIET, "data_path": "sessions", "topk": [5, 10]}
    settings |= {"USER_ID_FIELD": "session_id", "benchmark_filename": ["train", "valid", "test"]}
    result = run("ItemTransitions", "ml", config_dict={**settings, "valid_metric": "NDCG@10"})
    assert result["phases"]["model"]["test"]["all"]["recall@10"] > 0
