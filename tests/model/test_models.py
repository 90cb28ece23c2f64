from __future__ import annotations

import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer

import recbole_odrec
from recbole_odrec.config import make_config
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.errors import UserError
from recbole_odrec.nn import GRUEncoder, LastStateReadout, SelfAttentionEncoder, SoftAttentionReadout


@pytest.fixture
def data(small_config):
    return SessionDataset(small_config()).build()


def build(small_config, data, model: str, **overrides: object):
    config = small_config(model, **overrides)
    return get_model(model)(config, data[0])


@pytest.mark.parametrize("model", ["ODRec", "SASRecTeacher", "GRU4RecTeacher"])
def test_scores_are_the_product_with_the_item_table(small_config, data, model: str) -> None:
    model = build(small_config, data, model).eval()
    rows = data[2][torch.arange(9)]
    session_repr = model(rows["item_id_list"])
    expected = session_repr @ model.item_table.to_matrix().T
    torch.testing.assert_close(model.full_sort_predict(rows), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.predict(rows), expected[torch.arange(9), rows["item_id"]], rtol=1e-4, atol=1e-6)


def test_a_cosine_teacher_scores_by_direction_and_refuses_a_dropout_of_everything(small_config, data) -> None:
    model = build(small_config, data, "SASRecTeacher", normalize_items=True, table_dropout_prob=0.2).eval()
    rows = data[2][torch.arange(9)]
    before = model.full_sort_predict(rows)
    model.item_table.weight.data *= torch.linspace(0.5, 3, model.n_items).unsqueeze(1)
    torch.testing.assert_close(model.full_sort_predict(rows), before, rtol=1e-4, atol=1e-6)
    with pytest.raises(UserError, match=r"table_dropout_prob=1\.0, expected a number in \[0, 1\)"):
        build(small_config, data, "SASRecTeacher", table_dropout_prob=1.0)


@pytest.mark.parametrize("model", ["ODRec", "SASRecTeacher", "GRU4RecTeacher"])
def test_padding_width_does_not_change_scores(small_config, data, model: str) -> None:
    model = build(small_config, data, model).eval()
    rows = data[2][torch.arange(9)]
    narrow = model.full_sort_predict(rows)
    rows.interaction["item_id_list"] = torch.nn.functional.pad(rows["item_id_list"][:, :12], (0, 8))
    wide = model.full_sort_predict(rows)
    rows.interaction["item_id_list"] = rows["item_id_list"][:, :12]
    torch.testing.assert_close(model.full_sort_predict(rows), wide, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(narrow, wide)


@pytest.mark.parametrize(
    ("settings", "encoder", "readout"),
    [
        ({}, SelfAttentionEncoder, SoftAttentionReadout),
        ({"encoder": "gru", "readout": "last"}, GRUEncoder, LastStateReadout),
    ],
)
def test_the_student_takes_its_encoder_and_readout_from_the_configuration(
    small_config, data, settings: dict, encoder: type, readout: type
) -> None:
    student = build(small_config, data, "ODRec", **settings)
    assert isinstance(student.encoder, encoder)
    assert isinstance(student.readout, readout)


def test_paper_setting_of_shapes_and_ranks(small_config, data) -> None:
    table = build(
        small_config, data, "ODRec", item_shape=[30, 60], dim_shape=[4, 4], tt_ranks=6, stp_factor=2
    ).item_table
    assert table.plan.item_shape == (30, 60)
    assert table.tt_ranks == (1, 6, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compression_rate": 1e6}, "compression_rate=1e\\+06 cannot be reached .*nearest feasible rate"),
        ({"item_shape": [2, 2], "dim_shape": [4, 4], "tt_ranks": 4}, "holds 4 items"),
        ({"item_shape": [30, 60]}, "need tt_ranks too"),
        ({"hidden_size": 17, "n_heads": 1}, "embedding_dim=17 cannot be split"),
        ({"n_heads": 3}, "n_heads=3, expected a divisor of hidden_size=16"),
        ({"encoder": "lstm"}, "encoder='lstm', expected one of sasrec, gru"),
        ({"readout": "mean"}, "readout='mean', expected one of"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob=1.5, expected a number in"),
        ({"item_order": "random"}, "item_order='random', expected one of none, teacher, assigned"),
    ],
)
def test_infeasible_settings_are_one_clear_line(small_config, data, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build(small_config, data, "ODRec", **settings)
    assert "\n" not in str(error.value)


def test_plain_recbole_code_runs_our_models(small_config) -> None:
    """README's promise: after `import recbole_odrec`, stock RecBole code knows ODRec, its trainer and properties."""
    config = small_config("ODRec", epochs=1, train_batch_size=1024)
    assert config["contrastive_weight"] == 0.2
    dataset = create_dataset(config)
    train_data, valid_data, test_data = data_preparation(config, dataset)
    model = get_model("ODRec")(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "ODRec")(config, model)
    assert type(trainer) is recbole_odrec.DistillationTrainer
    score, result = trainer.fit(train_data, valid_data, verbose=False)
    assert result["ndcg@10"] == score
    assert 0 < trainer.evaluate(test_data)["recall@20"] < 1


def test_registering_twice_changes_nothing() -> None:
    from recbole.config import Config

    from recbole_odrec.registration import register

    hook = Config._load_internal_config_dict
    register()
    assert Config._load_internal_config_dict is hook
    assert get_model("SASRecTeacher") is recbole_odrec.SASRecTeacher


def test_recboles_own_models_get_no_key_of_ours(small_data) -> None:
    config = make_config(
        "SASRec", "ml-small", config_dict={"data_path": str(small_data), "train_neg_sample_args": None}
    )
    assert "save_step" not in config
    assert config["epochs"] == 300
    assert config["topk"] == [10]
