"""What a run is: precedence, recipes, teachers, and the same values as 0.1 had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from recbole_odrec.chosen_parts import owners_of
from recbole_odrec.config import make_config, properties_folder, teacher_config, teacher_configs
from recbole_odrec.config.layers import known_keys
from recbole_odrec.config.properties import recipe_properties
from recbole_odrec.config.resolve import resolve
from recbole_odrec.errors import UserError
from recbole_odrec.nn.product import is_quick_in_bfloat16
from recbole_odrec.registry import OUR_MODELS
from recbole_odrec.trainer import checkpoint

# Values of 0.1 for every data set and model, each teacher's among them, as differences from "base"; "-": no such key.
SNAPSHOT = json.loads((Path(__file__).parent / "resolved-0.1.json").read_text())
GIVEN = {
    "seed-7-wide": {"seed": 7, "hidden_size": 32, "learning_rate": 0.02, "epochs": 9},
    "paper": {"preset": "paper"},
}
TAUGHT_BY_RECBOLE = {"init_from_teacher": True, "temperature": 0.4}
NEW_KEYS = {"recipe", "teachers", "starts_from", "objectives", "dataset_save_path", "dataloaders_save_path"}
NEW_KEYS |= {"n_followers", "follower_gain", "exclude_seen", "score_memory", "sampled_items", "split_table"}
NEW_KEYS |= {"shuffle_buffer", "update_from", "update_budget"}
DECIDED_BY_DATA = {"MAX_ITEM_LIST_LENGTH": "auto"}  # was 50, or what the data set's file says


def _stored(name: str) -> dict[str, Any]:
    entry = dict(SNAPSHOT[name])
    gone = entry.pop("-", [])
    return {key: value for key, value in {**SNAPSHOT["base"], **entry}.items() if key not in gone}


@pytest.mark.parametrize("dataset", ["ml-100k", "tmall", "retailrocket", "another"])
def test_values_are_those_of_the_version_before(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbole_odrec.config.is_quick_in_bfloat16", lambda device: False)
    names = [name for name in SNAPSHOT if name.split()[1:2] == [dataset]]
    assert len(names) > 5
    for name in names:
        model, _, *rest = name.split()
        number = int(rest.pop()) if rest[-2:-1] == ["teacher"] else None
        what = rest[0] if rest and rest[0] != "teacher" else ""
        given = dict(GIVEN.get(what, {"teachers": [{"model": what, "epochs": 2}], **TAUGHT_BY_RECBOLE} if what else {}))
        if model in ("SASRec", "GRU4Rec", "CORE", "STAMP"):
            given["loss_type"] = "CE"
        if dataset == "another" and model in OUR_MODELS:  # which had no recipe then
            given.setdefault("recipe", given.get("preset", "none"))
        config, then = make_config(model, dataset, config_dict=given), _stored(name)
        if number is not None:
            entries = config["teachers"]
            weights = [entry.get("weight", 1) for entry in entries]
            assert weights[number - 1] / sum(weights) == pytest.approx(then.pop("share"))
            config = teacher_configs(config)[number - 1]
        now = {key: value for key, value in checkpoint.plain_config(config).items() if key not in NEW_KEYS}
        now = {key: value for key, value in now.items() if key not in ("data_path", "device")}
        now = {key: value for key, value in now.items() if DECIDED_BY_DATA.get(key, ()) != value}
        # What is not there any more belongs to a part that is not chosen, or is left to the data.
        assert now == {key: value for key, value in then.items() if key in now}, name
        assert all(owners_of(key) for key in then.keys() - now.keys() - DECIDED_BY_DATA.keys()), name


def test_what_is_given_goes_over_a_recipe_and_arguments_over_everything() -> None:
    Path("mine.yaml").write_text("epochs: 4\nlearning_rate: 1e-3\nkd_weight: 0.3\n")
    run = resolve("ODRec", "ml-100k", ["mine.yaml"], {"epochs": 5, "kd_weight": 0.4}, ["--epochs=6", "--preset=paper"])
    values = run.values
    assert (values["recipe"], values["readout"], values["train_batch_size"]) == ("paper", "soft_attention", 100)
    assert (values["epochs"], values["learning_rate"], values["kd_weight"]) == (6, 0.001, 0.4)
    assert make_config("ODRec", "ml-100k")["readout"] == "last"
    teacher = teacher_configs(make_config("ODRec", "ml-100k", config_dict={"recipe": "paper"}))[0]
    assert (teacher["readout"], teacher["train_batch_size"]) == ("soft_attention", 100)
    with pytest.raises(UserError, match="preset='paper', expected recipe='tmall'"):
        make_config("ODRec", "ml-100k", config_dict={"preset": "paper", "recipe": "tmall"})


def test_a_teacher_has_no_more_epochs_than_the_run_is_given_unless_its_entry_says_so() -> None:
    def epochs(dataset: str, **given: Any) -> list[int]:
        config = make_config("ODRec", dataset, config_dict=given)
        networks = [teacher for teacher in teacher_configs(config) if teacher["model"] != "ItemTransitions"]
        return [config["epochs"], *(teacher["epochs"] for teacher in networks)]

    assert epochs("new") == [6, 30]
    assert epochs("new", epochs=1) == [1, 1]
    assert epochs("new", epochs=40) == [40, 30]
    assert epochs("new", epochs=1, teachers=[{"epochs": 4}, {"model": "GRU4RecTeacher"}]) == [1, 4, 1]
    assert epochs("tmall") == [1, 3, 2]
    assert epochs("tmall", epochs=2) == [2, 2, 2]
    assert epochs("retailrocket", epochs=1) == [1, 1, 1]


def test_resolving_changes_nothing_that_it_is_given() -> None:
    given = {"teachers": [{"hidden_size": 256}], "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO"}}
    before = json.dumps(given)
    first = resolve("ODRec", "retailrocket", config_dict=given)
    make_config("ODRec", "retailrocket", config_dict=given)
    assert json.dumps(given) == before
    assert resolve("ODRec", "retailrocket", config_dict=given) == first


def test_scores_are_low_precision_where_that_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for quick, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("recbole_odrec.config.is_quick_in_bfloat16", lambda device, quick=quick: quick)
        config = make_config("ODRec", "retailrocket")
        assert (config["score_dtype"], make_config("ODRec", "new")["score_dtype"]) == (dtype, dtype)
        assert make_config("ODRec", "new", config_dict={"recipe": "none"})["score_dtype"] == "float32"
        assert {teacher["score_dtype"] for teacher in teacher_configs(config)} == {dtype}
        asked = make_config("SASRecTeacher", "retailrocket", config_dict={"score_dtype": "bfloat16"})
        assert asked["score_dtype"] == "bfloat16"
    with pytest.raises(UserError, match="score_dtype='float16', expected one of float32, bfloat16, auto"):
        make_config("ODRec", "tmall", config_dict={"score_dtype": "float16"})


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="asks Linux for the processor's flags")
def test_this_processor_is_quick_in_bfloat16_if_it_has_instructions_for_it() -> None:
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    has_instructions = bool({"amx_bf16", "avx512_bf16"} & set(flags.split()))
    says_so = hasattr(torch.cpu, "_is_avx512_bf16_supported")  # PyTorch 2.4 does not
    assert is_quick_in_bfloat16(torch.device("cpu")) == (has_instructions and says_so)


def test_the_users_teachers_go_over_what_the_recipe_says_of_every_teacher() -> None:
    config = make_config("ODRec", "retailrocket", config_dict={"teachers": [{"hidden_size": 256}]})
    of_recipe = yaml.safe_load((properties_folder() / "recipe/retailrocket.yaml").read_text())["every_teacher"]
    assert of_recipe["learning_rate"] != config["learning_rate"]
    assert config["teachers"] == [{"model": "SASRecTeacher", **of_recipe, "hidden_size": 256}]
    (teacher,) = teacher_configs(config)
    assert (teacher["learning_rate"], teacher["hidden_size"]) == (of_recipe["learning_rate"], 256)
    assert "attn_dropout_prob" in of_recipe  # which a network without attention has no use for
    (gru,) = teacher_configs(make_config("ODRec", "retailrocket", arguments=["--teacher=GRU4RecTeacher"]))
    assert (gru["hidden_dropout_prob"], gru["epochs"]) == (of_recipe["hidden_dropout_prob"], of_recipe["epochs"])
    of_run = make_config("ODRec", "retailrocket", config_dict={"attn_dropout_prob": 0.1, "hidden_dropout_prob": 0.1})
    assert teacher_config(of_run, "SASRecTeacher", {})["attn_dropout_prob"] == 0.1
    assert teacher_config(of_run, "GRU4RecTeacher", {})["hidden_dropout_prob"] == 0.1  # the other is no key of it


# ---------------------------------------------------------------------- the list of teachers


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        ("SASRecTeacher", "teachers='SASRecTeacher', expected a list such as "),
        ([], "teachers=[], expected a list"),
        ([3], "teachers=[3], expected a list"),
        ([{"model": 3}], "model of teacher 1=3, expected a word"),
        ([{}, {"model": "ODRec"}], "model of teacher 2='ODRec', expected another model: ODRec is the student"),
        ([{}, {"model": "SASRecTeach"}], "no model named `SASRecTeach` (did you mean `SASRecTeacher`?)"),
        ([{"weight": 0}], "weight of teacher 1=0, expected a number above 0"),
        ([{}, {"weight": True}], "weight of teacher 2=True, expected a number above 0"),
        ([{"hidden_sise": 8}], "unknown key `hidden_sise` for SASRecTeacher (did you mean `hidden_size`?)"),
        (
            [{"model": "GRU4RecTeacher", "n_heads": 2}],
            "n_heads belongs to encoder=sasrec, which is not chosen for GRU4",
        ),
        ([{"model": "GRU4Rec", "hidden_sise": 8}], "unknown key `hidden_sise` for GRU4Rec (did you mean"),
        ([{"epochs": "many"}], "epochs='many', expected a whole number from 1"),
        ([{"hidden_size": 0}], "hidden_size=0, expected a whole number of at least 1"),
        ([{"hidden_size": 10**9}], "hidden_size=1000000000, expected at most 65536"),
        ([{"learning_rate": -1}], "learning_rate=-1, expected a number above 0"),
        ([{"checkpoint": 3}], "checkpoint of teacher 1=3, expected a word"),
        ([{"checkpoint": "a.pth", "epochs": 3}], "teacher 1 is a file, which says what it is: leave epochs out"),
    ],
)
def test_nested_keys_are_checked_like_any_other(teachers: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        make_config("ODRec", "ml-100k", config_dict={"teachers": teachers})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_list_is_written_in_yaml_or_python_on_the_command_line() -> None:
    of_every_one = recipe_properties("general")["every_teacher"]
    expected = [{"model": "SASRecTeacher", **of_every_one, "hidden_size": 256}, {"checkpoint": "a/b.pth"}]
    for text in (
        "[{model: SASRecTeacher, hidden_size: 256}, {checkpoint: a/b.pth}]",
        "[{'model': 'SASRecTeacher', 'hidden_size': 256}, {'checkpoint': 'a/b.pth'}]",
    ):
        assert make_config("ODRec", "ml-100k", arguments=[f"--teachers={text}"])["teachers"] == expected
    short = make_config("ODRec", "ml-100k", arguments=["--teacher=GRU4RecTeacher"])
    known = known_keys("GRU4RecTeacher", "ml-100k")
    own = {key: value for key, value in of_every_one.items() if key in known}
    assert short["teachers"] == [{"model": "GRU4RecTeacher", **own}]
    assert own.keys() == of_every_one.keys() - {"attn_dropout_prob"}
    assert "teacher" not in short
    with pytest.raises(UserError, match="teacher and teachers are given"):
        make_config("ODRec", "ml-100k", arguments=["--teacher=GRU4RecTeacher", "--teachers=[{}]"])


@pytest.mark.parametrize(
    ("starts_from", "is_right"),
    [(1, True), (3, True), ("GRU4Rec", True), (0, False), (4, False), ("SASRecTeacher", False), (True, False)],
)
def test_where_the_student_starts_is_one_of_the_list(starts_from: object, is_right: bool) -> None:
    values = {"teachers": [{}, {"seed": 3}, {"model": "GRU4Rec"}], "starts_from": starts_from}
    if is_right:
        assert make_config("ODRec", "ml-100k", config_dict=values)["starts_from"] == starts_from
        return
    with pytest.raises(UserError, match="expected a whole number from 1 to 3, or a model that stands once"):
        make_config("ODRec", "ml-100k", config_dict=values)


@pytest.mark.parametrize(
    ("dataset", "old", "entries"),
    [
        ("ml-100k", {"n_teachers": 2}, [{"model": "SASRecTeacher"}] * 2),
        ("ml-100k", {"teacher_config": {"hidden_size": 256}}, [{"model": "SASRecTeacher", "hidden_size": 256}]),
        ("ml-100k", {"teacher": "CORE", "teacher_config": {"epochs": 2}}, [{"model": "CORE", "epochs": 2}]),
        ("ml-100k", {"teacher_checkpoint": "a.pth"}, [{"checkpoint": "a.pth"}]),
        (
            "ml-100k",
            {"teacher_checkpoint": ["a.pth", "b.pth"], "teacher_weights": [2, 1]},
            [{"checkpoint": "a.pth", "weight": 2}, {"checkpoint": "b.pth", "weight": 1}],
        ),
        (
            "ml-100k",
            {"second_teacher": {"repeat_scores": False, "weight": 0.5}, "teacher_config": {"epochs": 3}},
            [
                {"model": "SASRecTeacher", "epochs": 3, "repeat_scores": False, "weight": 0.5},
                {"model": "SASRecTeacher", "epochs": 3, "weight": 1.0},
            ],
        ),
        ("tmall", {"second_teacher": {}}, [{"model": "SASRecTeacher"}]),
        (
            "retailrocket",
            {"teacher": "SASRecTeacher"} | {"n_teachers": 1},
            [
                {"model": "SASRecTeacher", "repeat_scores": False, "normalize_items": True, "table_dropout_prob": 0.2},
                {"model": "SASRecTeacher"},
            ],
        ),
    ],
)
def test_keys_of_the_version_before_say_how_they_are_written_now(
    dataset: str, old: dict[str, Any], entries: list[dict[str, Any]]
) -> None:
    with pytest.raises(UserError) as error:
        make_config("ODRec", dataset, config_dict=old)
    text = str(error.value)
    assert "\n" not in text
    written = text.split('--teachers="')[1].split('" now')[0]
    assert yaml.safe_load(written) == entries
    kept = {key: value for key, value in old.items() if key == "model"}
    assert len(make_config("ODRec", dataset, config_dict=kept, arguments=[f"--teachers={written}"])["teachers"]) == len(
        entries
    )


@pytest.mark.parametrize(
    "old", [{"second_teacher": "GRU4RecTeacher"}, {"teacher_weights": [1, 2]}, {"n_teachers": "a"}, {"n_teachers": 0}]
)
def test_an_old_key_of_no_sense_is_not_written_as_another_list(old: dict[str, Any]) -> None:
    """A list without the teacher that was asked for would be the wrong advice."""
    with pytest.raises(UserError) as error:
        make_config("ODRec", "ml-100k", config_dict=old)
    ((key, value),) = old.items()
    text = str(error.value)
    assert text.startswith(f"{key}={value!r}: teachers are one list now, an entry each: teachers: [{{model: ")
    assert '--teachers="' not in text


@pytest.mark.parametrize("key", ["data_path", "topk", "MAX_ITEM_LIST_LENGTH", "gpu_id", "benchmark_filename"])
def test_a_teacher_cannot_differ_in_what_is_the_run_s(key: str) -> None:
    """Taken without effect before, or against the student's rows and metrics."""
    with pytest.raises(UserError, match=f"^teacher 2 cannot differ in {key}: leave it to the run itself"):
        make_config("ODRec", "ml-100k", config_dict={"teachers": [{"model": "SASRecTeacher"}, {key: [10]}]})
    entry = resolve("ODRec", "ml-100k", config_dict={"teachers": [{"seed": 5, "epochs": 2}]}).values["teachers"][0]
    assert (entry["seed"], entry["epochs"]) == (5, 2)
