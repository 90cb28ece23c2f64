"""Whole-session files, their conversion, and the rows that come out of them."""

from __future__ import annotations

import gzip
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, film_sessions
from recbole.data import data_preparation
from recbole.data.dataset import SequentialDataset

from recbole_odrec import run
from recbole_odrec.baseline import baseline_dataset, bucket_by_length
from recbole_odrec.cli import main
from recbole_odrec.config import make_config
from recbole_odrec.data.head_tail import training_counts
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.window_loader import NEXT_ITEMS, SessionWindowLoader
from recbole_odrec.errors import UserError
from recbole_odrec.phases import build_model

N_USERS = 60


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real sessions (each user's first 30 films in time order) as the three kinds of files that papers publish."""
    folder = tmp_path_factory.mktemp("sources")
    sessions = [items for user, items in film_sessions().items() if int(user) <= N_USERS and len(items) == 30]
    train, test = sessions[:-6], sessions[-6:]
    with gzip.open(folder / "train.txt.gz", "wt") as file:
        file.writelines(" ".join(session) + "\n" for session in train)
    # As published: longest prefix first, and none of a single item.
    cases = [(session[:end], session[end]) for session in test for end in range(len(session) - 1, 1, -1)]
    (folder / "test.txt").write_text("".join(f"{' '.join(prefix)}\t{target}\n" for prefix, target in cases))
    for name, value in {
        "train.pickle": [[int(item) for item in session] for session in train],
        "test.pickle": ([list(map(int, prefix)) for prefix, _ in cases], [int(target) for _, target in cases]),
    }.items():
        (folder / name).write_bytes(pickle.dumps(value))
    return folder


def convert(*words: object) -> int:
    return main(["convert", "--no_progress", *map(str, words)])


def plain(sources: Path) -> list[object]:
    return ["--train_sessions", sources / "train.txt.gz", "--test_prefixes", sources / "test.txt"]


def settings(name: str, **overrides: object) -> dict[str, object]:
    return {
        **SMALL,
        "data_path": str(Path.cwd()),
        "USER_ID_FIELD": "session_id",
        "benchmark_filename": ["train", "valid", "test"],
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
        **overrides,
    }


def stock_settings(name: str, **overrides: object) -> dict[str, object]:
    """Of RecBole's models: without the keys of our networks."""
    return {
        key: value
        for key, value in settings(name, **overrides).items()
        if key not in ("compression_rate", "hidden_size", "recipe")
    }


def raw_rows(part: SequentialDataset, longest: int) -> list[tuple[str, ...]]:
    rows = part[torch.arange(len(part))]
    tokens = part.field2id_token[part.iid_field]
    lists, targets, lengths = (
        rows[name].numpy() for name in (part.item_id_list_field, part.iid_field, part.item_list_length_field)
    )
    kept = [items[:length][-longest:] for items, length in zip(lists, lengths, strict=True)]
    return [(*tokens[items], tokens[target]) for items, target in zip(kept, targets, strict=True)]


def test_whole_sessions_and_prefix_rows_are_the_same_data(sources: Path) -> None:
    assert convert("--name", "whole", "--output", ".", *plain(sources)) == 0
    assert convert("--name", "rows", "--output", ".", *plain(sources), "--expand") == 0
    whole = SessionDataset(make_config("ODRec", "whole", config_dict=settings("whole"))).build()
    eager = SessionDataset(make_config("ODRec", "rows", config_dict=settings("rows"))).build()
    stock = SequentialDataset(make_config("ODRec", "rows", config_dict=settings("rows"))).build()
    for ours, prefixes, theirs in zip(whole, eager, stock, strict=True):
        expected = raw_rows(theirs, 20)
        assert len(expected) > 80
        assert raw_rows(ours, 20) == expected
        assert raw_rows(prefixes, 20) == expected
    tokens = [dict(zip(p.field2id_token["item_id"], training_counts(p), strict=True)) for p in (whole[0], stock[0])]
    assert tokens[0] == tokens[1]
    assert len(whole[2]) == 6 * 28  # the first test case comes after two items, as published


def test_windows_hold_every_case_once_and_no_array_of_cases_is_kept(sources: Path) -> None:
    convert("--name", "whole", "--output", ".", *plain(sources))
    config = make_config("ODRec", "whole", config_dict=settings("whole", MAX_ITEM_LIST_LENGTH=8, train_batch_size=64))
    train = SessionDataset(config).build()[0]
    loader = SessionWindowLoader(config, train)
    found = []
    for batch in loader:
        for items, targets in zip(batch["item_id_list"].tolist(), batch[NEXT_ITEMS].tolist(), strict=True):
            found += [(items[max(0, at - 2) : at + 1], target) for at, target in enumerate(targets) if target]
    assert len(found) == len(train) == loader.n_cases
    rows = train[torch.arange(len(train))]
    ends = [
        (items[max(0, n - 3) : n], target)
        for items, n, target in zip(
            rows["item_id_list"].tolist(), rows["item_length"].tolist(), rows["item_id"].tolist(), strict=True
        )
    ]
    assert sorted(found) == sorted(ends)
    kept = [v for holder in (loader, train, train.inter_feat) for v in vars(holder).values()]
    arrays = [v for value in kept for v in (value if isinstance(value, tuple) else (value,))]
    assert not any(isinstance(v, np.ndarray) and v.size == len(train) for v in arrays)


@pytest.mark.parametrize("source", ["pickle", "inter"])
def test_other_sources_give_the_same_sessions(sources: Path, source: str) -> None:
    convert("--name", "a", "--output", ".", *plain(sources))
    if source == "pickle":
        words = ["--train_pickle", sources / "train.pickle", "--test_pickle", sources / "test.pickle"]
        parts = ("train", "valid", "test")
    else:
        lines = [
            line.split() for line in gzip.decompress((sources / "train.txt.gz").read_bytes()).decode().splitlines()
        ]
        rows = [f"{s}\t{item}\t{100 * s + at}" for s, items in enumerate(lines) for at, item in enumerate(items)]
        np.random.default_rng(0).shuffle(rows)
        Path("log.inter").write_text("\n".join(["session_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")
        words = ["--inter", "log.inter", "--test_share", "0.1"]
        parts = ()
    assert convert("--name", "b", "--output", ".", *words) == 0
    for part in parts:
        assert Path(f"a/a.{part}.inter").read_text() == Path(f"b/b.{part}.inter").read_text()
    if not parts:
        sessions = [
            line.split("\t")[1].split()
            for part in ("train", "valid", "test")
            for line in Path(f"b/b.{part}.inter").read_text().splitlines()[1:]
        ]
        assert sessions == lines


def test_a_pickle_that_names_a_class_is_refused_and_never_run(capsys) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (Path("owned"),)

    Path("evil.pickle").write_bytes(pickle.dumps([Evil()]))
    assert convert("--name", "x", "--output", ".", "--train_pickle", "evil.pickle") == 2
    assert "refused or damaged pickle" in capsys.readouterr().err
    assert not Path("owned").exists()
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 2 3\n4\n", "train.txt, line 2: `4`, expected a session of at least two items"),
        ("", "train.txt: no session in it"),
        ("session_id:token\titem_id_list:token_seq\n1\t1 2\n", "train.txt: `session_id:token\\titem_id_list:tok"),
        ("1 2\n" * 3, "3 sessions are too few"),
    ],
)
def test_malformed_sessions_are_named_and_nothing_is_written(capsys, content: str, message: str) -> None:
    Path("train.txt").write_text(content)
    assert convert("--name", "x", "--output", ".", "--train_sessions", "train.txt") == 2
    assert message in capsys.readouterr().err
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7\t1 2 3", "line 3: 2 columns, expected 3"),
        ("7\t1 2\t2", "line 3: `1 2`, expected at least 3 items"),
        ("7\t1  2 3\t2", "expected at least 3 items, one ` ` between two"),
        ("7\t1 2 3\t0", "line 3: `n_given` is `0`, expected a whole number from 1"),
        ("7\t1 2 3\t٢", "line 3: `n_given` is `٢`, expected a whole number"),
        ("7\t1 [PAD] 3\t1", r"line 3: `item_id_list` is `1 [PAD] 3`, expected items, and [PAD] is no item's name"),
        ("[PAD]\t1 2 3\t1", "line 3: `session_id` is `[PAD]`, expected a session"),
        ("\t1 2 3\t1", "line 3: `session_id` is ``, expected a session"),
        ("7\t1 2 3\tx", "`n_given` is `x`"),
    ],
)
def test_malformed_session_files_are_named(capsys, line: str, message: str) -> None:
    Path("bad").mkdir()
    good = "session_id:token\titem_id_list:token_seq\tn_given:float\n1\t1 2 3 4\t2\n"
    for part in ("train", "valid", "test"):
        Path(f"bad/bad.{part}.inter").write_text(good + (line + "\n" if part == "valid" else ""))
    arguments = ["--dataset=bad", "--data_path=.", "--benchmark_filename=['train','valid','test']"]
    assert main([*arguments, "--USER_ID_FIELD=session_id", "--show_progress=False"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "bad.valid.inter" in error
    assert not Path("saved").exists()


def test_recboles_models_train_on_whole_sessions_as_on_prefix_rows(sources: Path) -> None:
    convert("--name", "whole", "--output", ".", *plain(sources))
    config = make_config("GRU4Rec", "whole", config_dict=stock_settings("whole"))
    train, _, test = data_preparation(config, baseline_dataset(config))
    assert next(iter(train))["item_id_list"].shape[1] == 20
    assert len(test._dataset) == 6 * 28
    result = run("GRU4Rec", "whole", config_dict={**stock_settings("whole"), "epochs": 1})
    assert 0 < result["phases"]["model"]["test"]["all"]["recall@10"] < 1


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "NARM", "STAMP", "CORE"])
def test_rows_of_like_length_meet_each_once_an_epoch(sources: Path, model: str) -> None:
    convert("--name", "whole", "--output", ".", *plain(sources))
    values = {**stock_settings("whole"), "train_batch_size": 16, "loss_type": "CE"}
    config = make_config(model, "whole", config_dict={**values, "bucket_by_length": True})
    stock = make_config(model, "whole", config_dict=values)
    train, _, test = data_preparation(config, baseline_dataset(config))
    padded_train, _, padded_test = data_preparation(stock, baseline_dataset(stock))
    network = build_model(config, train)
    network.loss_fct = torch.nn.CrossEntropyLoss(reduction="sum")
    bucketed = bucket_by_length(network, train)
    assert network.training
    first, second = (list(bucketed) for _ in range(2))
    assert len(first) == len(bucketed) == len(padded_train)

    def as_rows(batches: list) -> list[tuple[int, ...]]:
        return [
            (*items[:length].tolist(), target)
            for batch in batches
            for items, length, target in zip(batch["item_id_list"], batch["item_length"], batch["item_id"], strict=True)
        ]

    rows = as_rows(first)
    assert sorted(rows) == sorted(as_rows(list(padded_train)))
    assert rows != as_rows(second)  # another order every epoch
    width = [batch["item_id_list"].shape[1] for batch in first]
    assert width != sorted(width)  # and batches of all lengths mixed
    assert sum(w * len(batch) for w, batch in zip(width, first, strict=True)) < 1.2 * sum(len(row) - 1 for row in rows)
    # What the model makes of an epoch's rows does not depend on their padding.
    network.eval()
    with torch.no_grad():
        losses = [sum(network.calculate_loss(batch) for batch in batches) for batches in (first, padded_train)]
        torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
        narrow, wide = (network.full_sort_predict(next(iter(data))[0]) for data in (test, padded_test))
    torch.testing.assert_close(narrow, wide, rtol=1e-4, atol=1e-5)


def test_a_baseline_trains_on_rows_of_like_length(sources: Path) -> None:
    convert("--name", "whole", "--output", ".", *plain(sources))
    values = {**stock_settings("whole"), "epochs": 1, "bucket_by_length": True}
    result = run("GRU4Rec", "whole", config_dict=values)
    assert 0 < result["phases"]["model"]["test"]["all"]["recall@10"] < 1
    with pytest.raises(UserError, match=r"bucket_by_length=True needs a model .*, and NextItNet does: leave it out"):
        run("NextItNet", "whole", config_dict=values)
    with pytest.raises(UserError, match="bucket_by_length=True needs files of whole sessions"):
        run("GRU4Rec", "ml-100k", config_dict=values | {"benchmark_filename": None})


def test_our_models_run_on_whole_sessions(sources: Path) -> None:
    convert("--name", "whole", "--output", ".", *plain(sources))
    result = run("ODRec", "whole", config_dict={**settings("whole"), "score_dtype": "bfloat16", "epochs": 1})
    report = result["phases"]["student"]["test"]
    assert report["cases"]["head"] + report["cases"]["tail"] == 6 * 28


def test_a_refit_trains_on_validation_sessions_too_for_exactly_so_many_epochs(sources: Path) -> None:
    convert("--name", "whole", "--output", ".", *plain(sources))
    parts = SessionDataset(make_config("ODRec", "whole", config_dict=settings("whole"))).build()
    refit = settings("whole", refit_epochs=2)
    joined = SessionDataset(make_config("ODRec", "whole", config_dict=refit)).build()
    assert raw_rows(joined[0], 20) == raw_rows(parts[0], 20) + raw_rows(parts[1], 20)
    assert raw_rows(joined[2], 20) == raw_rows(parts[2], 20)
    result = run("ODRec", "whole", config_dict={**refit, "epochs": 5, "learning_rate_decay": "linear"})
    for phase in result["phases"].values():
        assert len(phase["seconds_per_epoch"]) == 2
        assert phase["best_epoch"] == 1
        assert phase["valid"] is None
    refit = stock_settings("whole", refit_epochs=2)
    baseline = run("GRU4Rec", "whole", config_dict={**refit, "epochs": 5})["phases"]["model"]
    assert baseline["valid"] is None
    assert baseline["best_epoch"] == 1


def test_a_run_on_session_files_is_found_again(sources: Path) -> None:
    convert("--name", "whole", "--output", ".", *plain(sources))
    values = settings("whole")
    del values["compression_rate"]
    first = run("SASRecTeacher", "whole", config_dict=values)
    Path(first["path"]).unlink()
    again = run("SASRecTeacher", "whole", config_dict=values, resume=True)
    assert again["path"] == first["path"]
    assert again["phases"]["model"]["test"] == first["phases"]["model"]["test"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: "[" + ", ".join(s) + "]", "every list is written like `["),
        (lambda s: "(" + " ".join(s) + ")", "every list is written like `("),
        (lambda s: ", ".join(s), "every list is written like"),
        (lambda s: str(s), "every list is written like `['"),
        (lambda s: " ".join(s + ["0"] * (30 - len(s))), "`0` fills 34 of 34 sessions up at their end"),
        (lambda s: " ".join(["<pad>"] * (30 - len(s)) + s), "`<pad>` fills 34 of 34 sessions up at their start"),
        (lambda s: " ".join(f"[{item}]" for item in s), None),
        (lambda s: " ".join(f'"{item}"' for item in s), None),
        (lambda s: " ".join([*s, s[-1], s[-1]]), None),
        (lambda s: " ".join([*s, "0"]), None),
    ],
)
def test_padding_and_brackets_are_no_items(change, message: str | None) -> None:
    events = np.random.default_rng(0).integers(1, 40, (34, 20)).astype(str)
    sessions = [change([str(item) for item in row[: 3 + at % 17]]) for at, row in enumerate(events)]
    Path("t").mkdir()
    for part in ("train", "valid", "test"):
        lines = ["session_id:token\titem_id_list:token_seq", *(f"{at}\t{s}" for at, s in enumerate(sessions))]
        Path(f"t/t.{part}.inter").write_text("\n".join(lines) + "\n")
    values = settings("t", load_col=None)
    del values["compression_rate"]
    config = make_config("GRU4RecTeacher", "t", config_dict=values)
    if message is None:
        assert len(SessionDataset(config).build()[2]) == sum(len(session.split()) - 1 for session in sessions)
        return
    with pytest.raises(UserError, match=re.escape(message)) as error:
        SessionDataset(config)
    assert "t.train.inter" in str(error.value)
