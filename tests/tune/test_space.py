"""What a space of keys is, and what is drawn from it."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from recbole_odrec.errors import UserError
from recbole_odrec.tune.space import corners, draw

SPACE = {
    "learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "epochs": {"low": 2, "high": 8, "step": 3},
    "readout": ["last", "item_attention"],
    "every_teacher": {"epochs": [5, 10]},
    "teachers": [[{"model": "SASRecTeacher"}], [{"model": "GRU4RecTeacher", "weight": 0.5}]],
    "table": {"one_of": {"codes": {"move_codes_every": [0, 20]}, "tensor_train": {}}},
}


def test_a_draw_has_the_values_of_its_trial() -> None:
    values = {
        "learning_rate": 0.02,
        "epochs": 5,
        "readout": "last",
        "every_teacher.epochs": 10,
        "teachers": '[{"model": "GRU4RecTeacher", "weight": 0.5}]',
        "table": "codes",
        "table=codes.move_codes_every": 20,
    }
    drawn = draw(SPACE, optuna.trial.FixedTrial(values))
    assert drawn == {
        "learning_rate": 0.02,
        "epochs": 5,
        "readout": "last",
        "every_teacher": {"epochs": 10},
        "teachers": [{"model": "GRU4RecTeacher", "weight": 0.5}],
        "table": "codes",
        "move_codes_every": 20,
    }
    other = {**values, "table": "tensor_train"}
    assert "move_codes_every" not in draw(SPACE, optuna.trial.FixedTrial(other))


def test_draws_stay_inside_and_spread() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = [draw(SPACE, study.ask()) for _ in range(200)]
    assert {each["epochs"] for each in drawn} == {2, 5, 8}
    assert all(0.001 <= each["learning_rate"] <= 0.1 for each in drawn)
    assert 70 < sum(each["learning_rate"] < 0.01 for each in drawn) < 130  # half of the orders of magnitude
    assert {each["table"] for each in drawn} == {"codes", "tensor_train"}
    assert all(("move_codes_every" in each) == (each["table"] == "codes") for each in drawn)


def test_corners_hold_both_ends_and_every_value() -> None:
    found = list(corners({**SPACE, "n_heads": [1, 2, 4]}))
    assert [each["n_heads"] for each in found] == [1, 2, 4]
    assert {each["learning_rate"] for each in found} == {0.001, 0.1}
    assert {each["epochs"] for each in found} == {2, 8}
    assert {each["table"] for each in found} == {"codes", "tensor_train"}
    assert len(list(corners({}))) == 2


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"low": 2, "high": 1}, "with low < high"),
        ({"low": 1}, "with low < high"),
        ({"low": 0, "high": 1, "log": True}, "low above 0"),
        ({"low": 1, "high": 9, "log": True, "step": 2}, "not both"),
        ({"low": 1, "high": 9, "step": 0}, "a step above 0"),
        ({"low": 1, "hihg": 9}, "with low < high"),
        ({"low": "a", "high": "b"}, "with low < high"),
        ({"low": True, "high": 3}, "with low < high"),
        ([], "expected a list of values"),
        ({}, "expected a list of values"),
        (0.5, "expected a list of values"),
        ({"one_of": {"codes": None}}, "expected a list of values"),
        ({"one_of": {}}, "expected a list of values"),
        ({"deeper": {"low": 3}}, "space: key.deeper="),
    ],
)
def test_what_is_no_entry_is_named(entry: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as error:
        list(corners({"key": entry}))
    assert str(error.value).startswith("space: key")
