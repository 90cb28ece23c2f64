"""A student that goes on from the one that is out there: only codes move, as far as their bytes pay."""

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
from recbole_odrec.quick_start import run
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.student_update import CODES, StudentUpdate

OF_CODES = {"table": "codes", "init_from_teacher": True, "n_followers": 2, "seed": 1}
BUDGET = 5200


@pytest.fixture(scope="session")
def old(train) -> Path:
    """Checkpoint of the student that is out there."""
    return Path(train("ODRec", **OF_CODES)["phases"]["student"]["checkpoint"])


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
def settings(grown_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    here = {"data_path": str(grown_data), "checkpoint_dir": str(tmp_path_factory.mktemp("updates"))}  # teachers too
    taught = {"teachers": [{"model": "SASRecTeacher", "epochs": 1}], "learning_rate": 0.01, "move_codes_every": 3}
    return {**TINY_RUN, **OF_CODES, **here, **taught, "compression_rate": 2}


@pytest.fixture(scope="session")
def updated(old: Path, settings) -> Path:
    """Checkpoint of an update within the budget."""
    result = run("ODRec", "ml-grown", config_dict={**settings, "update_from": str(old), "update_budget": BUDGET})
    return Path(result["phases"]["student"]["checkpoint"])


def weights(path: Path | str) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(Path(path))["state_dict"]


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


def test_only_codes_move_and_items_keep_their_ids(old: Path, updated: Path) -> None:
    before, after = weights(old), weights(updated)
    assert before.keys() == after.keys()
    grow = {CODES, "followers.items", "followers.strengths"}
    assert all(torch.equal(before[name], after[name]) for name in before if name not in grow)
    assert before["followers.gain"] > 0
    for name in grow - {CODES}:
        assert torch.equal(before[name], after[name][: len(before[name])])
        assert after[name][len(before[name]) :].any(1).float().mean() > 0.9
    tokens, now = checkpoint.item_tokens(old), checkpoint.item_tokens(updated)
    assert now[: len(tokens)] == tokens
    assert len(now) > len(tokens) + 20
    n_old = len(before[CODES])
    assert (len(after[CODES]), after[CODES].shape[1]) == (len(now) + 1, before[CODES].shape[1])
    assert 100 < (before[CODES] != after[CODES][:n_old]).sum() < 0.2 * before[CODES].numel()


def test_everything_else_of_the_bundle_is_the_same_bit_for_bit(bundles) -> None:
    before, after = (
        {tensor.name: tensor for tensor in onnx.load(folder / "model.onnx").graph.initializer} for folder in bundles
    )
    others = {name for name in before if name not in after or before[name].raw_data != after[name].raw_data}
    numbers = {name for name in others if before[name].data_type == onnx.TensorProto.INT64}  # of items, in shapes
    assert others - numbers == {"codes", "followers.ids", "followers.strengths"}
    large = [name for name, tensor in before.items() if tensor.data_type == onnx.TensorProto.INT8]
    assert len(large) > 4
    assert all(np.prod(before[name].dims) < 5 for name in numbers)


def test_what_devices_keep_of_their_users_goes_on(old: Path, updated: Path) -> None:
    """Sessions become vectors in the space they were in."""
    assert _space(load_source(old).model) == _space(load_source(updated).model)


def test_the_delta_keeps_to_its_budget_and_uses_it(bundles, tmp_path: Path) -> None:
    delta = tmp_path / "new.delta"
    write_delta(*bundles, delta)
    assert 0.8 * BUDGET < delta.stat().st_size <= BUDGET
    recommender = Recommender(bundles[0])
    new_item = Recommender(bundles[1]).tokens[read_manifest(bundles[0])["n_items"] + 1]
    assert recommender.tokens.find(new_item) == 0
    recommender.update(delta)
    assert recommender.recommend([new_item]).unknown == ()


def test_the_codes_that_moved_lower_the_loss(old: Path, updated: Path, settings) -> None:
    """NDCG on 150 cases is noise; the loss over all training cases, with codes as they are kept, is not."""
    from recbole_odrec.config import make_config
    from recbole_odrec.data.window_loader import SessionWindowLoader

    config = make_config("ODRec", "ml-grown", config_dict={**settings, "update_from": str(old)})
    data = SessionDataset(config).build()[0]
    loader, losses = SessionWindowLoader(config, data), []
    for path in (None, updated):
        model = ODRec(config, data).eval()
        StudentUpdate(config, model)
        if path is not None:
            model.item_table.codes.copy_(weights(path)[CODES])
        loader.generator.manual_seed(0)
        with torch.no_grad():
            losses.append(float(np.mean([model.calculate_loss(batch) for batch in loader])))
    stale, bounded = losses
    assert bounded < stale - 0.003, losses


# ---------------------------------------------------------------------- which codes go back


@pytest.fixture
def begun(old: Path, settings) -> StudentUpdate:
    from recbole_odrec.config import make_config

    given = {"update_from": str(old), "update_budget": 1}
    config = make_config("ODRec", "ml-grown", config_dict={**settings, **given})
    return StudentUpdate(config, ODRec(config, SessionDataset(config).build()[0]))


def test_codes_that_gain_most_stay_and_those_that_lose_never_do(begun: StudentUpdate, monkeypatch) -> None:
    table, last = begun.table, len(begun.start) - 1
    begun.follow(None)
    assert torch.equal(table.codes, begun.start)  # where it begins nothing moves, whatever entries are alike
    wanted = {(1, 0): -4.0, (2, 1): 1.0, (3, 0): -2.0, (4, 1): -3.0, (last, 0): -1.5}  # what a step changes the loss by
    gradient = torch.zeros(len(begun.start), table.n_codes, table.embedding_dim // table.n_codes)
    for (item, m), change in wanted.items():
        other = (begun.start[item, m].long() + 1) % 20
        table.codes[item, m] = other.to(torch.uint8)
        step = table.rounded_codebooks()[m, other] - table.rounded_codebooks()[m, begun.start[item, m].long()]
        gradient[item, m] = change * step / step.square().sum()
    monkeypatch.setattr(begun, "n_bytes", lambda codes: int((codes != begun.start).sum()))
    begun.budget = 3
    begun.fit_budget(lambda: gradient.flatten(1))
    moved = {tuple(place) for place in (table.codes != begun.start).nonzero().tolist()}
    assert moved == {(1, 0), (4, 1), (last, 0)}  # a new item's code is worth three times its gain: it takes a third


def test_new_items_begin_where_the_teacher_has_them(begun: StudentUpdate) -> None:
    """A teacher whose rows are the student's, turned around, has its new items where the student would."""
    drawn = torch.Generator().manual_seed(0)
    n_old, width = begun.n_old, begun.table.embedding_dim
    rows = begun.table.to_matrix()
    turn = torch.linalg.qr(torch.randn(width, width, generator=drawn)).Q
    new = rows[5:6].expand(len(rows) - n_old, -1)
    begun.follow(torch.cat([rows[:n_old], new]) @ turn)
    latent = begun.latent.detach()
    assert torch.allclose(latent[1:n_old], rows[1:n_old])
    assert (latent[n_old:] - new).norm() < 0.05 * new.norm()
    assert torch.equal(begun.table(torch.tensor([n_old])), rows[5:6])


# ---------------------------------------------------------------------- a table as large as before, an exact resume


def test_rows_keep_their_codes_whatever_rate_is_asked_for(old: Path, settings) -> None:
    given = {**settings, "compression_rate": 5, "update_from": str(old)}
    result = run("ODRec", "ml-grown", config_dict=given)
    student = result["phases"]["student"]
    assert weights(student["checkpoint"])[CODES].shape[1] == weights(old)[CODES].shape[1]
    assert "update_from" in result["config"]["decided"]["compression_rate"]


def test_a_run_that_was_interrupted_ends_alike(old: Path, settings) -> None:
    class KilledError(Exception):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    given = {**settings, "epochs": 2, "update_from": str(old), "update_budget": BUDGET}
    whole = run("ODRec", "ml-grown", config_dict=given)
    with pytest.raises(KilledError):
        run("ODRec", "ml-grown", config_dict=given, on_validation=kill)
    resumed = run("ODRec", "ml-grown", config_dict=given, resume=True)
    ends = [weights(Path(result["path"]).parent / "student" / "last.pth") for result in (whole, resumed)]
    assert torch.equal(ends[0][CODES], ends[1][CODES])


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"table": "tensor_train", "move_codes_every": None},
            "moves codes alone, not SemiTensorTrainEmbedding, every number of which moves",
        ),
        ({"follower_gain": 9}, "follower_gain=9: an update keeps that of update_from"),
        ({"n_followers": 4}, "n_followers=4, expected 2 as update_from="),
        ({"move_codes_every": 0}, "move_codes_every=0, expected at least 1 with update_from"),
        ({"hidden_size": 8}, "is of another model: its weight"),
        ({"update_from": "none.pth"}, "checkpoint none.pth does not exist"),
        ({"update_budget": -1}, "update_budget=-1, expected"),
    ],
)
def test_what_cannot_be_updated_is_one_line_and_nothing_is_written(old: Path, settings, given, line: str) -> None:
    values = {**settings, "update_from": str(old), "checkpoint_dir": "saved", **given}
    values = {key: value for key, value in values.items() if value is not None}
    with pytest.raises(UserError, match=line):
        run("ODRec", "ml-grown", config_dict=values)
    assert not list(Path("saved").rglob("*.pth"))


def test_a_student_of_another_table_cannot_be_updated(train, settings) -> None:
    student = train("ODRec", item_order="teacher", init_from_teacher=True)["phases"]["student"]["checkpoint"]
    with pytest.raises(UserError, match="is no student of table=codes, whose codes alone could move"):
        run("ODRec", "ml-grown", config_dict={**settings, "update_from": student})


def test_a_checkpoint_without_items_is_refused(old: Path, settings) -> None:
    state = checkpoint.load_model(old)
    checkpoint.save(Path("old.pth"), {key: value for key, value in state.items() if key != "tokens"})
    with pytest.raises(UserError, match="does not say which items it is of"):
        run("ODRec", "ml-grown", config_dict={**settings, "update_from": "old.pth"})
