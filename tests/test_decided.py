"""Keys that the data decide."""

from __future__ import annotations

import pytest
from conftest import SMALL

from recbole_odrec.config import make_config
from recbole_odrec.decided import build_student
from recbole_odrec.errors import InfeasibleRateError, UserError
from recbole_odrec.nn import ItemTable
from recbole_odrec.nn.tables import TABLES
from recbole_odrec.parsing import parse
from recbole_odrec.quick_start import run


@pytest.mark.parametrize(("table", "n_items"), [("tensor_train", 30), ("codes", 200), ("rounded", 8), ("hashed", 200)])
def test_the_default_rate_is_lowered_to_what_the_catalogue_allows(table: str, n_items: int) -> None:
    keys = {"table": table, "hidden_size": 64, "init_from_teacher": True, "n_followers": 0}
    config, kind = make_config("ODRec", "some", config_dict=keys), TABLES[table]

    def build(**given: float) -> ItemTable:
        return kind.from_settings(parse(kind.Settings, config, **given), n_items, 64, 0.1)

    made = build_student(config, build)
    rate = config["compression_rate"]
    assert rate <= made.compression_rate < rate + 0.1 < 30  # a rate a tenth higher is one that no table has
    with pytest.raises(InfeasibleRateError, match="cannot be reached"):
        build(compression_rate=rate + 0.1)
    assert config["decided"] == {
        "compression_rate": f"{rate:g}, the highest that this catalogue can have; 30 is the default"
    }


def test_a_recipe_of_another_data_set_runs_and_says_what_was_decided(small_data, capsys) -> None:
    given = {
        "data_path": str(small_data),
        **{k: v for k, v in SMALL.items() if k not in ("compression_rate", "hidden_size", "recipe")},
    }
    given |= {"epochs": 1, "teachers": [{"model": "SASRecTeacher", "epochs": 1}]}
    words = ["--recipe=retailrocket"]
    result = run("ODRec", "ml-small", config_dict=given, arguments=words, tests=False)
    assert result["config"]["decided"].keys() == {"compression_rate"}
    assert result["phases"]["student"]["parameters"]["compression_rate"] >= result["config"]["compression_rate"]
    with pytest.raises(UserError, match="compression_rate=30 cannot be reached by codes"):
        run("ODRec", "ml-small", config_dict=given, arguments=[*words, "--compression_rate=30"], tests=False)


def test_followers_that_nobody_asked_for_are_left_out_where_nothing_can_choose_their_gain(small_data) -> None:
    no_validation = {"split": {"RS": [0.9, 0.0, 0.1]}, "order": "TO", "group_by": "user"}
    given = {key: value for key, value in SMALL.items() if key not in ("compression_rate", "recipe")}
    given |= {"data_path": str(small_data), "epochs": 1, "eval_args": no_validation, "table": "codes"}
    result = run("ODRec", "ml-small", config_dict=given, tests=False)
    decided = result["config"]["decided"]
    assert decided["n_followers"] == "0, not 2: there are no validation cases to choose follower_gain on"
    assert "compression_rate" in decided
    assert result["config"]["n_followers"] == 0
    train = {**given, "table": "tensor_train", "eval_args": {**no_validation, "split": {"LS": "valid_and_test"}}}
    decided = run("ODRec", "ml-small", config_dict=train, tests=False)["config"]["decided"]
    assert decided["n_followers"] == "0, not 2: the rate of table=tensor_train has no room for them"
    with pytest.raises(UserError, match="follower_gain=auto is chosen on validation cases"):
        run("ODRec", "ml-small", config_dict={**given, "n_followers": 2})
