"""From a run's checkpoint to a folder: what is in it, that it equals PyTorch, and what is refused."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_odrec.bundle import Recommender, export
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.bundle.parity import Expected, compare, require_parity
from recbole_odrec.bundle.source import load_source
from recbole_odrec.cli import main
from recbole_odrec.errors import UserError
from recbole_odrec.trainer import checkpoint


def path_of(result: dict, phase: str) -> str:
    return result["phases"][phase]["checkpoint"]


@pytest.mark.parametrize("phase", ["student", "teacher"])
def test_a_bundle_recommends_what_the_checkpoint_does(odrec_run, phase: str) -> None:
    """The oracle is RecBole's own evaluation interface, tokens in and out."""
    manifest = export_bundle(path_of(odrec_run, phase), "out", topk=15)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "LICENSE",
        "items.txt",
        "manifest.json",
        "model.onnx",
    ]
    parity = manifest["parity"]["fp32"]
    assert parity["cases"] == 120
    assert parity["identical_lists"] + parity["tied_lists"] == 120
    assert parity["ndcg_pytorch"] == pytest.approx(manifest["metrics"]["test"]["ndcg@10"], abs=1e-9)
    assert manifest["metrics"]["test"] == odrec_run["phases"][phase]["test"]["all"]

    source = load_source(Path(path_of(odrec_run, phase)))
    if phase == "student":
        assert not np.array_equal(source.new_ids, np.arange(len(source.new_ids)))  # the order is really another
    recommender = Recommender("out")
    vocabulary = source.test.field2id_token["item_id"]
    for case in range(0, 120, 17):
        row = source.test[torch.tensor([case])]
        history = [vocabulary[item] for item in row["item_id_list"][0].tolist() if item]
        with torch.no_grad():
            scores = source.model.full_sort_predict(row)[0]
        scores[0] = -torch.inf
        best = scores.topk(15)
        answer = recommender.recommend(history, k=15)
        assert [item for item, _, _ in answer] == [vocabulary[item] for item in best.indices.tolist()]
        np.testing.assert_allclose([score for _, score, _ in answer], best.values.numpy(), atol=1e-4)


@pytest.mark.parametrize(("model", "layers"), [("SASRec", "n_layers"), ("GRU4Rec", "num_layers"), ("CORE", "n_layers")])
def test_recboles_own_models_export_too(train, model: str, layers: str) -> None:
    result = train(model, **{layers: 1})
    manifest = export_bundle(path_of(result, "model"), "out", "fp16")
    parity = manifest["parity"]["fp32"]
    assert parity["identical_lists"] + parity["tied_lists"] == parity["cases"] == 120
    assert parity["ndcg_pytorch"] == pytest.approx(result["phases"]["model"]["test"]["all"]["ndcg@10"], abs=1e-6)
    assert manifest["parity"]["fp16"]["overlap"] > 0.99
    assert len(Recommender("out").recommend(["50", "172"], k=20)) == 20


def test_codes_and_repeat_scores_export(train) -> None:
    settings = {"table": "codes", "init_from_teacher": True, "readout": "item_attention", "repeat_scores": True}
    settings["n_followers"] = 2
    result = train("ODRec", **settings)
    sizes = result["phases"]["student"]["parameters"]
    model = torch.load(path_of(result, "student"), weights_only=True)["state_dict"]
    n_items = len(model["followers.items"])
    assert model["followers.strengths"].any(1)[1:].float().mean() > 0.9
    assert sizes["item_table_bytes"] > n_items * 2 * 3
    assert sizes["compression_rate"] == pytest.approx(
        4 * sizes["item_table_dense"] / sizes["item_table_bytes"], abs=1e-3
    )
    for precision in ("fp32", "int8"):
        manifest = export_bundle(path_of(result, "student"), precision, precision, max_ndcg_loss=0.5)
        parity = manifest["parity"]["fp32"]
        assert parity["identical_lists"] + parity["tied_lists"] == parity["cases"] == 120
        assert parity["ndcg_pytorch"] == pytest.approx(result["phases"]["student"]["test"]["all"]["ndcg@10"], abs=1e-9)
    assert manifest["parity"]["int8"]["overlap"] > 0.9
    history = ["50", "172", "1", "50"]
    recommender = Recommender("fp32")
    answer = recommender.recommend(history, k=recommender.topk, exclude_seen=True)
    assert not {item for item, _, _ in answer} & set(history)


def test_int8_is_smaller_and_says_what_it_costs(odrec_run, capsys) -> None:
    command = ["export", f"--checkpoint={path_of(odrec_run, 'student')}", "--max_ndcg_loss=0.5"]
    for precision in ("fp32", "int8"):
        assert main([*command, f"--output={precision}", f"--precision={precision}"]) == 0
    assert "int8 against PyTorch on 120 test cases: " in capsys.readouterr().out
    sizes = [json.loads(Path(p, "manifest.json").read_text())["files"]["model.onnx"]["bytes"] for p in ("fp32", "int8")]
    assert sizes[1] < 0.6 * sizes[0]  # the graph itself is most of so small a model
    assert json.loads(Path("int8", "manifest.json").read_text())["parity"]["int8"]["overlap"] > 0.9


def test_titles_come_from_the_item_file(odrec_run, small_data: Path, tmp_path: Path, capsys) -> None:
    moved = tmp_path / "moved" / "ml-small"
    moved.mkdir(parents=True)
    (moved / "ml-small.inter").write_bytes((small_data / "ml-small" / "ml-small.inter").read_bytes())
    (moved / "ml-small.item").write_text("item_id:token\tmovie_title:token_seq\n50\tStar  Wars\n172\t\n")
    path = path_of(odrec_run, "student")
    assert main(["export", f"--checkpoint={path}", "--output=out", f"--data_path={moved.parent}"]) == 0
    titles = dict(
        zip(Path("out/items.txt").read_text().split("\n"), Path("out/titles.txt").read_text().split("\n"), strict=True)
    )
    assert titles["50"] == "Star Wars"
    assert titles["172"] == ""
    capsys.readouterr()
    assert main(["recommend", "--bundle=out", "50", "172", "nowhere", "--k=20"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert len(lines) == 20
    for line in lines:
        item, score, *title = line.split("\t")
        assert float(score) < 1e3
        assert title == ([titles[item]] if titles[item] else [])
    assert captured.err == "recbole_odrec: unknown items, skipped: nowhere\n"


def test_a_graph_that_differs_is_never_written(odrec_run, monkeypatch, capsys) -> None:
    build = export._build

    def build_wrong(*arguments):
        wrong = build(*arguments)
        for tensor in wrong.graph.initializer:
            if tensor.name == "core_0":
                values = np.frombuffer(tensor.raw_data, np.float32).copy()
                values[::7] *= 1.01
                tensor.raw_data = values.tobytes()
        return wrong

    monkeypatch.setattr(export, "_build", build_wrong)
    assert main(["export", f"--checkpoint={path_of(odrec_run, 'student')}", "--output=out"]) == 2
    captured = capsys.readouterr()
    assert "the exported model differs from PyTorch" in captured.err
    assert captured.err.count("\n") == 1
    assert not list(Path().iterdir())


def expectation(ids: list, scores: list, targets: list) -> Expected:
    ids, scores = np.array(ids), np.array(scores, np.float32)
    return Expected(
        [np.ones((len(ids), 1), int)], np.array(targets), ids, scores, lambda start, wanted: own_scores(wanted)
    )


def own_scores(wanted: np.ndarray) -> np.ndarray:
    return np.choose(wanted, [0.0, 3.0, 2.0, 2.0, 1.0])


def test_parity_tells_ties_from_differences() -> None:
    expected = expectation([[1, 2, 3]] * 3, [[3, 2, 2]] * 3, [1, 2, 4])
    scores = np.array([[3, 2, 2]] * 3, np.float32)
    parity = compare(expected, lambda _: (np.array([[1, 2, 3], [1, 3, 2], [1, 2, 4]]), scores))
    assert (parity.identical_lists, parity.tied_lists) == (1, 1)
    assert parity.overlap == pytest.approx(8 / 9)
    assert parity.ndcg_pytorch == pytest.approx((1 + 1 / np.log2(3)) / 3)
    assert parity.ndcg_bundle == pytest.approx((1 + 0.5 + 0.5) / 3)
    with pytest.raises(UserError, match="1 of 3 lists beyond ties"):
        require_parity(parity, "fp32")
    with (
        pytest.raises(UserError, match=r"int8 loses -?\d") if parity.ndcg_loss > 0.01 else pytest.raises(AssertionError)
    ):
        require_parity(parity, "int8")
        raise AssertionError


@pytest.mark.parametrize("score", [2.0003, np.nan])
def test_scores_that_differ_are_refused(score: float) -> None:
    expected = expectation([[1, 2]], [[3, 2]], [1])
    parity = compare(expected, lambda _: (np.array([[1, 2]]), np.array([[3, score]], np.float32)))
    with pytest.raises(UserError, match="scores by up to"):
        require_parity(parity, "fp32")


def test_bad_input_is_one_line_and_leaves_nothing(odrec_run, capsys) -> None:
    path = path_of(odrec_run, "student")
    state = checkpoint.load(Path(path))
    inputs = Path("in")
    inputs.mkdir()
    Path(inputs, "there").mkdir()
    Path(inputs, "text.pth").write_text("no checkpoint")
    checkpoint.save(inputs / "items.pth", {**state, "items": "0" * 12})
    broken = {name: weight * torch.nan for name, weight in state["state_dict"].items() if weight.is_floating_point()}
    checkpoint.save(inputs / "nan.pth", {**state, "state_dict": {**state["state_dict"], **broken}})
    checkpoint.save(inputs / "short.pth", {**state, "state_dict": {}})
    checkpoint.save(inputs / "other.pth", {**state, "model": "BPR"})
    own = [
        ({"seed": -1}, "holds seed=-1, expected a whole number from 0 to 4294967295"),
        ({"MAX_ITEM_LIST_LENGTH": 0}, "holds MAX_ITEM_LIST_LENGTH=0, expected one of auto or a whole number from 1"),
        ({"topk": [10**30]}, "expected a whole number from 1 to 2147483647 or a list"),
        ({"hidden_size": 10**30}, f"holds hidden_size={10**30}, expected finite numbers below 2**32"),
        ({"hidden_size": -3}, "hidden_size=-3, expected a whole number of at least 1"),
        ({"eval_args": "full"}, "holds eval_args='full', expected a dictionary of split"),
        ({"load_col": {}}, "holds load_col={}, expected None or a dictionary"),
        ({"dataset": "../ml-small"}, "does not say of which model and data set it is"),
        (
            {"readout": "evil:Readout"},
            "names readout='evil:Readout', and importing that runs its code: ",
        ),
    ]
    for number, (values, _) in enumerate(own):
        checkpoint.save(inputs / f"own{number}.pth", {**state, "config": {**state["config"], **values}})
    checkpoint.save(inputs / "n.pth", {**state, "n_items": 7})
    given = [
        *(([f"--checkpoint=in/own{number}.pth"], message) for number, (_, message) in enumerate(own)),
        (["--checkpoint=in/own8.pth", "--part=evil:Readout"], "readout='evil:Readout' cannot be imported"),
        (["--checkpoint=in/n.pth"], "says that it is of 7 items, and this data has "),
        (["--checkpoint=absent.pth"], "checkpoint absent.pth does not exist"),
        (["--checkpoint=in/text.pth"], "neither a checkpoint of recbole_odrec nor of RecBole"),
        (["--checkpoint=in/items.pth"], "are not those it was trained on"),
        (["--checkpoint=in/nan.pth"], "holds NaN or infinity"),
        (["--checkpoint=in/short.pth"], "is of another model: it has no weight `"),
        (["--checkpoint=in/other.pth"], "is of another model: it has no weight `user_embedding.weight`"),
        ([f"--checkpoint={path}", "--precision=int4"], "precision='int4'"),
        ([f"--checkpoint={path}", "--topk=0"], "topk=0, expected 1 to "),
        ([f"--checkpoint={path}", "--topk=9999"], "topk=9999, expected 1 to "),
        ([f"--checkpoint={path}", "--output=in/there"], "exists; give a new folder"),
        ([f"--checkpoint={path}", "--data_path=absent"], "ml-small.inter does not exist"),
        ([f"--checkpoint={path}", "--precision=int8", "--max_ndcg_loss=-9"], "int8 loses "),
    ]
    for words, message in given:
        output = [] if any(word.startswith("--output") for word in words) else ["--output=out"]
        assert main(["export", *words, *output]) == 2, words
        captured = capsys.readouterr()
        assert message in captured.err, captured.err
        assert captured.err.count("\n") == 1
        assert sorted(path.name for path in Path().iterdir() if path.name not in ("log", "log_tensorboard")) == ["in"]


def test_a_full_disk_is_one_line_and_leaves_nothing(odrec_run, monkeypatch, capsys) -> None:

    def refused(output: str) -> str:
        assert main(["export", "--checkpoint", path_of(odrec_run, "student"), "--output", output]) == 2
        return capsys.readouterr().err

    assert refused("/proc/out/bundle") == (
        "recbole_odrec: /proc/out/bundle cannot be written (No such file or directory); nothing was written.\n"
    )
    Path("file").touch()
    assert "file/out cannot be written (Not a directory); nothing was written." in refused("file/out")
    for place in ((Path, "write_bytes"), (Path, "write_text"), (Path, "rename")):
        with monkeypatch.context() as patch:

            def full(*_: object, **__: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(*place, full)
            assert refused("out/bundle") == (
                "recbole_odrec: out/bundle cannot be written (No space left on device); nothing was written.\n"
            )
        assert not Path("out").exists()


def test_a_pickle_is_never_executed(train, tmp_path: Path) -> None:
    """A RecBole checkpoint with a command in it: the command does not run."""

    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    state = torch.load(path_of(train("GRU4Rec", num_layers=1), "model"), weights_only=False)
    torch.save({**state, "other_parameter": Trap()}, "trap.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load("trap.pth", weights_only=True)
    source = load_source(Path("trap.pth"))
    assert type(source.model).__name__ == "GRU4Rec"
    assert not (tmp_path / "sprung").exists()


def test_executorch_program_or_one_line_that_says_why_not(odrec_run, capsys) -> None:
    """Where ExecuTorch is installed its program passes the same parity check; elsewhere the command says so."""
    command = ["export", f"--checkpoint={path_of(odrec_run, 'student')}", "--output=out", "--executorch"]
    if importlib.util.find_spec("executorch") is None:
        assert main(command) == 2
        captured = capsys.readouterr()
        assert "--executorch needs ExecuTorch, which cannot be imported here" in captured.err
        assert captured.err.count("\n") == 1
        assert not Path("out").exists()
        return
    assert main(command) == 0
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert manifest["files"]["model.pte"]["bytes"] == Path("out/model.pte").stat().st_size
    parity = manifest["parity"]["executorch"]
    assert parity["identical_lists"] + parity["tied_lists"] == parity["cases"] == 120
    assert len(Recommender("out").recommend(["50"], k=5)) == 5


def test_executorch_is_for_our_models(train, capsys) -> None:
    checkpoint_path = path_of(train("GRU4Rec", num_layers=1), "model")
    assert main(["export", f"--checkpoint={checkpoint_path}", "--output=out", "--executorch"]) == 2
    assert "--executorch exports ODRec and its teachers" in capsys.readouterr().err
    assert not Path("out").exists()
