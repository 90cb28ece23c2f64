"""Neighbourhood models as teachers: probabilities mixed in beside a network's, or all that there is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recbole.data import create_dataset
from torch import Tensor

from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.losses import ItemShares, mix_
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.quick_start import run
from recbole_odrec.registry import model_class
from recbole_odrec.trainer.objectives import Pair, Step
from recbole_odrec.trainer.objectives.catalogue import _Teacher

NETWORK = {"model": "SASRecTeacher"}
COUNTS = {"model": "ItemTransitions", "weight": 0.25}
ALONE = {"contrastive_weight": 0.0, "predictive_weight": 0.0}  # nothing that looks at embeddings


@pytest.fixture
def built(small_config) -> Any:
    """Builds a model of ml-small, and the split of it."""
    split = create_dataset(small_config("SASRecTeacher")).build()[0]

    def build(model: str, **keys: object) -> Any:
        is_network = model in ("ODRec", "SASRecTeacher")
        config = small_config(model, **keys) if is_network else _of_counts(small_config, model, keys)
        found = model_class(model)(config, split)
        if hasattr(found, "fit_"):
            found.fit_(split)
        return found.eval(), config, split

    return build


def _of_counts(small_config: Any, model: str, keys: dict[str, object]) -> Any:
    from recbole_odrec.config import make_config

    values = {"data_path": small_config("SASRecTeacher")["data_path"].removesuffix("/ml-small"), "state": "ERROR"}
    return make_config(model, "ml-small", config_dict={**values, "MAX_ITEM_LIST_LENGTH": 20, **keys})


def probabilities(shares: ItemShares, shape: tuple[int, int]) -> Tensor:
    found = torch.zeros(shape)
    found[shares.rows, shares.items] = shares.values
    return found


def test_mixed_scores_are_those_of_the_mixture_of_probabilities() -> None:
    scores = 5 * torch.randn(3, 6)
    shares = ItemShares(torch.tensor([0, 0, 2]), torch.tensor([1, 4, 5]), torch.tensor([0.25, 0.75, 1.0]), 0.3)
    expected = 0.7 * scores.softmax(1) + 0.3 * probabilities(shares, (3, 6))
    expected[1] = scores[1].softmax(0)  # a row of which nothing is known
    torch.testing.assert_close(mix_(scores.clone(), shares).softmax(1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("others", [["ItemTransitions"], ["ItemTransitions", "VSKNN"]])
def test_an_ensemble_mixes_by_its_weights(built, others) -> None:
    network, _, split = built("SASRecTeacher")
    counting = [built(name)[0] for name in others]
    rows = split[torch.arange(30)]
    weights = [3.0, 1.0, 2.0][: 1 + len(others)]
    ensemble = TeacherEnsemble([network, *counting], weights)
    parts = [weight / sum(weights) * 0.99 for weight in weights[1:]]
    expected = (1 - sum(parts)) * network.full_sort_predict(rows).softmax(1)
    for part, model in zip(parts, counting, strict=True):
        shares = model.shares(rows["item_id_list"])
        expected += part * probabilities(shares, expected.shape)
    torch.testing.assert_close(ensemble.full_sort_predict(rows).softmax(1), expected, rtol=1e-4, atol=1e-7)
    found = ensemble.predict(rows)
    assert torch.equal(found, ensemble.full_sort_predict(rows).gather(1, rows["item_id"].unsqueeze(1)).squeeze(1))
    assert ensemble.gives_embeddings
    assert ensemble.hidden_size == network.hidden_size


def test_counts_alone_are_smoothed_with_popularity(built) -> None:
    (first, _, split), (second, _, _) = built("ItemTransitions"), built("SR", smoothing=0.2)
    rows = split[torch.arange(30)]
    expected = 0.5 * first.full_sort_predict(rows).exp() + 0.5 * second.full_sort_predict(rows).exp()
    found = TeacherEnsemble([first, second]).full_sort_predict(rows).softmax(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("with_network", [True, False])
def test_soft_targets_are_the_teachers_scores_in_the_students_columns(built, with_network) -> None:
    """Of windows, whose prefixes are the cases, and a student whose items stand in another order."""
    student, config, split = built("ODRec", item_order="teacher", **ALONE)
    order = torch.cat([torch.tensor([0]), torch.randperm(student.n_items - 1) + 1])
    student.item_table.item_order.copy_(order)
    members = [built("ItemTransitions", max_distance=2)[0], built("SASRecTeacher", repeat_scores=True)[0]]
    teacher = TeacherEnsemble(members, [0.2, 0.8]) if with_network else members[0]
    batch = next(iter(SessionWindowLoader(config, split, shuffle=False)))
    found = _Teacher(Step(Pair(student, teacher), batch))(None)[:50].clone()
    row, position = batch["next_items"].nonzero(as_tuple=True)
    prefixes = batch["item_id_list"][row] * (torch.arange(batch["item_id_list"].shape[1]) <= position.unsqueeze(1))
    rows = _Rows(item_id_list=prefixes[:50], item_length=position[:50] + 1)
    expected = teacher.full_sort_predict(rows).log_softmax(1)
    torch.testing.assert_close(found.log_softmax(1)[:, order], expected, rtol=1e-3, atol=1e-3)


class _Rows(dict):
    def __len__(self) -> int:
        return len(self["item_length"])


# ---------------------------------------------------------------------- runs


def settings(small_data: Any, **keys: object) -> dict[str, object]:
    small = {"hidden_size": 16, "epochs": 1, "train_batch_size": 512, "MAX_ITEM_LIST_LENGTH": 20, "state": "ERROR"}
    return {
        **small,
        "data_path": str(small_data),
        "show_progress": False,
        "compression_rate": 2,
        "recipe": "none",
        **keys,
    }


def test_a_student_learns_from_counts_beside_a_network(small_data) -> None:
    asked = settings(small_data, teachers=[COUNTS, NETWORK], starts_from=2, init_from_teacher=True, **ALONE)
    phases = run("ODRec", "ml-small", config_dict=asked)["phases"]
    members = phases["teacher"]["members"]
    assert [(member["model"], member["source"]) for member in members] == [
        ("ItemTransitions", "trained"),
        ("SASRecTeacher", "trained"),
    ]
    assert phases["student"]["test"]["all"]["ndcg@10"] > 0
    assert phases["teacher"]["parameters"]["item_table_bytes"] > 4 * 16 * 1000
    again = run("ODRec", "ml-small", config_dict=asked)["phases"]
    assert [member["source"] for member in again["teacher"]["members"]] == ["cache", "cache"]
    assert again["teacher"]["test"] == phases["teacher"]["test"]
    assert again["student"]["test"] == phases["student"]["test"]


def test_a_student_learns_from_counts_alone(small_data, tmp_path) -> None:
    """Of 30 users: sessions like a prefix are sought for each prefix."""
    header, *lines = (small_data / "ml-small" / "ml-small.inter").read_text().splitlines()
    kept = [line for line in lines if int(line.split("\t")[0]) <= 30]
    small_data = tmp_path / "few"
    (small_data / "ml-small").mkdir(parents=True)
    (small_data / "ml-small" / "ml-small.inter").write_text("\n".join([header, *kept]) + "\n")
    result = run("ODRec", "ml-small", config_dict=settings(small_data, teacher="VSTAN", **ALONE))
    teacher = result["phases"]["teacher"]
    kept = ("data_path", "state", "show_progress", "MAX_ITEM_LIST_LENGTH")
    alone = run("VSTAN", "ml-small", config_dict={key: settings(small_data)[key] for key in kept})
    assert teacher["test"] == alone["phases"]["model"]["test"]
    file = settings(small_data, teachers=[{"checkpoint": alone["phases"]["model"]["checkpoint"]}], **ALONE)
    assert run("ODRec", "ml-small", config_dict=file)["phases"]["teacher"]["test"] == teacher["test"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"teacher": "SR"}, "objectives contrastive, predictive look at the teacher's item embeddings"),
        ({"teacher": "SR", **ALONE, "init_from_teacher": True}, "init_from_teacher=True: SR has no item embeddings"),
        ({"teachers": [COUNTS, NETWORK], "item_order": "teacher"}, "item_order=teacher: the teacher to start from has"),
        ({"teachers": [COUNTS, NETWORK], "init_from_teacher": True}, "ItemTransitions has no item embeddings"),
        ({"teachers": [{**COUNTS, "epochs": 3}]}, "unknown key `epochs` for ItemTransitions"),
        ({"teachers": [{**COUNTS, "recency": 2}]}, "recency=2, expected a number in [0, 1]."),
    ],
)
def test_what_counts_cannot_give_is_refused_before_anything_is_written(keys, message, small_data, tmp_path) -> None:
    with pytest.raises(UserError) as error:
        run("ODRec", "ml-small", config_dict=settings(small_data, **keys))
    assert message in str(error.value)
    assert not list(tmp_path.glob("saved/*"))
