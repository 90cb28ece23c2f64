from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_odrec import run
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.config import make_config
from recbole_odrec.errors import UserError
from recbole_odrec.model.adapter import ProductTeacher
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.quick_start import _prepare_data
from recbole_odrec.registry import model_class
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.teacher_plan import plan_teachers

ALIKE = {"model": "SASRecTeacher"}


@pytest.fixture
def settings(small_config) -> dict[str, object]:
    """Settings of a one-epoch run on ml-small."""
    config = small_config(epochs=1, train_batch_size=1024)
    return {**config.external_config_dict, "data_path": str(Path(config["data_path"]).parent), "epochs": 1}


@pytest.fixture
def go(settings):
    def start(**overrides: object) -> dict:
        return run("ODRec", "ml-small", config_dict={**settings, **overrides})

    return start


def test_a_teacher_is_reused_only_for_the_same_data_configuration_and_seed(go, caplog) -> None:
    with caplog.at_level(logging.INFO):
        first = go()
        assert "reusing" not in caplog.text
        second = go()
    assert "teacher: reusing" in caplog.text
    assert first["phases"]["teacher"]["source"] == "trained"
    assert second["phases"]["teacher"]["source"] == "cache"
    # The student does not notice: same seeds, same numbers.
    assert second["phases"]["student"]["test"] == first["phases"]["student"]["test"]
    assert second["phases"]["teacher"]["test"] == first["phases"]["teacher"]["test"]
    sources = [
        go(**changed)["phases"]["teacher"]["source"]
        for changed in ({"seed": 7}, {"learning_rate": 0.01}, {"MAX_ITEM_LIST_LENGTH": 10}, {"teacher_cache": False})
    ]
    assert sources == ["trained"] * 4
    # What concerns the student alone leaves the teacher as it is.
    assert go(kd_weight=0.5, compression_rate=3)["phases"]["teacher"]["source"] == "cache"


def test_a_cached_teacher_that_is_damaged_or_another_is_trained_anew(go, caplog) -> None:
    """The same numbers as without a cache, one line in the log, and a whole one in the cache afterwards."""
    first = go()["phases"]
    folder = next(Path("saved/teachers").iterdir())
    content = {name: (folder / name).read_bytes() for name in ("best.pth", "last.pth")}
    flipped = bytearray(content["best.pth"])
    flipped[len(flipped) // 2] ^= 4
    state = checkpoint.load(folder / "best.pth")
    narrow = {**state["state_dict"], "item_table.weight": torch.zeros(3)}
    cases = {
        "best.pth is not a readable recbole_odrec checkpoint": ("best.pth", bytes(flipped)),
        "last.pth is not a readable recbole_odrec checkpoint": ("last.pth", content["last.pth"][:-9]),
        "is of other model than asked for": ("best.pth", {**state, "model": "GRU4RecTeacher"}),
        "is of other items than asked for": ("best.pth", {**state, "items": "0" * 12}),
        "is of another model: its weight `item_table.weight` is [3] of ": (
            "best.pth",
            {**state, "state_dict": narrow},
        ),
    }
    for message, (name, damage) in cases.items():
        if isinstance(damage, bytes):
            (folder / name).write_bytes(damage)
        else:
            checkpoint.save(folder / name, damage)
        caplog.clear()
        again = go()["phases"]
        lines = [record.getMessage() for record in caplog.records if "trained anew" in record.getMessage()]
        assert len(lines) == 1
        assert message in lines[0]
        assert "\n" not in lines[0]
        assert again["teacher"]["source"] == "trained"
        assert [again[phase]["test"] for phase in again] == [first[phase]["test"] for phase in first]
    assert go()["phases"]["teacher"]["source"] == "cache"


def test_who_asks_for_bfloat16_where_it_is_slow_is_told_so(go, caplog, monkeypatch: pytest.MonkeyPatch) -> None:
    for is_quick in (True, False):
        monkeypatch.setattr("recbole_odrec.phases.is_quick_in_bfloat16", lambda device, quick=is_quick: quick)
        go(score_dtype="bfloat16")
        assert ("score_dtype=bfloat16 is emulated on this device" in caplog.text) != is_quick


def test_a_teacher_checkpoint_serves_without_training(go) -> None:
    first = go(teachers=[{"model": "GRU4RecTeacher", "hidden_size": 24}])
    path = first["phases"]["teacher"]["checkpoint"]
    second = go(teachers=[{"checkpoint": path}])
    assert second["phases"]["teacher"]["source"] == "checkpoint"
    assert second["phases"]["teacher"]["model"] == "GRU4RecTeacher"
    assert second["phases"]["teacher"]["test"] == first["phases"]["teacher"]["test"]


def test_followers_are_the_students_own(go, settings) -> None:
    """A teacher has none; one that was trained alone with some teaches, and is reported, without them."""
    values = {key: value for key, value in settings.items() if key != "compression_rate"}
    plain, alone = (run("SASRecTeacher", "ml-small", config_dict={**values, "n_followers": n}) for n in (0, 2))
    assert alone["phases"]["model"]["test"]["all"] != plain["phases"]["model"]["test"]["all"]
    phases = go(n_followers=2, table="codes", init_from_teacher=True)["phases"]
    teacher, student = (checkpoint.load(Path(phase["checkpoint"]))["state_dict"] for phase in phases.values())
    assert not any(name.startswith("followers") for name in teacher)
    assert student["followers.strengths"].any(1)[1:].float().mean() > 0.9
    of_file = go(teachers=[{"checkpoint": alone["phases"]["model"]["checkpoint"]}])["phases"]["teacher"]
    assert of_file["test"]["all"] == plain["phases"]["model"]["test"]["all"]
    with pytest.raises(UserError, match="teacher 1: followers are a student's, and teach nothing"):
        go(teachers=[{"n_followers": 2}])


def test_a_file_without_younger_keys_has_plain_defaults_whatever_the_recipe(go) -> None:
    """Not those of the recipe that the run has, and data sets have."""
    first = go(teachers=[{"model": "SASRecTeacher"}])["phases"]["teacher"]
    older = checkpoint.load(Path(first["checkpoint"]))
    for key in ("normalize_items", "table_dropout_prob", "repeat_scores", "n_followers"):
        del older["config"][key]
    checkpoint.save(Path("older.pth"), older)
    again = go(recipe="general", table="tensor_train", teachers=[{"checkpoint": "older.pth"}])["phases"]["teacher"]
    assert again["test"]["all"] == first["test"]["all"]
    manifest = export_bundle(Path("older.pth"), "out", "fp32")
    assert manifest["parity"]["fp32"]["ndcg_pytorch"] == pytest.approx(first["test"]["all"]["ndcg@10"], abs=1e-9)


def test_a_run_goes_on_with_the_teacher_that_it_had_wherever_that_lies(go, settings, tmp_path: Path) -> None:
    teachers = [Path(go(seed=seed)["phases"]["teacher"]["checkpoint"]) for seed in (1, 2)]
    values = {**settings, "checkpoint_dir": str(tmp_path / "taught")}
    first = run("ODRec", "ml-small", config_dict={**values, "teachers": [{"checkpoint": str(teachers[0])}]})
    Path(first["path"]).unlink()  # as if it had been interrupted
    with pytest.raises(UserError, match="nothing to resume"):
        run("ODRec", "ml-small", config_dict={**values, "teachers": [{"checkpoint": str(teachers[1])}]}, resume=True)
    moved = teachers[0].rename(tmp_path / "moved.pth")
    again = run("ODRec", "ml-small", config_dict={**values, "teachers": [{"checkpoint": str(moved)}]}, resume=True)
    assert again["path"] == first["path"]
    assert again["phases"]["student"]["test"] == first["phases"]["student"]["test"]


def test_several_teachers_are_one_of_mean_scores(go, settings, caplog) -> None:
    """Each is the teacher that a run of its own seed trains; trained once, reused by whoever asks for it."""
    with caplog.at_level(logging.INFO):
        several = go(teachers=[ALIKE] * 3, seed=5, contrastive_weight=0.2, predictive_weight=0.001)["phases"]
    members = several["teacher"]["members"]
    assert [member["source"] for member in members] == ["trained"] * 3
    assert [member["seed"] for member in members] == [5, 6, 7]
    assert not several["teacher"].keys() & {"best_epoch", "losses", "checkpoint", "source"}
    singles = [go(seed=seed)["phases"]["teacher"] for seed in (5, 6, 7)]
    assert [single["source"] for single in singles] == ["cache"] * 3
    for member, single in zip(members, singles, strict=True):
        assert {key: member[key] for key in ("model", "best_epoch", "losses")} == {
            key: single[key] for key in ("model", "best_epoch", "losses")
        }
        assert Path(member["checkpoint"]).is_file()
    assert several["teacher"]["seconds"] == pytest.approx(sum(member["seconds"] for member in members), abs=0.01)
    assert several["teacher"]["parameters"]["total"] == 3 * singles[0]["parameters"]["total"]
    assert several["teacher"]["parameters"]["item_table_bytes"] == 3 * singles[0]["parameters"]["item_table_bytes"]
    # The oracle: the mean of their scores, ranked by hand.
    files = [{"checkpoint": single["checkpoint"]} for single in singles]
    config = make_config("ODRec", "ml-small", config_dict={**settings, "teachers": files})
    train, _, test = _prepare_data(config, True)
    plans = plan_teachers(config, train)
    rows = test._dataset[torch.arange(len(test._dataset))]
    with torch.no_grad():
        scores = sum(plan.model.eval().full_sort_predict(rows) for plan in plans) / 3
    scores[:, 0] = -torch.inf
    rank = (scores > scores.gather(1, rows["item_id"].unsqueeze(1))).sum(1)
    assert several["teacher"]["test"]["all"]["recall@20"] == pytest.approx((rank < 20).double().mean().item(), abs=1e-9)
    assert several["teacher"]["test"] != singles[0]["test"]
    # The same three as files.
    again = run("ODRec", "ml-small", config_dict={**settings, "teachers": files})["phases"]["teacher"]
    assert [member["source"] for member in again["members"]] == ["checkpoint"] * 3
    assert again["test"] == several["teacher"]["test"]


def test_each_teacher_of_the_list_differs_in_what_is_said_and_one_starts_the_student(go, settings, monkeypatch) -> None:
    teachers = [
        {"model": "SASRecTeacher", "repeat_scores": False, "readout": "last", "weight": 0.5},
        {"repeat_scores": True},
        {"repeat_scores": True, "weight": 2},
        {"model": "GRU4Rec", "dropout_prob": 0.2, "seed": 9},
    ]
    config = make_config("ODRec", "ml-small", config_dict={**settings, "teachers": teachers})
    train, _, _ = _prepare_data(config, True)
    plans = plan_teachers(config, train)
    seed = config["seed"]
    assert [(type(plan.model).__name__, plan.share, plan.config["seed"], plan.phase) for plan in plans] == [
        ("SASRecTeacher", 0.5, seed, "teacher"),
        ("SASRecTeacher", 1, seed, "teacher-2"),
        ("SASRecTeacher", 2, seed + 1, "teacher-3"),
        ("GRU4Rec", 1, 9, "teacher-4"),
    ]
    assert [plan.model.repeat is None for plan in plans[:3]] == [True, False, False]
    assert [plan.config["readout"] for plan in plans[:3]] == ["last", "soft_attention", "soft_attention"]
    started = []
    monkeypatch.setattr(
        "recbole_odrec.trainer.distillation.start_from_teacher", lambda student, first, **_: started.append(first)
    )
    two = [{"model": "SASRecTeacher"}, {"model": "GRU4RecTeacher"}]
    for starts_from, name in ((1, "SASRecTeacher"), (2, "GRU4RecTeacher"), ("GRU4RecTeacher", "GRU4RecTeacher")):
        result = go(teachers=two, starts_from=starts_from)
        assert type(started.pop()).__name__ == name
        assert [member["model"] for member in result["phases"]["teacher"]["members"]] == [
            "SASRecTeacher",
            "GRU4RecTeacher",
        ]


def test_a_run_killed_in_its_second_teacher_goes_on_there(go, settings) -> None:
    first = go(teachers=[ALIKE] * 2, teacher_cache=False)
    folder = Path(first["path"]).parent
    Path(first["path"]).unlink()
    written = (folder / "teacher" / "best.pth").stat().st_mtime_ns
    for phase in ("teacher-2", "student"):
        shutil.rmtree(folder / phase)
    values = {**settings, "teachers": [ALIKE] * 2, "teacher_cache": False}
    again = run("ODRec", "ml-small", config_dict=values, resume=True)
    assert (folder / "teacher" / "best.pth").stat().st_mtime_ns == written
    for phase in ("teacher", "student"):
        assert again["phases"][phase]["test"] == first["phases"][phase]["test"]


@pytest.mark.parametrize(("with_repeats", "weights"), [((True, True), None), ((True, False), [1, 2, 0.5])])
def test_training_scores_of_an_ensemble_are_the_mean_of_its_members(small_config, with_repeats, weights) -> None:
    """SASRec beside GRU, of different widths, one of them perhaps without repeat scores; CORE scores by a scale."""
    config = small_config("SASRecTeacher")
    train, _, _ = _prepare_data(config, True)
    kinds = [("SASRecTeacher", 16, with_repeats[0]), ("GRU4RecTeacher", 24, with_repeats[1])]
    members = []
    for model, width, repeats in kinds:
        member = small_config(model, hidden_size=width, repeat_scores=repeats)
        members.append(model_class(model)(member, train._dataset).eval())
        for parameter in members[-1].parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    core = small_config("CORE", embedding_size=16, loss_type="CE", train_neg_sample_args=None)
    members.append(ProductTeacher(model_class("CORE")(core, train._dataset)).eval())
    batch = next(iter(train))
    with torch.no_grad():
        expected = 0
        shares = np.array(weights or [1, 1, 1]) / sum(weights or [1, 1, 1])
        for share, member in zip(shares, members, strict=True):
            cases = member.training_cases(batch)
            scores = member.item_table.scores(cases.case_repr)
            expected = expected + share * (scores if cases.added is None else scores.scatter_add(1, *cases.added))
        ensemble = TeacherEnsemble(members, weights)
        cases = ensemble.training_cases(batch)
        scores = ensemble.item_table.scores(cases.case_repr).scatter_add(1, *cases.added)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    assert cases.case_repr.shape[1] == ensemble.hidden_size == 16 + 24 + 16


def test_a_teacher_of_longer_sessions_serves_shorter_ones(go) -> None:
    path = go()["phases"]["teacher"]["checkpoint"]
    assert go(teachers=[{"checkpoint": path}], MAX_ITEM_LIST_LENGTH=10)["phases"]["teacher"]["source"] == "checkpoint"
    with pytest.raises(UserError, match="at most 20 items, this run has MAX_ITEM_LIST_LENGTH=30"):
        go(teachers=[{"checkpoint": path}], MAX_ITEM_LIST_LENGTH=30)


def test_an_unusable_checkpoint_is_refused_before_anything_is_trained(go, tmp_path: Path) -> None:
    good = Path(go()["phases"]["teacher"]["checkpoint"])
    cases = {
        "missing.pth": (None, "does not exist"),
        "truncated.pth": (good.read_bytes()[:-2000], "not a readable"),
        "text.pth": (b"not a checkpoint", "not a readable"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            go(teachers=[{"checkpoint": str(tmp_path / name)}])
    state = checkpoint.load(good)
    torch.save({**state, "format": "another"}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not a checkpoint of this version"):
        go(teachers=[{"checkpoint": str(tmp_path / "other.pth")}])
    checkpoint.save(tmp_path / "items.pth", {**state, "items": "000000000000"})
    with pytest.raises(UserError, match="trained on another item set"):
        go(teachers=[{"checkpoint": str(tmp_path / "items.pth")}])
    own = {"hidden_size": -1, "readout": "evil:Readout", "MAX_ITEM_LIST_LENGTH": 10**30}
    expected = {
        "hidden_size": "hidden_size=-1, expected a whole number of at least 1",
        "readout": "names readout='evil:Readout', and importing that runs its code: if you trust it, name it too, {",
        "MAX_ITEM_LIST_LENGTH": f"holds MAX_ITEM_LIST_LENGTH={10**30}, expected one of auto or a whole number from 1",
    }
    for key, value in own.items():
        checkpoint.save(tmp_path / "odd.pth", {**state, "config": {**state["config"], key: value}})
        with pytest.raises(UserError, match=re.escape(expected[key])):
            go(teachers=[{"checkpoint": str(tmp_path / "odd.pth")}])
    checkpoint.save(tmp_path / "odd.pth", {**state, "config": {**state["config"], "readout": "evil:Readout"}})
    with pytest.raises(UserError, match="readout='evil:Readout' cannot be imported"):
        go(teachers=[{"checkpoint": str(tmp_path / "odd.pth"), "parts": ["evil:Readout"]}])
    checkpoint.save(tmp_path / "odd.pth", {**state, "state_dict": {}})
    with pytest.raises(UserError, match="is of another model: it has no weight"):
        go(teachers=[{"checkpoint": str(tmp_path / "odd.pth")}])


def test_a_pickle_is_never_executed(go, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"format": checkpoint.FORMAT, "state_dict": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(UserError, match="not a readable"):
        go(teachers=[{"checkpoint": str(tmp_path / "bomb.pth")}])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("teacher", ["SASRec", "STAMP", "CORE"])
def test_recboles_models_teach(go, teacher: str) -> None:
    result = go(teachers=[{"model": teacher, "train_batch_size": 1024}])
    assert result["phases"]["teacher"]["model"] == teacher
    assert result["phases"]["teacher"]["parameters"]["compression_rate"] == 1
    losses = result["phases"]["student"]["losses"][0]
    assert losses["soft_targets"] > 0
    assert losses["contrastive"] > 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher": "BPR"}, "BPR cannot be the teacher"),
        ({"teacher": "Caser"}, "Caser cannot be the teacher"),
        ({"teacher": "SASRecc"}, "no model named `SASRecc` \\(did you mean `SASRec`"),
        ({"teachers": [{"hidden_sise": 8}]}, "unknown key `hidden_sise` for SASRecTeacher .*`hidden_size`"),
        (
            {"teachers": [{"model": "GRU4Rec", "hidden_sise": 8}]},
            "unknown key `hidden_sise` for GRU4Rec .*`hidden_size`",
        ),
        ({"teachers": [{"hidden_size": 15, "n_heads": 2}]}, "n_heads=2, expected a divisor"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused_before_training(go, changed: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        go(**changed)
    assert "\n" not in str(error.value)
