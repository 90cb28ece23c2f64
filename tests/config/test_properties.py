"""Property files: every key is known, explained, and read by somebody."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recbole_odrec.chosen_parts import possible_keys
from recbole_odrec.config import make_config
from recbole_odrec.config.layers import known_keys
from recbole_odrec.config.properties import properties_folder, recipe_properties
from recbole_odrec.nn.kinds import KINDS
from recbole_odrec.parts import FIXED_PARTS
from recbole_odrec.registry import OUR_MODELS
from recbole_odrec.settings import DistillationConfig, NetworkConfig


def test_every_key_is_read_and_every_read_key_has_a_default() -> None:
    keys = set(yaml.safe_load((properties_folder() / "model" / "ODRec.yaml").read_text()))
    read = {name for part in (NetworkConfig, DistillationConfig) for name in part.__dataclass_fields__}
    assert keys == read | {
        *KINDS,
        "objectives",
        "teachers",
        "starts_from",
        "teacher_cache",
        "update_from",
        "update_budget",
    }
    teacher = set(yaml.safe_load((properties_folder() / "model" / "SASRecTeacher.yaml").read_text()))
    assert teacher == {*NetworkConfig.__dataclass_fields__, "readout"}


WITH_DEFAULTS = sorted(path for path in properties_folder().rglob("*.yaml") if path.parent.name != "space")


@pytest.mark.parametrize("path", WITH_DEFAULTS, ids=lambda path: path.stem)
def test_every_key_has_a_comment(path: Path) -> None:
    for line in path.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            assert "# (" in line, line


def test_data_set_files_and_recipes_hold_only_known_keys() -> None:
    known = set().union(*(known_keys(model, "ml-100k") for model in OUR_MODELS))
    for path in (*properties_folder().glob("dataset/*.yaml"), *properties_folder().glob("recipe/*.yaml")):
        assert set(yaml.safe_load(path.read_text())) <= known | {"every_teacher", "recipe"}, path


@pytest.mark.parametrize("recipe", [path.stem for path in properties_folder().glob("recipe/*.yaml")])
def test_a_recipe_is_of_use_on_any_data_set(recipe: str) -> None:
    """Asked for by name or as a file; a key of a part that it does not choose is nobody's."""
    file = properties_folder() / "recipe" / f"{recipe}.yaml"
    said = recipe_properties(recipe)
    for model in FIXED_PARTS:  # those that have weights to train
        by_name = make_config(model, "ml-100k", arguments=[f"--recipe={recipe}"])
        as_file = make_config(model, "ml-100k", config_files=[str(file)])
        assert by_name.final_config_dict == as_file.final_config_dict
        of_this = {**said, **(said.get("every_teacher", {}) if model != "ODRec" else {})}
        own = {key for key in of_this if key in by_name} - {
            "teachers",
            "every_teacher",
            "score_dtype",
            "recipe",
        }  # auto, and what it means here; the recipe that it goes out from
        assert len(own) > 5
        assert {key: by_name[key] for key in own} == {key: of_this[key] for key in own}
    table = "codes" if said.get("table") == "tensor_train" else "tensor_train"
    other = make_config(
        "ODRec", "ml-100k", arguments=[f"--recipe={recipe}", f"--table={table}", "--init_from_teacher=True"]
    )
    assert (other["table"], other["item_order" if table == "codes" else "move_codes_every"]) == (table, None)


def test_a_recipe_may_go_out_from_another() -> None:
    general, fast = recipe_properties("general"), recipe_properties("fast")
    assert (fast["epochs"], fast["table"], "recipe" in fast) == (2, general["table"], False)
    own = {"epochs": 8, "stopping_step": 1}
    assert fast["every_teacher"] == {**general["every_teacher"], **own} != general["every_teacher"]
    teacher = make_config("SASRecTeacher", "ml-100k", arguments=["--recipe=fast"])
    assert (teacher["recipe"], teacher["epochs"], teacher["normalize_items"]) == ("fast", 8, True)


def test_a_data_sets_file_is_of_use_for_another(tmp_path: Path) -> None:
    file = properties_folder() / "dataset" / "retailrocket.yaml"
    for model in ("GRU4RecTeacher", "GRU4Rec"):
        config = make_config(model, "ml-100k", config_files=[str(file)], config_dict={"loss_type": "CE"})
        assert (config["USER_ID_FIELD"], config["eval_batch_size"]) == ("session_id", 512)
    assert make_config("GRU4RecTeacher", "ml-100k", config_files=[str(file)])["item_skip_prob"] == 0.2
    assert not possible_keys("GRU4RecTeacher") & {"n_heads"}
