"""The network as PyTorch exports it, which ExecuTorch lowers: for histories of every length, as the model scores them.

Needs no ExecuTorch; `test_export.py` runs the lowered program where that is installed.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recbole.data import create_dataset

from recbole_odrec.bundle.executorch import exported
from recbole_odrec.nn.encoders import ENCODERS
from recbole_odrec.nn.readouts import READOUTS
from recbole_odrec.nn.tables import TABLES
from recbole_odrec.registry import model_class

CODES = {"table": "codes", "init_from_teacher": True}  # as asked for; nothing is fitted here
DEFAULT = {**CODES, "readout": "last", "repeat_scores": True, "n_followers": 2}  # the default recipe's parts
PARTS = [
    ("ODRec", DEFAULT),
    *(("ODRec", {"table": name}) for name in TABLES if name not in ("codes", "dense")),
    *(("ODRec", {**CODES, "readout": name, "repeat_scores": True}) for name in READOUTS),
    *(("ODRec", {**CODES, "encoder": name}) for name in ENCODERS if name != "sasrec"),
    ("SASRecTeacher", {"normalize_items": True}),
]


@pytest.mark.parametrize(("name", "parts"), PARTS, ids=str)
def test_it_answers_for_every_length(small_config, name: str, parts: dict[str, Any]) -> None:
    rate = {"compression_rate": 1} if name == "ODRec" else {}
    config = small_config(name, **rate, **parts)
    model = model_class(name)(config, create_dataset(config)).eval()
    torch.manual_seed(0)
    for values in model.parameters():
        torch.nn.init.normal_(values, std=0.3)
    if model.followers is not None:
        ids = torch.randint(1, model.n_items, model.followers.items.shape)
        model.followers.remember(ids, torch.rand(ids.shape))
        model.followers.gain.fill_(1.0)
    program = exported(model, 20, topk=5).module()
    for length in (2, 3, 11, 20):
        history = torch.randint(1, model.n_items, (1, length))
        padded = torch.cat([history, torch.zeros(1, 20 - length, dtype=torch.long)], dim=1)
        given = history if model.encoder.traces_any_length else padded
        ids, scores = program(given)
        columns = model.item_table.columns_of(torch.arange(model.n_items))
        with torch.no_grad():
            expected = model.scores_of(given, model.item_table(given)).index_select(1, columns.argsort())
        best = expected[:, 1:].topk(5)
        assert torch.equal(ids, best.indices + 1)
        torch.testing.assert_close(scores, best.values)
