"""Sessions kept whole give the rows that RecBole's own data set stores one by one."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import SequentialDataset

from recbole_odrec.config import make_config
from recbole_odrec.data.exact_tables import exact
from recbole_odrec.data.head_tail import head_items, training_counts
from recbole_odrec.data.session_dataset import SessionDataset


def padded(lists: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(lists, (0, width - lists.shape[1]))


def assert_same_rows(ours: SessionDataset, theirs: SequentialDataset) -> None:
    assert len(ours) == len(theirs)
    everything = torch.arange(len(ours))
    got, expected = ours[everything], theirs[everything]
    for field in (ours.uid_field, ours.iid_field, ours.item_list_length_field):
        assert torch.equal(got[field], expected[field]), field
    width = expected[ours.item_list_field].shape[1]
    assert torch.equal(padded(got[ours.item_list_field], width), expected[ours.item_list_field])


def test_ml_100k_gives_recboles_rows_in_recboles_order() -> None:
    config = make_config("ODRec", "ml-100k", config_dict={"state": "ERROR", "MAX_ITEM_LIST_LENGTH": 50})
    ours, theirs = SessionDataset(config).build(), exact(SequentialDataset)(config).build()
    assert [len(part) for part in ours] == [97171, 943, 943]
    for our_part, their_part in zip(ours, theirs, strict=True):
        assert_same_rows(our_part, their_part)


@pytest.mark.parametrize("split", [{"LS": "valid_only"}, {"RS": [0.8, 0.1, 0.1]}])
def test_other_splits_give_recboles_rows_too(small_config, split: dict) -> None:
    config = small_config(eval_args={"split": split, "order": "TO", "mode": "full", "group_by": "user"})
    ours, theirs = SessionDataset(config).build(), exact(SequentialDataset)(config).build()
    for our_part, their_part in zip(ours, theirs, strict=True):
        if len(their_part):
            assert_same_rows(our_part, their_part)


def test_prepared_data_is_as_large_as_the_sessions(small_config) -> None:
    dataset = SessionDataset(small_config())
    n_interactions = len(dataset.inter_feat)
    dataset.build()
    assert dataset.tokens.nbytes == 4 * n_interactions
    assert dataset.item_list_field not in dataset.inter_feat


def test_a_batch_is_as_wide_as_its_longest_row(small_config) -> None:
    train, _, _ = SessionDataset(small_config()).build()
    lengths = train.inter_feat[train.item_list_length_field]
    short = torch.nonzero(lengths <= 3).squeeze(1)[:10]
    assert train[short][train.item_list_field].shape == (10, 3)
    train.pad_to_max = True
    assert train[short][train.item_list_field].shape == (10, 20)


def test_benchmark_files_give_recboles_rows(benchmark_settings: dict) -> None:
    config = make_config("ODRec", "ml-sessions", config_dict={**benchmark_settings, "MAX_ITEM_LIST_LENGTH": 10_000})
    ours, theirs = SessionDataset(config).build(), SequentialDataset(config).build()
    for our_part, their_part in zip(ours, theirs, strict=True):
        assert_same_rows(our_part, their_part)


@pytest.mark.parametrize("limit", [{"MAX_ITEM_LIST_LENGTH": 7}, {"seq_len": {"item_id_list": 7}}])
def test_long_benchmark_rows_keep_their_most_recent_items(benchmark_settings: dict, limit: dict) -> None:
    """RecBole ignores MAX_ITEM_LIST_LENGTH on benchmark files, and its seq_len keeps the first items."""
    config = make_config("ODRec", "ml-sessions", config_dict={**benchmark_settings, **limit})
    whole = {**benchmark_settings, "MAX_ITEM_LIST_LENGTH": 10_000}
    train, whole_train = (
        SessionDataset(c).build()[0] for c in (config, make_config("ODRec", "ml-sessions", config_dict=whole))
    )
    rows, whole_rows = train[torch.arange(len(train))], whole_train[torch.arange(len(train))]
    assert rows["item_length"].max() == 7
    for i in range(0, len(train), 97):
        n = whole_rows["item_length"][i]
        expected = whole_rows["item_id_list"][i, max(0, n - 7) : n]
        assert torch.equal(rows["item_id_list"][i, : rows["item_length"][i]], expected)


def test_item_lists_share_the_items_ids_without_being_told(benchmark_settings: dict) -> None:
    settings = {key: value for key, value in benchmark_settings.items() if key != "alias_of_item_id"}
    dataset = SessionDataset(make_config("ODRec", "ml-sessions", config_dict=settings))
    assert dataset.field2id_token["item_id_list"] is dataset.field2id_token["item_id"]


def test_stock_recbole_code_resolves_our_dataset(small_config) -> None:
    config = small_config()
    dataset = create_dataset(config)
    assert type(dataset) is SessionDataset
    train_data, _, test_data = data_preparation(config, dataset)
    batch = next(iter(train_data))
    assert batch["item_id_list"].shape[0] == 256
    assert len(test_data._dataset) == 120


def test_head_items_are_the_most_frequent_fifth(small_config) -> None:
    """Counted from the raw file: all interactions but each user's last two (validation and test)."""
    config = small_config()
    train, valid, test = SessionDataset(config).build()
    tokens = train.field2id_token["item_id"]
    held_out = Counter(tokens[torch.cat([valid.inter_feat["item_id"], test.inter_feat["item_id"]])])
    path = f"{config['data_path']}/ml-small.inter"
    with open(path) as lines:  # noqa: PTH123
        counts = Counter(line.split("\t")[1] for line in list(lines)[1:]) - held_out
    ours = training_counts(train)
    assert {tokens[i]: n for i, n in enumerate(ours) if n} == dict(counts)
    is_head = head_items(train)
    assert is_head.sum() == round(0.2 * len(counts))
    assert not is_head[0]
    assert ours[is_head].min() >= ours[~is_head.numpy()].max()
