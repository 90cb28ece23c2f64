"""A student that goes on from the one that is out there: only whole numbers move, as far as their bytes pay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import ML_100K, TINY_RUN

from recbole_odrec.bundle import Recommender
from recbole_odrec.bundle.delta_maker import write_delta
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.bundle.manifest import read_manifest
from recbole_odrec.bundle.source import load_source
from recbole_odrec.bundle.user_weights import _space
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.errors import UserError
from recbole_odrec.model import ODRec
from recbole_odrec.nn.tables.rounded import STEPS
from recbole_odrec.quick_start import run
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.student_update import StudentUpdate

OF_STUDENT = {"init_from_teacher": True, "n_followers": 2, "seed": 1, "compression_rate": 2}
TABLES = {
    "codes": {"table": "codes"},
    "4 bits": {"table": "rounded", "bits": 4},
    "8 bits": {"table": "rounded", "bits": 8},
}
BUDGETS = {"codes": 5200, "4 bits": 4500, "8 bits": 5200}
# What grows with the items, and what an update's student has beside the state of another.
GROWS = {"item_table.codes", "item_table.weight", "followers.items", "followers.strengths"}
HELD = "item_table.held_steps"


@pytest.fixture(scope="session", params=[*TABLES])
def kind(request: pytest.FixtureRequest) -> str:
    """Of what its items are made."""
    return request.param


@pytest.fixture(scope="session")
def old(train, kind: str) -> Path:
    """Checkpoint of the student that is out there."""
    return Path(train("ODRec", **OF_STUDENT, **TABLES[kind])["phases"]["student"]["checkpoint"])


@pytest.fixture(scope="session")
def grown_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `ml-grown`: 30 more users, at the head of the file, so that RecBole would number items anew."""
    folder = tmp_path_factory.mktemp("grown") / "ml-grown"
    folder.mkdir()
    header, *lines = (ML_100K / "ml-100k.inter").read_text().splitlines()
    kept = sorted(
        (line for line in lines if int(line.split("\t")[0]) <= 150), key=lambda line: -int(line.split("\t")[0])
    )
    (folder / "ml-grown.inter").write_text("\n".join([header, *kept]) + "\n")
    return folder.parent


@pytest.fixture(scope="session")
def settings(grown_data: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    here = {"data_path": str(grown_data), "checkpoint_dir": str(tmp_path_factory.mktemp("updates"))}  # teachers too
    taught = {"teachers": [{"model": "SASRecTeacher", "epochs": 1}], "learning_rate": 0.01}
    moves = {"move_codes_every": 3} if kind == "codes" else {}
    return {**TINY_RUN, **OF_STUDENT, **TABLES[kind], **here, **taught, **moves}


@pytest.fixture(scope="session")
def update(old: Path, kind: str, settings) -> dict:
    """Result of an update within the budget."""
    return run("ODRec", "ml-grown", config_dict={**settings, "update_from": str(old), "update_budget": BUDGETS[kind]})


@pytest.fixture(scope="session")
def updated(update: dict) -> Path:
    """Its checkpoint."""
    return Path(update["phases"]["student"]["checkpoint"])


def weights(path: Path | str) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(Path(path))["state_dict"]


def numbers(path: Path | str) -> torch.Tensor:
    """The whole numbers of a student, by their definition."""
    state = weights(path)
    if "item_table.codes" in state:
        return state["item_table.codes"]
    rows, bits = state["item_table.weight"], checkpoint.load_model(Path(path))["config"]["bits"]
    steps, most = state.get(HELD, STEPS[bits] * rows.square().mean(0).sqrt()), 2 ** (bits - 1) - 1
    return (rows / steps).round().clamp(-most, most).to(torch.int8)


@pytest.fixture(scope="session")
def bundles(old: Path, updated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Both students' bundles in int8; the old checkpoint is not there any more when the new one is exported."""
    folder = tmp_path_factory.mktemp("bundles")
    export_bundle(old, folder / "old", "int8", max_ndcg_loss=1.0)
    aside = old.with_name("aside.pth")
    old.rename(aside)
    try:
        export_bundle(updated, folder / "new", "int8", max_ndcg_loss=1.0)
    finally:
        aside.rename(old)
    return folder / "old", folder / "new"


# ---------------------------------------------------------------------- what stays, what moves


def test_only_numbers_move_and_items_keep_their_ids(old: Path, updated: Path) -> None:
    before, after = weights(old), weights(updated)
    steps = after.pop(HELD, None)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before if name not in GROWS)
    if steps is not None:
        bits = checkpoint.load_model(old)["config"]["bits"]
        assert torch.equal(steps, STEPS[bits] * before["item_table.weight"].square().mean(0).sqrt())
        assert torch.equal(after["item_table.weight"], numbers(updated) * steps)
    assert before["followers.gain"] > 0
    for name in ("followers.items", "followers.strengths"):
        assert torch.equal(before[name], after[name][: len(before[name])])
        assert after[name][len(before[name]) :].any(1).float().mean() > 0.9
    tokens, now = checkpoint.item_tokens(old), checkpoint.item_tokens(updated)
    assert now[: len(tokens)] == tokens
    assert len(now) > len(tokens) + 20
    first, second = numbers(old), numbers(updated)
    assert (len(second), second.shape[1]) == (len(now) + 1, first.shape[1])
    assert 100 < (first != second[: len(first)]).sum() < 0.2 * first.numel()


def test_everything_else_of_the_bundle_is_the_same_bit_for_bit(bundles) -> None:
    before, after = (
        {tensor.name: tensor for tensor in onnx.load(folder / "model.onnx").graph.initializer} for folder in bundles
    )
    others = {name for name in before if name not in after or before[name].raw_data != after[name].raw_data}
    sizes = {name for name in others if before[name].data_type == onnx.TensorProto.INT64}  # of items, in shapes
    items = "codes" if "codes" in before else "item_table"
    assert others - sizes == {items, "followers.ids", "followers.strengths"}
    large = [name for name, tensor in before.items() if tensor.data_type == onnx.TensorProto.INT8]
    assert len(large) > 4
    assert all(np.prod(before[name].dims) < 5 for name in sizes)


def test_what_devices_keep_of_their_users_goes_on(old: Path, updated: Path) -> None:
    """Sessions become vectors in the space they were in."""
    assert _space(load_source(old).model) == _space(load_source(updated).model)


def test_the_delta_keeps_to_its_budget_and_uses_it(bundles, kind: str, update: dict, tmp_path: Path) -> None:
    delta, budget = tmp_path / "new.delta", BUDGETS[kind]
    write_delta(*bundles, delta)
    assert 0.8 * budget < delta.stat().st_size <= budget
    told = update["phases"]["student"]["update"]
    assert 0.98 * budget < told["bytes"] <= budget == told["budget"]
    recommender = Recommender(bundles[0])
    new_item = Recommender(bundles[1]).tokens[read_manifest(bundles[0])["n_items"] + 1]
    assert recommender.tokens.find(new_item) == 0
    recommender.update(delta)
    assert recommender.recommend([new_item]).unknown == ()


def test_what_a_run_says_of_its_update_is_so(old: Path, updated: Path, update: dict) -> None:
    first, second = numbers(old), numbers(updated)
    told = update["phases"]["student"]["update"]
    assert told["moved"] == int((first != second[: len(first)]).sum())
    assert (told["whole_numbers"], told["new_items"]) == (first.numel(), len(second) - len(first))


def test_the_numbers_that_moved_lower_the_loss(old: Path, updated: Path, settings) -> None:
    """NDCG on 150 cases is noise; the loss over all training cases, with numbers as they are kept, is not."""
    from recbole_odrec.config import make_config
    from recbole_odrec.data.window_loader import SessionWindowLoader

    config = make_config("ODRec", "ml-grown", config_dict={**settings, "update_from": str(old)})
    data = SessionDataset(config).build()[0]
    loader, losses = SessionWindowLoader(config, data), []
    for path in (None, updated):
        model = ODRec(config, data).eval()
        begun = StudentUpdate(config, model)
        if path is not None:
            begun.numbers.set(numbers(path))
        loader.generator.manual_seed(0)
        with torch.no_grad():
            losses.append(float(np.mean([model.calculate_loss(batch) for batch in loader])))
    stale, bounded = losses
    assert bounded < stale - 0.003, losses


# ---------------------------------------------------------------------- which numbers go back


@pytest.fixture
def begun(old: Path, settings) -> StudentUpdate:
    from recbole_odrec.config import make_config

    given = {"update_from": str(old), "update_budget": 1}
    config = make_config("ODRec", "ml-grown", config_dict={**settings, **given})
    return StudentUpdate(config, ODRec(config, SessionDataset(config).build()[0]))


def test_numbers_that_gain_most_stay_and_those_that_lose_never_do(begun: StudentUpdate, monkeypatch) -> None:
    last = len(begun.start) - 1
    begun.follow(None)
    assert torch.equal(begun.numbers.now(), begun.start)  # where it begins nothing moves, whatever entries are alike
    wanted = {(1, 0): -4.0, (2, 1): 1.0, (3, 0): -2.0, (4, 1): -3.0, (last, 0): -1.5}  # what a step changes the loss by
    moved, values = begun.start.clone(), begun.numbers.values(begun.start)
    gradient = torch.zeros(*begun.start.shape, values.shape[1] // begun.start.shape[1])
    for (item, number), change in wanted.items():
        other = begun.start.clone()
        other[item, number] = 3 if other[item, number] != 3 else 4
        step = (begun.numbers.values(other) - values).view_as(gradient)
        assert step.any(2).nonzero().tolist() == [[item, number]]  # each stands for entries of its own
        gradient += change * step / step.square().sum()
        moved[item, number] = other[item, number]
    begun.numbers.set(moved)
    monkeypatch.setattr(begun, "n_bytes", lambda numbers: int((numbers != begun.start).sum()))
    begun.budget = 3
    begun.fit_budget(lambda: gradient.flatten(1))
    stayed = {tuple(place) for place in (begun.numbers.now() != begun.start).nonzero().tolist()}
    assert stayed == {(1, 0), (4, 1), (last, 0)}  # a new item's number is worth three times its gain: it takes a third


def test_the_gradient_by_the_full_table_is_that_of_its_values(begun: StudentUpdate, kind: str) -> None:
    """Of what the numbers stand for, with rows made of it by hand: what gains are worked out from."""
    table, ids = begun.numbers.table, torch.tensor([[1, 5, 0], [5, len(begun.start) - 1, 2]])
    latent, query, columns = begun.follow(None), torch.randn(4, table.embedding_dim), slice(3, 40)
    weight, of_ids = torch.randn(4, table.n_items), torch.randn(2, 3, table.embedding_dim)
    weight[:, 0] = 0  # padding's raw scores may be anything
    values = begun.numbers.values(begun.start).requires_grad_()
    rows = values if kind == "codes" else values @ table.rounded_projection()
    rows = rows * (torch.arange(len(rows)) != 0).unsqueeze(1)
    tile = table.tile_scores(query, columns, table.tile_of(table.trained(), columns))
    for found, expected in (
        ((table.raw_scores(query) * weight).sum(), (query @ rows.T * weight).sum()),
        ((tile * weight[:, columns]).sum(), (query @ rows[columns].T * weight[:, columns]).sum()),
        ((table(ids) * of_ids).sum(), (rows[ids] * of_ids).sum()),
    ):
        torch.testing.assert_close(found, expected)
        (ours,), (oracle,) = (
            torch.autograd.grad(loss, by, retain_graph=True) for loss, by in ((found, latent), (expected, values))
        )
        assert oracle.any()
        torch.testing.assert_close(ours, oracle)


def test_what_is_measured_is_what_travels(begun: StudentUpdate, updated: Path, bundles) -> None:
    """The numbers as they are measured are those of the bundle, byte by byte."""
    (stored,) = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(bundles[1] / "model.onnx").graph.initializer
        if tensor.name in ("codes", "item_table")
    ]
    assert np.array_equal(begun.numbers.shipped(numbers(updated)), stored)


def test_new_items_begin_where_the_teacher_has_them(begun: StudentUpdate) -> None:
    """A teacher whose rows are the student's, turned around, has its new items where the student would."""
    drawn, table = torch.Generator().manual_seed(0), begun.numbers.table
    n_old, width = begun.n_old, table.embedding_dim
    rows, values = table.to_matrix(), begun.numbers.values(begun.start)
    turn = torch.linalg.qr(torch.randn(width, width, generator=drawn)).Q
    new = rows[5:6].expand(len(rows) - n_old, -1)
    begun.follow(torch.cat([rows[:n_old], new]) @ turn)
    latent = begun.latent.detach()
    assert torch.allclose(latent[1:n_old], values[1:n_old])
    assert (latent[n_old:] - values[5]).norm() < 0.05 * values[5].norm() * len(new) ** 0.5
    assert (table(torch.tensor([n_old])) - rows[5:6]).norm() < 0.1 * rows[5].norm()


# ---------------------------------------------------------------------- a table as large as before, an exact resume


def test_rows_keep_their_numbers_whatever_rate_is_asked_for(old: Path, settings) -> None:
    given = {**settings, "compression_rate": 5, "update_from": str(old)}
    result = run("ODRec", "ml-grown", config_dict=given)
    student = result["phases"]["student"]
    assert numbers(student["checkpoint"]).shape[1] == numbers(old).shape[1]
    assert "update_from" in result["config"]["decided"]["compression_rate"]


def test_a_run_that_was_interrupted_ends_alike(old: Path, kind: str, settings) -> None:
    class KilledError(Exception):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    given = {**settings, "epochs": 2, "update_from": str(old), "update_budget": BUDGETS[kind]}
    whole = run("ODRec", "ml-grown", config_dict=given)
    with pytest.raises(KilledError):
        run("ODRec", "ml-grown", config_dict=given, on_validation=kill)
    resumed = run("ODRec", "ml-grown", config_dict=given, resume=True)
    ends = [weights(Path(result["path"]).parent / "student" / "last.pth") for result in (whole, resumed)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_an_update_goes_on_from_an_update(updated: Path, bundles, settings, tmp_path: Path) -> None:
    """Nothing moves where nothing may: what travels is what every delta has."""
    given = {**settings, "update_from": str(updated), "learning_rate": 1e-12, "average_decay": 0.9}
    again = run("ODRec", "ml-grown", config_dict=given)["phases"]["student"]
    assert again["update"]["moved"] == again["update"]["new_items"] == 0
    before, after = weights(updated), weights(again["checkpoint"])
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert _space(load_source(updated).model) == _space(load_source(Path(again["checkpoint"])).model)
    export_bundle(Path(again["checkpoint"]), tmp_path / "again", "int8", max_ndcg_loss=1.0)
    header = write_delta(bundles[1], tmp_path / "again", tmp_path / "again.delta")
    assert header["files"]["model.onnx"]["payload"] == 0
    assert (tmp_path / "again.delta").stat().st_size < 1300


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("kind", ["codes"], indirect=True, scope="session")
@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"table": "tensor_train", "move_codes_every": None},
            "for table=codes or table=rounded, not SemiTensorTrainEmbedding, every number of which moves",
        ),
        (
            {"table": "rounded", "move_codes_every": None},
            "expected codes as update_from=.*: --table=codes",
        ),
        ({"follower_gain": 9}, "follower_gain=9: an update keeps that of update_from"),
        ({"n_followers": 4}, "n_followers=4, expected 2 as update_from="),
        ({"move_codes_every": 0}, "move_codes_every=0, expected at least 1 with update_from"),
        ({"hidden_size": 8}, "is of another model: its weight"),
        ({"update_from": "none.pth"}, "checkpoint none.pth does not exist"),
        ({"update_budget": -1}, "update_budget=-1, expected"),
        ({"update_budget": 1999}, r"update_budget=1999 cannot be kept: 31 new items .* take 2,\d\d\d bytes where"),
    ],
)
def test_what_cannot_be_updated_is_one_line_and_nothing_is_written(old: Path, settings, given, line: str) -> None:
    values = {**settings, "update_from": str(old), "checkpoint_dir": "saved", **given}
    values = {key: value for key, value in values.items() if value is not None}
    with pytest.raises(UserError, match=line):
        run("ODRec", "ml-grown", config_dict=values)
    assert not list(Path("saved").rglob("*.pth"))


@pytest.mark.parametrize("kind", ["4 bits"], indirect=True, scope="session")
def test_bits_are_those_of_the_student_out_there(old: Path, settings) -> None:
    with pytest.raises(UserError, match=r"bits=8, expected 4 as update_from=.*: --bits=4"):
        run("ODRec", "ml-grown", config_dict={**settings, "update_from": str(old), "bits": 8})


@pytest.mark.parametrize("kind", ["codes"], indirect=True, scope="session")
def test_a_student_of_another_table_cannot_be_updated(train, settings) -> None:
    student = train("ODRec", item_order="teacher", init_from_teacher=True)["phases"]["student"]["checkpoint"]
    with pytest.raises(UserError, match="is no student of table=codes or table=rounded, whose whole numbers alone"):
        run("ODRec", "ml-grown", config_dict={**settings, "update_from": student})


@pytest.mark.parametrize("kind", ["codes"], indirect=True, scope="session")
def test_a_checkpoint_without_items_is_refused(old: Path, settings) -> None:
    state = checkpoint.load_model(old)
    checkpoint.save(Path("old.pth"), {key: value for key, value in state.items() if key != "tokens"})
    with pytest.raises(UserError, match="does not say which items it is of"):
        run("ODRec", "ml-grown", config_dict={**settings, "update_from": "old.pth"})
