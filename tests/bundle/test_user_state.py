"""A bundle that knows its user: scores with a state are the formula's, and nothing damaged is taken for a state."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.bundle import BundleError, Recommender
from recbole_odrec.bundle.delta_maker import write_delta
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.bundle.manifest import MANIFEST, read_manifest, write_manifest
from recbole_odrec.bundle.source import load_source
from recbole_odrec.bundle.summary import summarize_export
from recbole_odrec.bundle.user_weights import (
    UserCase,
    UserWeights,
    _space,
    cutter,
    learn_user_weights,
    ndcg_of,
    user_cases,
)
from recbole_odrec.cli import main
from recbole_odrec.errors import UserError
from recbole_odrec.nn import FollowerScores, ProductCodesEmbedding
from recbole_odrec.nn.tables import RoundedEmbedding

WEIGHTS = {"vector_weight": 0.5, "decay": 0.5, "seen_weight": -2.0}
SESSIONS = [["3", "4"], ["no item", "5", "4", "4"], ["60"]]


def with_state(folder: Path, kind: str, n_items: int = 60, **weights: float) -> Recommender:
    write_random_bundle(folder, kind, n_items, "fp32", topk=n_items, hidden_size=16, user_state={**WEIGHTS, **weights})
    return Recommender(folder)


def scores_of(recommender: Recommender, history: list[str], state: object = None) -> np.ndarray:
    """Score of each item, [N]."""
    found = np.zeros(recommender.n_items)
    for item, score, _ in recommender.recommend(history, k=recommender.topk, state=state):
        found[int(item) - 1] = score
    return found


@pytest.mark.parametrize("kind", ["student", "teacher", "codes"])
def test_scores_with_a_state_are_the_formulas(tmp_path: Path, kind: str) -> None:
    """Vectors of sessions of the graph itself; products with them from a recommender whose weight is another."""
    recommender = with_state(tmp_path / "one", kind)
    state = recommender.state()
    np.testing.assert_array_equal(scores_of(recommender, ["7"], state), scores_of(recommender, ["7"]))
    for session in SESSIONS:
        state.add(session)
    assert (state.sessions, state.seen) == (3, {"3": 1, "5": 1, "4": 2, "60": 1})
    plain = scores_of(recommender, ["7", "4"])
    seen = np.zeros(60)
    seen[[2, 4, 3, 59]] = np.log2([2, 2, 3, 2])
    only_seen = with_state(tmp_path / "seen", kind, vector_weight=0.0)
    np.testing.assert_allclose(scores_of(only_seen, ["7", "4"], _moved(state, only_seen)), plain - 2 * seen, atol=1e-5)
    vectors = [recommender._encode(session)[1] for session in SESSIONS]
    mean = (0.25 * vectors[0] + 0.5 * vectors[1] + vectors[2]) / 1.75
    # What a vector adds is linear in it: the oracle asks for one unit of each coordinate.
    only_vector = with_state(tmp_path / "vector", kind, vector_weight=1.0)
    added = np.zeros(60)
    for at, size in enumerate(mean):
        unit = only_vector.state()
        unit._weight, unit._total = 1.0, np.eye(16, dtype=np.float32)[at]
        added += size * (scores_of(only_vector, ["7", "4"], unit) - plain)
    np.testing.assert_allclose(scores_of(recommender, ["7", "4"], state), plain - 2 * seen + 0.5 * added, atol=1e-4)


def _moved(state: object, recommender: Recommender) -> object:
    return recommender.state(state.to_bytes())


def test_a_state_is_plain_bounded_and_can_be_read_again(tmp_path: Path) -> None:
    recommender = with_state(tmp_path / "bundle", "student", 900)
    state = recommender.state()
    for start in range(1, 900, 30):
        state.add([str(item) for item in range(start, min(start + 30, 900))])
        state.add(["1", "2"])
    content = state.to_bytes()
    assert 4000 < len(content) <= 4096
    assert json.loads(content)["sessions"] == 60
    assert list(state.seen)[-2:] == ["1", "2"]  # what was had most and last stays, what was had once long ago goes
    assert state.seen["1"] == 31
    assert "899" in state.seen
    assert "31" not in state.seen
    again = recommender.state(content)
    assert again.to_bytes() == content
    np.testing.assert_array_equal(scores_of(recommender, ["7"], again), scores_of(recommender, ["7"], state))
    state.clear()
    assert state.to_bytes() == recommender.state().to_bytes()
    with pytest.raises(BundleError, match="none of its 1 items is known"):
        state.add(["no item"])
    assert state.to_bytes() == recommender.state().to_bytes()


def test_of_another_model_what_was_seen_stays_and_the_vector_goes(tmp_path: Path) -> None:
    recommender, other = with_state(tmp_path / "a", "student"), with_state(tmp_path / "b", "codes")
    state = recommender.state()
    state.add(["3", "4"])
    moved = other.state(state.to_bytes())
    assert (moved.sessions, moved.seen, moved._weight) == (1, {"3": 1, "4": 1}, 0.0)
    expected = scores_of(other, ["7"]) - 2 * np.isin(np.arange(1, 61), [3, 4])
    np.testing.assert_allclose(scores_of(other, ["7"], moved), expected, atol=1e-5)
    np.testing.assert_allclose(scores_of(other, ["7"], state), expected, atol=1e-5)  # kept across an update


@pytest.mark.parametrize("kind", ["student", "codes"])
def test_a_state_that_is_open_goes_on_with_the_updated_bundle(tmp_path: Path, kind: str) -> None:
    """Another model, other weights, another width: what it says then is what its bytes say to the new bundle."""
    recommender = with_state(tmp_path / "bundle", "student")
    write_random_bundle(tmp_path / "new", kind, 60, "fp32", 60, 24, {**WEIGHTS, "seen_weight": 3.0, "decay": 0.25})
    write_delta(tmp_path / "bundle", tmp_path / "new", tmp_path / "delta")
    state = recommender.state()
    state.add(["3", "4"])
    recommender.update(tmp_path / "delta")
    again = recommender.state(state.to_bytes())
    np.testing.assert_array_equal(scores_of(recommender, ["7"], state), scores_of(recommender, ["7"], again))
    for one in (state, again):
        one.add(["5"])
        one.add(["6"])
    assert state.to_bytes() == again.to_bytes()
    assert (state.sessions, state._weight) == (3, 1.25)
    np.testing.assert_array_equal(scores_of(recommender, ["7"], state), scores_of(recommender, ["7"], again))
    write_random_bundle(tmp_path / "newest", kind, 60, "fp32")
    write_delta(tmp_path / "new", tmp_path / "newest", tmp_path / "delta")
    recommender.update(tmp_path / "delta")
    state.clear()  # of a bundle that takes none, too
    assert (state.sessions, state.seen) == (0, {})


def test_the_vector_outlives_every_update_of_the_same_space(tmp_path: Path) -> None:
    """Encoder and codebooks are as they were where the manifest names the same space, whatever else is new."""
    for name, kind, space in (("bundle", "codes", "a"), ("same", "student", "a"), ("trained-anew", "codes", "b")):
        write_random_bundle(tmp_path / name, kind, 60, "fp32", 60, 16, {**WEIGHTS, "space": 16 * space})
    state = Recommender(tmp_path / "bundle").state()
    state.add(["3", "4"])
    for name, weight in (("same", 1.0), ("trained-anew", 0.0)):
        assert Recommender(tmp_path / name).state(state.to_bytes())._weight == weight
        assert (
            state.feed(read_manifest(tmp_path / name), lambda tokens: [1] * len(tokens))["user_vector"].any() == weight
        )
    write_random_bundle(tmp_path / "odd", "codes", 60, "fp32", 60, 16, {**WEIGHTS, "space": 7})
    with pytest.raises(BundleError, match="`user_state` is"):
        Recommender(tmp_path / "odd")


def test_the_space_is_named_by_what_an_update_leaves_alone() -> None:
    model = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "item_table": ProductCodesEmbedding(9, 4, 2)})
    table, before = model["item_table"], _space(model)
    table.codes.add_(1)
    model["followers"] = FollowerScores(9, 2)
    assert _space(model) == before
    for weight in (table.codebooks, model["encoder"].weight):
        weight.data[0] += 1
        assert _space(model) != before
        before = _space(model)


def test_the_space_of_integers_is_named_by_their_steps_too() -> None:
    model = torch.nn.ModuleDict({"item_table": RoundedEmbedding(9, 4, 2, 4)})
    table, before = model["item_table"], _space(model)
    table.numbers(table).hold()
    table.weight.data[3] *= -1
    assert _space(model) == before
    table.held_steps *= 2
    assert _space(model) != before
    table.held_steps /= 2
    table.projection.data[0] += 1
    assert _space(model) != before


def test_a_session_of_very_many_items_is_cut_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = with_state(tmp_path / "bundle", "student", 3000)
    state = recommender.state()
    state.add(["2", "7"])
    calls = []
    monkeypatch.setattr(state, "to_bytes", lambda: calls.append(1) or type(state).to_bytes(state))
    state.add([str(item) for item in range(2, 3001)])
    assert len(calls) == 1
    assert 4080 < len(state.to_bytes()) <= 4096
    kept = [*state.seen]
    assert kept[0] == "2"
    assert kept[1] == "7"
    assert kept[2:] == [str(item) for item in range(3001 - len(kept[2:]), 3001)]


def test_a_model_of_more_dimensions_leaves_less_room(tmp_path: Path) -> None:
    recommender = with_state(tmp_path / "bundle", "student", 900)
    write_random_bundle(tmp_path / "wide", "student", 900, "fp32", hidden_size=256, user_state=WEIGHTS)
    state, wide = recommender.state(), Recommender(tmp_path / "wide")
    state.add([str(item) for item in range(1, 901)])
    moved = wide.state(state.to_bytes())
    assert 4080 < len(moved.to_bytes()) <= 4096
    assert [*moved.seen] == [*state.seen][-len(moved.seen) :]
    assert wide.state(moved.to_bytes()).seen == moved.seen


def changed(**values: object) -> bytes:
    vector = base64.b64encode(bytes(64)).decode()
    state = {"format": "recbole_odrec user", "version": 1, "model": "MODEL", "sessions": 1, "weight": 1.0}
    return json.dumps({**state, "vector": vector, "seen": [["3", 1]], **values}).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff", "invalid start byte"),
        (b"[]", "expected `recbole_odrec user`"),
        (b"[" * 4000, ""),
        (changed()[:-1], "Expecting"),
        (changed(more=1), "expected `recbole_odrec user`"),
        (changed(format="other"), "expected `recbole_odrec user`"),
        (changed(version=2), "version 2, this one reads 1"),
        (changed(sessions=-1), "`sessions` or `seen` is none"),
        (changed(sessions=True), "`sessions` or `seen` is none"),
        (changed(seen={"3": 1}), "`sessions` or `seen` is none"),
        (changed(seen=[["3", 1.5]]), "`sessions` or `seen` is none"),
        (changed(seen=[["3", 1], ["3", 2]]), "an item stands twice"),
        (changed(weight=2), "`weight` is none"),
        (changed(weight=1e-300), "`weight` is none"),
        (changed(vector="!"), "`vector` is none"),
        (changed(vector="AAAA"), "`vector` is none"),
        (changed(vector=None), "`vector` is none"),
        (changed(vector="AAAAAA=="), "`vector` is of another size"),
        (changed(vector=base64.b64encode(np.full(16, np.nan, "<f4").tobytes()).decode()), "or not finite"),
        (changed(seen=[[str(item), 1] for item in range(900)]), "more than 4,096 bytes"),
    ],
)
def test_what_is_no_state_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    recommender = with_state(tmp_path / "bundle", "student")
    model = recommender.manifest["files"]["model.onnx"]["sha256"][:16]
    recommender.state(changed().replace(b"MODEL", model.encode()))
    with pytest.raises(BundleError, match="this is not what a device keeps of a user") as raised:
        recommender.state(content.replace(b"MODEL", model.encode()))
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["{}", 5, ["{}"]])
def test_a_state_that_is_not_bytes_is_one_line(tmp_path: Path, content: object) -> None:
    recommender = with_state(tmp_path / "bundle", "student")
    with pytest.raises(
        BundleError, match=f"not what a device keeps of a user .{type(content).__name__}, expected bytes"
    ):
        recommender.state(content)


def test_bundles_without_users_and_states_of_nobody_are_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    plain, recommender = Recommender(tiny_bundle), with_state(tmp_path / "bundle", "student")
    for call in (plain.state, lambda: plain.recommend(["1"], k=1, state=recommender.state())):
        with pytest.raises(BundleError, match=r"takes no state of a user: export it with --user_state|expected one of"):
            call()
    with pytest.raises(BundleError, match=r"state=\{\}, expected one of `Recommender.state`"):
        recommender.recommend(["1"], k=1, state={})
    manifest = read_manifest(recommender.folder)
    for wrong in ({**manifest["user_state"], "decay": 2}, {"size": 16}, 5):
        (recommender.folder / MANIFEST).unlink()
        write_manifest(recommender.folder, {**manifest, "user_state": wrong})
        with pytest.raises(BundleError, match="`user_state` is"):
            Recommender(recommender.folder)


def test_the_command_keeps_each_session_in_its_file(tmp_path: Path, capsys) -> None:
    recommender = with_state(tmp_path / "bundle", "student")
    words = ["recommend", "--bundle", str(recommender.folder), "--k=5", "--state=me/user.json"]
    assert main([*words, "3", "4"]) == 0
    first = capsys.readouterr().out
    assert [line.split("\t")[0] for line in first.splitlines()] == [
        item for item, _, _ in recommender.recommend(["3", "4"], k=5)
    ]
    state = recommender.state(Path("me/user.json").read_bytes())
    assert (state.sessions, state.seen) == (1, {"3": 1, "4": 1})
    assert main([*words, "5"]) == 0
    printed = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == [item for item, _, _ in recommender.recommend(["5"], k=5, state=state)]
    assert recommender.state(Path("me/user.json").read_bytes()).sessions == 2
    for content in (b"{}", b"x" * 5000):
        Path("me/user.json").write_bytes(content)
        assert main([*words, "5"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("recbole_odrec: me/user.json")
        assert "is not what a device keeps of a user" in error
        assert error.count("\n") == 1
        assert Path("me/user.json").read_bytes() == content


def test_sessions_end_after_a_pause_or_a_number_of_items() -> None:
    times = np.array([np.nan, 0, 100, 4000, 4001, 9000])
    assert cutter("1h")(times).tolist() == [3, 5]
    assert cutter("2h")(times).tolist() == []
    assert cutter("1m")(times).tolist() == [2, 3, 5]
    pieces = {n: [part.tolist() for part in np.split(np.arange(n), cutter("3")(np.arange(n)))] for n in (2, 3, 7)}
    assert pieces == {2: [[0, 1]], 3: [[0, 1, 2]], 7: [[0], [1, 2, 3], [4, 5, 6]]}
    for wrong in ("", "0", "6w", "-1h", "1.5h", "h"):
        with pytest.raises(UserError, match="expected a pause such as 30m, 6h or 1d"):
            cutter(wrong)


def test_export_learns_weights_that_its_bundle_then_uses(odrec_run) -> None:
    """The bundle's lists with a state are PyTorch's, whose NDCG with these weights the manifest tells."""
    path = Path(odrec_run["phases"]["student"]["checkpoint"])
    manifest = export_bundle(path, "out", topk=500, user_state="30m")  # room for items of long sessions
    weights = manifest["user_state"]
    assert weights["sessions"] == "30m"
    assert re.fullmatch("[0-9a-f]{16}", weights["space"])
    assert weights["valid"]["ndcg@20_with_state"] >= weights["valid"]["ndcg@20"] > 0
    source = load_source(path, in_seconds=True)
    cases = [case for case in user_cases(source, 1, "30m") if case.past]
    assert len(cases) == weights["valid"]["cases"] > 10
    chosen = UserWeights(*(weights[name] for name in UserWeights._fields))
    before, after = ndcg_of(source, cases, [UserWeights(), chosen]).mean(1)
    assert (before, after) == pytest.approx([weights["valid"][name] for name in ("ndcg@20", "ndcg@20_with_state")])
    told = f"NDCG@20 {before:.4f} -> {after:.4f} on {len(cases)} validation cases with an earlier session"
    assert f"seen_weight {chosen.seen_weight:g}; {told}" in summarize_export(manifest, "out")
    recommender = Recommender("out")
    tokens = source.test.field2id_token["item_id"]
    found = []
    for session, past, target in cases:
        state = recommender.state()
        for earlier in past:
            state.add([tokens[item] for item in earlier])
        answer = recommender.recommend([tokens[item] for item in session], 500, True, state)[:20]
        own = [rank for rank, (item, _, _) in enumerate(answer) if item == tokens[target]]
        found.append(1 / np.log2(own[0] + 2) if own else 0.0)
    assert np.mean(found) == pytest.approx(after)


def test_of_weights_that_cannot_be_told_apart_the_smallest_is_taken(odrec_run, monkeypatch) -> None:
    """Of the vector; of what was seen the best. A gain of every case has no error, one of a few has a large one."""
    source = load_source(Path(odrec_run["phases"]["student"]["checkpoint"]), in_seconds=True)
    seen = {0.0: 0.1, -1.0: 0.2, -4.0: 0.3, -16.0: 0.3, -64.0: 0.2, 1.0: 0.0, 4.0: 0.0}
    for noise, weight, decay in ((0.0, 0.35, 0.9), (0.2, 0.1, 1.0), (5.0, 0.0, 1.0)):

        def given(source, cases, choices, noise=noise):
            rows = np.array([seen[choice.seen_weight] for choice in choices])[:, None] + np.zeros((1, len(cases)))
            swing = noise * (-1.0) ** np.arange(len(cases) // 2 * 2)
            for row, (vector, of_decay, _) in zip(rows, choices, strict=True):
                row += {0.0: 0, 0.05: 0.01, 0.1: 0.1, 0.2: 0.12, 0.35: 0.15, 0.5: 0.02}[vector]
                row += 0.01 if of_decay == (0.9 if vector == 0.35 else 1.0) and vector else 0
                row[: len(swing)] += swing if vector == 0.35 else 0
            return rows

        monkeypatch.setattr("recbole_odrec.bundle.user_weights.ndcg_of", given)
        learnt = learn_user_weights(source, "30m")
        assert (learnt["seen_weight"], learnt["vector_weight"], learnt["decay"]) == (-4.0, weight, decay), noise


def test_weights_of_a_user_move_scores_in_pytorch_as_said(odrec_run) -> None:
    source = load_source(Path(odrec_run["phases"]["student"]["checkpoint"]))
    case = UserCase(np.array([5]), [np.array([7, 8]), np.array([8])], 8)
    choices = [UserWeights(seen_weight=weight) for weight in (0.0, 100.0, -100.0)]
    first, most, least = ndcg_of(source, [case], choices)[:, 0]
    assert (most, least) == (1.0, 0.0)  # twice seen: before the one seen once
    assert 0 <= first <= 1
    vector_alone = ndcg_of(source, [case], [UserWeights(1e6, 1e-9)])[0, 0]  # of the last session
    model = source.model
    with torch.no_grad():
        scores = model.item_table.scores(model(torch.tensor([[8]])))[0]
    scores[[0, 5]] = -torch.inf
    rank = int((scores > scores[8]).sum())
    assert vector_alone == pytest.approx(1 / np.log2(rank + 2) if rank < 20 else 0)


@pytest.mark.parametrize(
    ("rule", "message"),
    [("6w", "expected a pause such as 30m"), ("9999d", "has an earlier session by that rule; give a shorter time")],
)
def test_sessions_that_cannot_be_are_one_line(odrec_run, rule: str, message: str, capsys) -> None:
    path = odrec_run["phases"]["student"]["checkpoint"]
    assert main(["export", f"--checkpoint={path}", "--output=out", f"--user_state={rule}"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("out").exists()


def test_other_models_take_no_state(train, capsys) -> None:
    path = train("GRU4Rec", num_layers=1)["phases"]["model"]["checkpoint"]
    assert main(["export", f"--checkpoint={path}", "--output=out", "--user_state=30m"]) == 2
    assert "--user_state is for ODRec and our teachers" in capsys.readouterr().err
