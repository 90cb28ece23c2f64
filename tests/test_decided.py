"""Keys that the data decide."""

from __future__ import annotations

import pytest

from recbole_odrec.config import make_config
from recbole_odrec.decided import build_student
from recbole_odrec.errors import InfeasibleRateError, UserError
from recbole_odrec.nn import ItemTable
from recbole_odrec.nn.tables import TABLES
from recbole_odrec.parsing import parse
from recbole_odrec.quick_start import run
from tests.conftest import SMALL


@pytest.mark.parametrize(("table", "n_items"), [("tensor_train", 30), ("codes", 200)])
def test_the_default_rate_is_lowered_to_what_the_catalogue_allows(table: str, n_items: int) -> None:
    keys = {"table": table, "hidden_size": 64, "init_from_teacher": True}
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
        **{k: v for k, v in SMALL.items() if k not in ("compression_rate", "hidden_size")},
    }
    given |= {"epochs": 1, "teachers": [{"model": "SASRecTeacher", "epochs": 1}]}
    words = ["--recipe=retailrocket"]
    result = run("ODRec", "ml-small", config_dict=given, arguments=words, tests=False)
    assert result["config"]["decided"].keys() == {"compression_rate"}
    assert result["phases"]["student"]["parameters"]["compression_rate"] >= result["config"]["compression_rate"]
    with pytest.raises(UserError, match="compression_rate=30 cannot be reached by codes"):
        run("ODRec", "ml-small", config_dict=given, arguments=[*words, "--compression_rate=30"], tests=False)
