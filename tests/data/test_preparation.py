"""Data that cannot be trained or tested on is refused before anything is built: which part, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recbole_odrec import run
from recbole_odrec.baseline import baseline_dataset
from recbole_odrec.config import make_config
from recbole_odrec.data.preparation import prepare
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.errors import UserError

QUIET = {"state": "ERROR", "show_progress": False, "data_path": "."}


def write(n_users: int, n_events: int, n_items: int) -> None:
    Path("t").mkdir(exist_ok=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"u{u}\ti{(u + 3 * at) % n_items}\t{at}" for u in range(n_users) for at in range(n_events)]
    Path("t/t.inter").write_text("\n".join(lines) + "\n")


def split(how: dict) -> dict:
    return {"eval_args": {"split": how, "order": "TO", "group_by": "user", "mode": "full"}}


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
@pytest.mark.parametrize(
    ("data", "values", "message"),
    [
        ((30, 5, 8), {}, r"topk=\[5, 10, 20\], and dataset `t` has 8 items: give topk up to 8"),
        ((30, 5, 1), {}, "has 1 items"),
        ((30, 2, 40), {}, r"no case for validation \(30 for training, 0 for validation, 0 for test\)"),
        ((30, 3, 40), {}, r"no case for validation \(30 for training, 0 for validation, 30 for test\)"),
        ((30, 9, 40), split({"LS": "valid_only"}), "no case for test"),
        ((30, 9, 40), split({"RS": [0.8, 0.2, 0.0]}), "no case for test"),
        ((30, 9, 40), split({"TS": [0.8, 0.2, 0.0]}), "no case for test"),
    ],
)
def test_what_is_missing_is_said_before_training(model: str, data: tuple, values: dict, message: str) -> None:
    write(*data)
    topk = {"topk": [5, 10, 20], "metrics": ["Recall", "NDCG"], "valid_metric": "NDCG@10"}
    with pytest.raises(UserError, match=message) as error:
        run(model, "t", config_dict={**QUIET, **topk, **values})
    assert "\n" not in str(error.value)
    assert not Path("saved").exists()


def test_as_many_items_as_the_largest_cut_off_are_enough() -> None:
    write(30, 5, 8)
    config = make_config("GRU4RecTeacher", "t", config_dict={**QUIET, "topk": [5, 8], "valid_metric": "NDCG@5"})
    assert len(prepare(config, SessionDataset, tests=True)[2]._dataset) == 30


def test_a_split_may_leave_validation_out_and_a_run_its_test() -> None:
    write(30, 9, 40)
    config = make_config("GRU4RecTeacher", "t", config_dict={**QUIET, **split({"LS": "test_only"})})
    train, valid, test = prepare(config, SessionDataset, tests=True)
    assert [len(part._dataset) for part in (train, valid, test)] == [30 * 7, 0, 30]
    config = make_config("GRU4RecTeacher", "t", config_dict={**QUIET, **split({"LS": "valid_only"})})
    train, valid, test = prepare(config, SessionDataset, tests=False)
    assert len(valid._dataset) == 30
    assert test is None


@pytest.mark.parametrize("values", [{"hidden_size": -1}, {"num_layers": 0}, {"embedding_size": 2.5}])
def test_a_recbole_model_that_cannot_be_built_is_one_line(values: dict) -> None:
    write(30, 9, 40)
    with pytest.raises(UserError, match=r"GRU4Rec cannot be built with these settings from this data \(\w+: ") as error:
        run("GRU4Rec", "t", config_dict={**QUIET, "loss_type": "CE", **values})
    assert "\n" not in str(error.value)
    assert not Path("saved").exists()


# ---------------------------------------------------------------------- benchmark files

HEADER = "session_id:token\titem_id_list:token_seq\titem_id:token"
FILES = {**QUIET, "USER_ID_FIELD": "session_id", "benchmark_filename": ["train", "valid", "test"]}


def write_parts(lines: list[str], header: str = HEADER) -> None:
    Path("t").mkdir(exist_ok=True)
    for part in ("train", "valid", "test"):
        Path(f"t/t.{part}.inter").write_text("\n".join([header, *lines]) + "\n")


SESSIONS = [[f"i{(7 * u + 5 * at + u * at) % 40}" for at in range(3 + u % 7)] for u in range(60)]
CASES = [(s[:end], s[end]) for s in SESSIONS for end in range(1, len(s))]


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
@pytest.mark.parametrize(
    ("change", "examples"),
    [
        (lambda items: [*items, *["0"] * (9 - len(items))], "`0`"),
        (lambda items: [*["<pad>"] * (9 - len(items)), *items], "`<pad>`"),
        (lambda items: ("[" + ", ".join(items) + "]").split(" "), ","),
        (lambda items: [f"'{item}'" for item in items], "`'i"),
        (lambda items: [item[1:] for item in items], "`"),
        (lambda items: [",".join(items)], "`i"),
    ],
)
def test_tokens_of_histories_that_are_no_items_are_refused(model: str, change, examples: str) -> None:
    write_parts([f"s\t{' '.join(change(history))}\t{target}" for history, target in CASES])
    config = make_config(model, "t", config_dict=FILES)
    kind = SessionDataset if model == "GRU4RecTeacher" else baseline_dataset
    with pytest.raises(
        UserError, match=r"t\.train\.inter, line [23]: `item_id_list`: [\d,]+ of [\d,]+ tokens"
    ) as error:
        kind(config)
    assert examples in str(error.value)
    assert "\n" not in str(error.value)


def test_items_that_begin_sessions_or_are_listed_need_not_be_next_items() -> None:
    write_parts([f"s\t{' '.join(['first' + target, *history])}\t{target}" for history, target in CASES])
    assert len(SessionDataset(make_config("GRU4RecTeacher", "t", config_dict=FILES))) == 3 * len(CASES)
    write_parts([f"s\t{' '.join([*history, 'seen'])}\t{target}" for history, target in CASES])
    with pytest.raises(UserError, match=r"`seen`.*t\.item"):
        SessionDataset(make_config("GRU4RecTeacher", "t", config_dict=FILES))
    Path("t/t.item").write_text("item_id:token\nseen\n")
    assert len(SessionDataset(make_config("GRU4RecTeacher", "t", config_dict=FILES))) == 3 * len(CASES)


@pytest.mark.parametrize("column", ["session_id", "item_id", "item_id_list"])
def test_padding_is_nobodys_name(column: str) -> None:
    names = {"session_id": "s", "item_id_list": "i1 i2", "item_id": "i3"}
    odd = {**names, column: names[column][:-2] + "[PAD]"}
    write_parts(["\t".join(names.values()), "\t".join(odd.values())])
    with pytest.raises(UserError, match=rf"t\.train\.inter, line 3: `{column}` is .*\[PAD\].* reserved"):
        SessionDataset(make_config("GRU4RecTeacher", "t", config_dict=FILES))


def test_recboles_models_see_the_rows_that_ours_see() -> None:
    """RecBole gives lists ids of their own unless told, and minds no maximum."""
    write_parts([f"s\t{' '.join(history)}\t{target}" for history, target in CASES])
    values = {**FILES, "MAX_ITEM_LIST_LENGTH": 4}
    ours = SessionDataset(make_config("GRU4RecTeacher", "t", config_dict=values)).build()
    theirs = baseline_dataset(make_config("SASRec", "t", config_dict={**values, "loss_type": "CE"})).build()
    for part, stock in zip(ours, theirs, strict=True):
        rows, stock_rows = part[torch.arange(len(part))], stock[torch.arange(len(stock))]
        for field in ("item_id_list", "item_length", "item_id"):
            assert torch.equal(rows[field], stock_rows[field]), field


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rm_dup_inter", "first"),
        ("val_interval", {"item_id_list": "[1,2]"}),
        ("user_inter_num_interval", "[6,inf)"),
        ("item_inter_num_interval", "[50, inf)"),
        ("filter_inter_by_user_or_item", True),
        ("eval_args", {"split": {"RS": [0.5, 0.2, 0.3]}, "order": "TO", "mode": "full"}),
        ("eval_args", {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "mode": "full", "group_by": "none"}),
        ("seq_len", {"other": 3}),
        ("threshold", {"rating": 3}),
        ("normalize_all", True),
        ("normalize_field", ["rating"]),
        ("numerical_features", ["rating"]),
        ("discretization", {"rating": {"method": "LD"}}),
        ("preload_weight", {"item_id": "x"}),
        ("additional_feat_suffix", ["emb"]),
        ("alias_of_user_id", ["friend"]),
        ("alias_of_item_id", ["item_id_list", "other"]),
        ("unload_col", {"inter": ["n_given"]}),
        ("unused_col", {"inter": ["item_id"]}),
        ("load_col", {"inter": ["session_id", "item_id_list", "rating"]}),
        ("load_col", {"inter": ["session_id", "item_id_list"], "item": ["item_id"]}),
    ],
)
def test_keys_without_effect_on_whole_sessions_are_refused(key: str, value: object) -> None:
    write_parts([f"s\t{' '.join(session)}" for session in SESSIONS], HEADER.rpartition("\t")[0])
    config = make_config("GRU4RecTeacher", "t", config_dict={**FILES, "load_col": None, key: value})
    with pytest.raises(UserError, match=rf"{key}.*has no effect on t\.train\.inter") as error:
        SessionDataset(config)
    assert "\n" not in str(error.value)


def test_columns_to_load_hold_the_items_of_whole_sessions() -> None:
    write_parts([f"s\t{' '.join(session)}" for session in SESSIONS], HEADER.rpartition("\t")[0])
    config = make_config("GRU4RecTeacher", "t", config_dict={**FILES, "load_col": {"inter": ["session_id"]}})
    with pytest.raises(UserError, match=r"load_col of \.inter leaves `item_id_list` out, which is needed"):
        SessionDataset(config)


@pytest.mark.parametrize(
    "values",
    [
        {"user_inter_num_interval": "[0, inf)", "rm_dup_inter": None, "numerical_features": []},
        {"load_col": {"inter": ["session_id", "item_id_list", "item_id"]}, "alias_of_item_id": ["item_id_list"]},
        {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni100", "group_by": "user"}},
        {"seq_len": {"item_id_list": 3}},
    ],
)
def test_keys_that_ask_for_nothing_more_are_no_matter(values: dict) -> None:
    write_parts([f"s\t{' '.join(session)}" for session in SESSIONS], HEADER.rpartition("\t")[0])
    parts = SessionDataset(make_config("GRU4RecTeacher", "t", config_dict={**FILES, **values})).build()
    assert [len(part) for part in parts] == [len(CASES)] * 3


def test_a_column_asked_for_that_is_not_there_is_named() -> None:
    write(30, 9, 40)
    columns = {"inter": ["user_id", "item_id", "timestamp", "ratnig"]}
    with pytest.raises(UserError, match=r"t\.inter, line 1: no column `ratnig`, found .*; load_col names it"):
        SessionDataset(make_config("GRU4RecTeacher", "t", config_dict={**QUIET, "load_col": columns}))
    columns = {"inter": ["user_id", "item_id"]}
    with pytest.raises(UserError, match=r"leaves `timestamp` out, which is needed"):
        baseline_dataset(make_config("SASRec", "t", config_dict={**QUIET, "load_col": columns}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seq_len": {"x": 3}}, "seq_len names `x`, expected a column of token_seq or float_seq: none is read"),
        ({"seq_len": {"user_id": 3}}, "seq_len names `user_id`, expected a column of token_seq or float_seq"),
        (
            {"val_interval": {"item_id": "[1,5]"}},
            "val_interval names `item_id`, expected a column of float or float_seq: ",
        ),
        (
            {"normalize_field": ["item_id"]},
            "normalize_field names `item_id`, expected a column of float or float_seq: ",
        ),
        ({"numerical_features": ["x"]}, "numerical_features names `x`, expected a column of float or float_seq: `time"),
        ({"threshold": {"rating": 3}}, "threshold names `rating`, expected a column of float: `timestamp`"),
        ({"alias_of_item_id": ["x"]}, "alias_of_item_id names `x`, expected a column of token or token_seq: `user_id`"),
        ({"alias_of_user_id": ["timestamp"]}, "alias_of_user_id names `timestamp`, expected a column of token"),
        ({"preload_weight": {"x": "timestamp"}}, "preload_weight names `x`, expected a column of token: `user_id`"),
        ({"preload_weight": {"item_id": "x"}}, "preload_weight names `x`, expected a column of float or float_seq"),
        ({"discretization": {"timestamp": {"method": "LD"}}}, "`timestamp`, which is not among numerical_features"),
        ({"unused_col": {"inter": ["rating"]}}, "unused_col of .inter holds `rating`, expected among `user_id`, `item"),
        ({"unused_col": {"item": ["title"]}}, "unused_col names .item, and no file t.item is read: leave it out"),
        ({"load_col": None, "unload_col": {"inter": ["x"]}}, "line 1: no column `x`, found "),
        ({"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["x"]}}, "load_col names .item, and no"),
        ({"additional_feat_suffix": ["ent"]}, "additional_feat_suffix holds ent, and "),
    ],
)
def test_keys_that_name_what_is_not_there_are_refused(values: dict, message: str) -> None:
    """By ours and by RecBole's models: it drops some without a word, and fails at others in words of its own."""
    write(30, 9, 40)
    for make, model in ((SessionDataset, "GRU4RecTeacher"), (baseline_dataset, "SASRec")):
        with pytest.raises(UserError) as error:
            make(make_config(model, "t", config_dict={**QUIET, **values}))
        assert message in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["BPR", "Pop", "ItemKNN", "MultiVAE", "FM", "DIEN", "FEARec", "GRU4RecF"])
def test_models_that_cannot_read_whole_sessions_say_so(model: str) -> None:
    write_parts([f"s\t{' '.join(session)}" for session in SESSIONS], HEADER.rpartition("\t")[0])
    values = {**FILES, "topk": [10], "metrics": ["Recall"], "valid_metric": "Recall@10", "epochs": 1}
    with pytest.raises(UserError, match=r"whole sessions|could not be prepared") as error:
        run(model, "t", config_dict=values)
    assert "\n" not in str(error.value)
    if model != "FEARec":
        assert f"{model} cannot read the whole sessions of t, it " in str(error.value)
        assert "convert --expand" in str(error.value)
