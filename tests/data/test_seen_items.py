"""`exclude_seen`: a user's whole history leaves the ranking, for our data sets and RecBole's alike."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from recbole.data.dataset import SequentialDataset
from recbole.trainer import Trainer
from torch import Tensor, nn

from recbole_odrec import run
from recbole_odrec.baseline import baseline_dataset
from recbole_odrec.config import make_config
from recbole_odrec.data.preparation import prepare
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.errors import UserError
from recbole_odrec.evaluation import evaluate
from recbole_odrec.trainer.topk_collector import TopKCollector

QUIET = {
    "state": "ERROR",
    "show_progress": False,
    "data_path": ".",
    "exclude_seen": True,
    "metrics": ["Recall", "NDCG"],
}
QUIET |= {"topk": [5], "valid_metric": "NDCG@5"}
# More items a user than a history keeps, some of them twice: u1's validation target and test target among them.
EVENTS = {"u1": "a b c d e f b a", "u2": "c a g h i d f e", "u3": "f e g b c h"}


class ByNumber(nn.Module):
    """Scores every item by its number: the last item is always the best."""

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.arange(float(n_items)))

    def full_sort_predict(self, rows: Tensor) -> Tensor:
        return self.scores.repeat(len(rows), 1)


@pytest.fixture
def events() -> dict[str, list[str]]:
    Path("t").mkdir()
    lines = [f"{u}\t{item}\t{at}" for u, items in EVENTS.items() for at, item in enumerate(items.split())]
    Path("t/t.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(sorted(lines)) + "\n")
    return {user: items.split() for user, items in EVENTS.items()}


@pytest.mark.parametrize("model", ["GRU4RecTeacher", "GRU4Rec"])
@pytest.mark.parametrize("length", [2, 50])
def test_the_whole_history_is_left_out_of_the_ranking(events: dict[str, list[str]], model: str, length: int) -> None:
    values = {**QUIET, "MAX_ITEM_LIST_LENGTH": length, "train_neg_sample_args": None}
    config = make_config(model, "t", config_dict=values)
    make = SessionDataset if model == "GRU4RecTeacher" else baseline_dataset
    train, *loaders = prepare(config, make, tests=True)
    dataset = train._dataset
    assert isinstance(dataset, SequentialDataset)
    assert isinstance(dataset, SessionDataset) == (make is SessionDataset)
    trainer = Trainer(config, ByNumber(dataset.item_num))
    trainer.eval_collector = TopKCollector(config)
    trainer.eval_collector.data_collect(train)
    for loader, n_left in zip(loaders, (2, 1), strict=True):
        by_user = defaultdict(list)
        for user, items in events.items():
            history, target = items[:-n_left], items[-n_left]
            shown = [i for i in range(dataset.item_num - 1, 0, -1) if dataset.id2token("item_id", i) not in history]
            numbers = [dataset.id2token("item_id", i) for i in shown[:5]]
            by_user[user] = numbers.index(target) + 1 if target in numbers else 0
        users = dataset.id2token("user_id", loader._dataset.inter_feat["user_id"].numpy())
        ranks = evaluate(trainer, loader, torch.ones(dataset.item_num, dtype=torch.bool))["ranks"]
        assert ranks.tolist() == [by_user[user] for user in users]
        assert by_user["u1"] == 0
        assert any(by_user.values())


def test_targets_that_cannot_be_found_are_counted(
    events: dict[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result = run("ItemTransitions", "t", config_dict={**QUIET, "state": "INFO"})
    found = [record.message for record in caplog.records if "exclude_seen" in record.message]
    assert found == [
        f"exclude_seen=True: 1 {part} targets stand in their own history and cannot be found."
        for part in ("validation", "test")
    ]
    assert result["config"]["exclude_seen"] is True


@pytest.mark.parametrize("model", ["ItemTransitions", "GRU4Rec"])
def test_who_never_repeats_hears_that_seen_items_can_be_left_out(
    events: dict[str, list[str]], caplog: pytest.LogCaptureFixture, model: str
) -> None:
    trains = {"epochs": 1, "train_neg_sample_args": None} if model == "GRU4Rec" else {}
    hint = "no validation target stands in its own history: --exclude_seen=True ranks what is new alone."

    def hears(**keys: object) -> bool:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            run(model, "t", config_dict={**QUIET, "state": "INFO", **trains, **keys}, tests=False)
        return hint in [record.message for record in caplog.records]

    assert not hears(exclude_seen=False)
    rows = [f"{user}\t{item}\t{time}" for user in "uvw" for time, item in enumerate("abcdef")]
    Path("t/t.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]))
    assert hears(exclude_seen=False)
    assert not hears(exclude_seen=True)
    assert not hears(eval_args={"split": {"RS": [9, 0, 1]}, "mode": "full", "order": "TO"})  # nothing to say it of
    rows = [f"{user}\t{item}\t{time}" for user in "uvw" for time, item in enumerate("abcdefgaz")]
    Path("t/t.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]))
    assert not hears(exclude_seen=False, MAX_ITEM_LIST_LENGTH=3)  # the first item is long gone from the lists


def test_prefix_rows_have_their_own_lists(events: dict[str, list[str]]) -> None:
    for part in ("train", "valid", "test"):
        rows = ["s\tb c\ta", "s\ta\tb", "s\ta b\tc"]  # of a name, and still sessions of their own
        Path(f"t/t.{part}.inter").write_text("\n".join(["user_id:token\titem_id_list:token_seq\titem_id:token", *rows]))
    values = {
        **QUIET,
        "topk": [3],
        "valid_metric": "NDCG@3",
        "benchmark_filename": ["train", "valid", "test"],
        "train_neg_sample_args": None,
    }
    for model, make in (("GRU4RecTeacher", SessionDataset), ("GRU4Rec", baseline_dataset)):
        _, _, test = prepare(make_config(model, "t", config_dict=values), make, tests=True)
        row, items = test.seen.of(range(3))
        tokens = test._dataset.id2token("item_id", items)
        assert [sorted(tokens[row == r]) for r in range(3)] == [["b", "c"], ["a"], ["a", "b"]]


def test_sampled_rankings_leave_nothing_out(events: dict[str, list[str]]) -> None:
    with pytest.raises(UserError, match="exclude_seen=True needs mode full in eval_args, not 'uni3'"):
        run("GRU4RecTeacher", "t", config_dict={**QUIET, "eval_args": {"mode": "uni3", "order": "TO"}})
