"""RecBole's models as teachers: found out by trying them."""

from __future__ import annotations

import pytest
import torch
from recbole.utils import get_model

from recbole_odrec.config import teacher_config
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.model.adapter import ProductTeacher


@pytest.fixture
def prepared(small_config):
    config = small_config()
    return config, SessionDataset(config).build()


def recbole_model(prepared, name: str):
    config, (train, _, _) = prepared
    return get_model(name)(teacher_config(config, name, {}), train).eval()


@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec", "NARM", "STAMP", "CORE"])
def test_scores_equal_the_models_own(prepared, name: str) -> None:
    _, (_, _, test) = prepared
    test.pad_to_max = True
    model = recbole_model(prepared, name)
    teacher = ProductTeacher(model)
    rows = test[torch.arange(20)]
    with torch.no_grad():
        expected = model.full_sort_predict(rows)
        scores = teacher.item_table.scores(teacher.training_cases(rows).session_repr)
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["SASRec", "STAMP"])
def test_windows_are_taken_apart_into_their_prefixes(prepared, name: str) -> None:
    config, (train, _, _) = prepared
    model = recbole_model(prepared, name)
    teacher = ProductTeacher(model)
    batch = next(iter(SessionWindowLoader(config, train)))
    with torch.no_grad():
        cases = teacher.training_cases(batch)
    row, position = batch["next_items"].nonzero(as_tuple=True)
    for c in range(0, len(row), 37):
        prefix = torch.zeros(1, 20, dtype=torch.long)
        length = int(position[c]) + 1
        prefix[0, :length] = batch["item_id_list"][row[c], :length]
        with torch.no_grad():
            expected = model(prefix, torch.tensor([length]))[0]
        torch.testing.assert_close(cases.case_repr[c], expected, rtol=1e-4, atol=1e-5)
        assert cases.pos_items[c] == batch["next_items"][row[c], position[c]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("BPR", "not a sequential model"),
        ("Caser", "does not map item ids to scores|does not give one vector"),
        ("BERT4Rec", "no `item_embedding`"),
        ("RepeatNet", "no `item_embedding`|not the product|does not"),
    ],
)
def test_a_model_that_cannot_serve_is_refused_by_name(prepared, name: str, reason: str) -> None:
    config, (train, _, _) = prepared
    overrides = {"dropout_prob": 0.1} if name == "Caser" else {}
    phase_config = teacher_config(config, name, overrides)
    model = get_model(name)(phase_config, train)
    with pytest.raises(UserError, match=f"{name} cannot be the teacher: .*({reason})") as error:
        ProductTeacher(model)
    assert "SASRec, GRU4Rec, NARM" in str(error.value)
