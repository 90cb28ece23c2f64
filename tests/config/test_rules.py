"""Every key's vocabulary or range, in every model, before any data is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_odrec.config import make_config
from recbole_odrec.config.rules import RULES
from recbole_odrec.errors import UserError

SEQUENTIAL = {"loss_type": "CE", "train_neg_sample_args": None}


def _refused(model: str, values: dict[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        make_config(model, "absent", config_dict=values)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed=-1, expected a whole number from 0 to 4294967295"),
        ({"seed": True}, "seed=True, expected a whole number from 0"),
        ({"learning_rate": 0}, "learning_rate=0, expected a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan, expected a number above 0"),
        ({"learning_rate": "0.1"}, "learning_rate='0.1', expected a number above 0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1, expected a number of at least 0"),
        ({"MAX_ITEM_LIST_LENGTH": 0}, "MAX_ITEM_LIST_LENGTH=0, expected one of auto or a whole number from 1"),
        ({"epochs": 0}, "epochs=0, expected a whole number from 1"),
        ({"train_batch_size": 0}, "train_batch_size=0, expected a whole number from 1"),
        ({"eval_batch_size": 2.5}, "eval_batch_size=2.5, expected a whole number from 1"),
        ({"stopping_step": -1}, "stopping_step=-1, expected a whole number from 0"),
        ({"worker": -1}, "worker=-1, expected a whole number from 0"),
        ({"nproc": 2}, "nproc=2, expected 1: a run is one process"),
        (
            {"learner": "sparse_adam"},
            "learner='sparse_adam', expected one of adam, adamw, sgd",
        ),  # no model has its gradients
        ({"learner": "nosuch"}, "learner='nosuch', expected one of adam, adamw, sgd"),
        ({"state": "LOUD"}, "state='LOUD', expected one of debug, info"),
        ({"encoding": "utf-9"}, "encoding='utf-9', expected an encoding that Python knows"),
        ({"user_inter_num_interval": 6}, "user_inter_num_interval=6, expected None or an interval such as '[5,inf)'"),
        ({"item_inter_num_interval": "[5,inf"}, "item_inter_num_interval='[5,inf', expected None or an interval"),
        ({"item_inter_num_interval": "[9,5]"}, "item_inter_num_interval='[9,5]', expected None or an interval"),
        ({"val_interval": {"rating": 3}}, "val_interval={'rating': 3}, expected None or a dictionary from a column to"),
        ({"rm_dup_inter": "middle"}, "rm_dup_inter='middle', expected None or one of first, last"),
        ({"load_col": ["user_id"]}, "load_col=['user_id'], expected None or a dictionary from the kind of file"),
        ({"benchmark_filename": ["train", "test"]}, "expected None or a list of three names of files"),
        ({"topk": 0}, "topk=0, expected a whole number from 1 to 2147483647 or a list"),
        ({"topk": [10, -1]}, "topk=[10, -1], expected"),
        ({"topk": []}, "topk=[], expected"),
        ({"metrics": ["NDGC"]}, "metrics=['NDGC']: there is no metric NDGC (did you mean `NDCG`?)"),
        ({"metrics": 3}, "metrics=3, expected a word or a list of metrics"),
        ({"metrics": ["Recall"], "valid_metric": "MRR@10"}, "valid_metric='MRR@10' is not among the metrics computed"),
        ({"valid_metric": "NDCG@7"}, "valid_metric='NDCG@7' is not among the metrics computed"),
        ({"valid_metric": 3}, "valid_metric=3, expected a word"),
        ({"repeatable": False}, "repeatable=False, expected True: sessions repeat items"),
        ({"eval_args": "full"}, "eval_args='full', expected a dictionary of split, group_by, order, mode"),
        ({"eval_args": {"modes": "full"}}, "eval_args={'modes': 'full'}, expected a dictionary of split"),
        ({"eval_args": {"order": "RO"}}, "order in eval_args='RO', expected TO: a sequential model learns"),
        (
            {"eval_args": {"mode": "uni20"}},
            "order in eval_args='none given, which is RO to RecBole', expected TO: a seq",
        ),
        (
            {"eval_args": {"order": "TO", "mode": "uni"}},
            "mode in eval_args='uni', expected full, labeled, uniN or popN",
        ),
        (
            {"eval_args": {"order": "TO", "split": {"RS": [0, 0, 0]}}},
            "split in eval_args={'RS': [0, 0, 0]}, expected {'LS': 'valid_and_test'",
        ),
        (
            {"eval_args": {"order": "TO", "split": {"LS": "valid_and_tests"}}},
            "split in eval_args={'LS': 'valid_and_tests'}, expected {'LS': 'valid_and_test'",
        ),
        (
            {"eval_args": {"order": "TO", "group_by": "item"}},
            "group_by in eval_args='item', expected None or one of user, none",
        ),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob=1.0, expected a number in [0, 1)"),
        ({"show_progress": "yes"}, "show_progress='yes', expected True or False"),
        ({"checkpoint_dir": ""}, "checkpoint_dir='', expected a word"),
        ({"clip_grad_norm": 5}, "clip_grad_norm=5, expected None or a dictionary such as {'max_norm': 5"),
        ({"load_col": {}}, "load_col={}, expected None or a dictionary from the kind of file to a list of columns"),
        ({"load_col": {"inter": None}}, "load_col={'inter': None}, expected None or a dictionary"),
        ({"load_col": {"item": ["item_id"]}}, "load_col={'item': ['item_id']}, expected None or a dictionary"),
        ({"unload_col": {"inter": ["rating"]}}, "unload_col of .inter is given, and load_col={'inter': ['user_id',"),
        ({"unused_col": {"inter": None}}, "unused_col={'inter': None}, expected None or a dictionary"),
        ({"gpu_id": "x"}, "gpu_id='x', expected numbers or names of GPUs as a word, such as '0' or '0,1'"),
        ({"gpu_id": -1}, "gpu_id=-1, expected numbers or names of GPUs"),
        ({"gpu_id": 10**30}, "expected numbers or names of GPUs"),
        ({"worker": 10**30}, "expected a whole number from 0 to 256"),
        ({"MAX_ITEM_LIST_LENGTH": 10**30}, "expected one of auto or a whole number from 1 to 2147483647"),
        ({"eval_batch_size": 10**30}, "expected a whole number from 1 to 2147483647"),
        ({"topk": [10**30]}, "expected a whole number from 1 to 2147483647 or a list of whole numbers from 1"),
        ({"metric_decimal_place": 10**30}, "expected a whole number from 0 to 17"),
        ({"hidden_size": 10**30}, f"hidden_size={10**30}, expected finite numbers below 2**32"),
        ({"weight_decay": 1e30}, "weight_decay=1e+30, expected finite numbers below 2**32"),
        ({"seq_len": {"item_id_list": 0}}, "expected None or a dictionary from a column to a whole number from 1"),
        ({"threshold": {"rating": "3"}}, "expected None or a dictionary from one column to a number"),
        ({"threshold": {}}, "threshold={}, expected None or a dictionary from one column to a number"),
        ({"preload_weight": {"item_id": 3}}, "expected None or a dictionary from a column of tokens to one of numbers"),
        ({"discretization": {"rating": {"method": "ED"}}}, "expected None or a dictionary of {'method'"),
        ({"POSITION_FIELD": "place"}, "POSITION_FIELD='place' has no effect on"),
        ({"TIME_FIELD": "item_id"}, "'item_id', 'item_length', 'item_id_list'], expected names of their own"),
        ({"ITEM_LIST_LENGTH_FIELD": "item_id_list"}, "'item_id_list', 'item_id_list'], expected names of their own"),
        ({"epocsh": 3}, "unknown key `epocsh` for MODEL (did you mean `epochs`?)"),
        ({"learning_rate": {1, 2}}, "learning_rate={1, 2}: {1, 2} is neither number, word, list nor dictionary"),
    ],
)
def test_a_value_that_no_run_can_honour_is_refused_for_every_model(values: dict[str, Any], message: str) -> None:
    for model, further in (("ODRec", {}), ("GRU4RecTeacher", {}), ("SASRec", SEQUENTIAL)):
        assert message.replace("MODEL", model) in _refused(model, {**further, **values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss_type": "BPR"}, "loss_type='BPR', expected CE: our models minimise cross-entropy"),
        (
            {"train_neg_sample_args": {"distribution": "uniform"}},
            "expected None: cross-entropy over the whole catalogue",
        ),
        ({"transform": "mask_itemseq"}, "transform='mask_itemseq', expected None"),
        ({"eval_step": 0}, "eval_step=0, expected a whole number from 1"),
        ({"save_step": 0}, "save_step=0, expected a whole number from 1"),
        ({"average_decay": 1}, "average_decay=1, expected a number in [0, 1)"),
        ({"learning_rate_decay": "cosine"}, "learning_rate_decay='cosine', expected one of none, linear"),
        ({"score_memory": 0}, "score_memory=0, expected one of auto or a number above 0"),
        ({"sampled_items": -1}, "sampled_items=-1, expected a whole number from 0"),
        ({"score_dtype": "float16"}, "score_dtype='float16', expected one of float32, bfloat16, auto"),
        ({"fused_loss": True}, "unknown key `fused_loss` for SASRecTeacher"),
        ({"eval_args": {"order": "TO", "mode": "labeled"}}, "mode in eval_args='labeled', expected full, uniN or popN"),
    ],
)
def test_our_models_ask_for_more(values: dict[str, Any], message: str) -> None:
    assert message in _refused("SASRecTeacher", values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kg_reverse_r": True}, "kg_reverse_r=True has no effect on our models: leave it out"),
        ({"entity_kg_num_interval": "[5,inf)"}, "entity_kg_num_interval='[5,inf)' has no effect on our models"),
        ({"alias_of_entity_id": ["x"]}, "alias_of_entity_id=['x'] has no effect on our models"),
        ({"ENTITY_ID_FIELD": "entity"}, "ENTITY_ID_FIELD='entity' has no effect on our models: leave it out"),
        ({"require_pow": True}, "require_pow=True has no effect on our models"),
        ({"valid_metric_bigger": False}, "valid_metric_bigger=False has no effect"),
        ({"dataset_save_path": "absent"}, "dataset_save_path='absent' does not exist"),
        ({"config_file": "a.yaml"}, "unknown key `config_file` for ODRec"),
        ({"tail_ratio": "x"}, "tail_ratio='x', expected None or a number above 0"),
        ({"numerical_features": True}, "numerical_features=True, expected a list of columns"),
        (
            {"clip_grad_norm": {"norm_type": 2}},
            "clip_grad_norm={'norm_type': 2}, expected None or a dictionary",
        ),
        (
            {"eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}, "group_by": None}},
            "group_by in eval_args=None, expected user: {'LS': 'valid_and_test'} splits each user's rows",
        ),
    ],
)
def test_what_would_be_recorded_and_ignored_is_refused(values: dict[str, Any], message: str) -> None:
    assert message in _refused("ODRec", values)


def test_wandb_must_be_there_for_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbole_odrec.config.rules.find_spec", lambda name: None)
    message = "log_wandb=True, expected False, or True with the package wandb installed (pip install wandb)"
    assert message in _refused("SASRecTeacher", {"log_wandb": True})


@pytest.mark.parametrize("model", ["BPR", "GRU4Rec", "SASRec", "CORE", "LightGCN", "DIN", "Pop", "KGAT", "KD_DAGFM"])
def test_the_defaults_of_recboles_models_pass(model: str) -> None:
    """Theirs and their types: a number where they write 1 and mean 0.5 as well."""
    further = SEQUENTIAL if model in ("GRU4Rec", "SASRec", "CORE") else {}
    assert make_config(model, "ml-100k", config_dict=further)["model"] == model
    assert (
        make_config(model, "ml-100k", config_dict={**further, "metric_decimal_place": 6})["metric_decimal_place"] == 6
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020", "2020"),
        ("'a b'", "a b"),
        ("a=b", "a=b"),
        ("None", None),
    ],
)
def test_a_key_of_words_takes_the_argument_as_it_stands(text: str, value: object) -> None:
    key = "dataset_save_path"
    Path(str(value)).touch()  # one that is not there is refused
    assert make_config("ODRec", "ml-100k", arguments=[f"--{key}={text}"])[key] == value


@pytest.mark.parametrize("gpus", ["0", 0, "", "0,1", "0, 12", "GPU-8932f937-d72c", "MIG-GPU-8932f937/1/0"])
def test_gpus_are_numbers_or_names(gpus: object) -> None:
    assert make_config("ODRec", "ml-100k", config_dict={"gpu_id": gpus})["gpu_id"] == str(gpus)


def test_intervals_are_words_too() -> None:
    for text in ("[5,10]", "[5,inf)", "(0,3];[7,9)"):
        config = make_config("ODRec", "ml-100k", arguments=[f"--user_inter_num_interval={text}"])
        assert config["user_inter_num_interval"] == text


def test_a_rule_says_what_it_expects() -> None:
    assert all(rule.expected for rule in RULES.values())
