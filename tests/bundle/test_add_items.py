"""Items that training never saw: codes from their sessions, everything else as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import film_sessions

from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.bundle import Recommender
from recbole_odrec.bundle.add_items import read_sessions
from recbole_odrec.bundle.build import build_session_model
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.bundle.item_model import ItemModel
from recbole_odrec.bundle.manifest import read_manifest, write_manifest
from recbole_odrec.bundle.onnx_session import open_session
from recbole_odrec.bundle.placing import Told, cases, fitted
from recbole_odrec.bundle.stored_tables import nearest_codes
from recbole_odrec.bundle.tokens import TokenTable, read_table
from recbole_odrec.cli import main
from recbole_odrec.errors import UserError
from recbole_odrec.nn import LastStateReadout, ProductCodesEmbedding, SelfAttentionEncoder
from recbole_odrec.nn.tables import RoundedEmbedding

TABLES = {"codes": {"table": "codes"}, "4 bits": {"table": "rounded", "bits": 4}}


@pytest.fixture(scope="session", params=TABLES)
def bundle(request, train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of codes, or of rounded columns, in int8."""
    folder = tmp_path_factory.mktemp("items") / "bundle"
    settings = {**TABLES[request.param], "init_from_teacher": True, "seed": 1}
    checkpoint = train("ODRec", **settings)["phases"]["student"]["checkpoint"]
    export_bundle(checkpoint, folder, "int8", max_ndcg_loss=1.0)
    return folder


@pytest.fixture(scope="session")
def model(bundle: Path) -> ItemModel:
    return ItemModel(bundle / "model.onnx", read_manifest(bundle)["max_length"])


# ---------------------------------------------------------------------- the model's parts


def test_a_session_times_a_row_is_the_score(bundle: Path, model: ItemModel) -> None:
    histories = [[5, 17, 30], [9], list(range(1, 41))]  # the last longer than the model reads
    ids, scores = Recommender(bundle).recommend_ids(histories, 20)
    products = np.einsum("bd,bkd->bk", model.sessions(histories), model.rows[ids])
    np.testing.assert_allclose(products, scores, rtol=1e-4, atol=1e-5)


def test_the_grown_model_adds_its_items_and_changes_no_other_score(bundle: Path, model: ItemModel, tmp_path) -> None:
    history, n_items = [5, 17, 30], read_manifest(bundle)["n_items"]
    ids, scores = Recommender(bundle).recommend_ids([history], 20)
    twin = model.table.integers[ids[0, 2]]  # the same as the third of the answer, and the worst there are
    worst = model.nearest(-1e6 * model.sessions([history]))[0]
    folder = Path(shutil.copytree(bundle, tmp_path / "grown"))
    (folder / "model.onnx").write_bytes(model.grown(np.stack([twin, worst])))
    (folder / "items.txt").write_bytes((bundle / "items.txt").read_bytes() + b"one\ntwo\n")
    (folder / "manifest.json").unlink()
    write_manifest(folder, {**read_manifest(bundle), "n_items": n_items + 2})
    now, of_now = Recommender(folder).recommend_ids([history], 20)
    assert now[0, :5].tolist() == [*ids[0, :3], n_items + 1, ids[0, 3]]
    assert of_now[0, 3] == of_now[0, 2] == scores[0, 2]
    np.testing.assert_array_equal(np.delete(now[0], 3), ids[0, :19])
    np.testing.assert_array_equal(np.delete(of_now[0], 3), scores[0, :19])
    read_as_history = ItemModel(folder / "model.onnx", 20).sessions([[n_items + 1]])
    np.testing.assert_array_equal(read_as_history, model.sessions([[ids[0, 2]]]))


def test_a_grown_model_of_many_items_is_what_export_would_write(tmp_path: Path) -> None:
    """Their scores stand in a grid: new items fill its last row, and begin others."""
    torch.manual_seed(0)
    table, encoder = ProductCodesEmbedding(70_000, 8, 2), SelfAttentionEncoder(8, 5).eval()
    old = build_session_model(table, encoder, LastStateReadout(), 90)
    (tmp_path / "model.onnx").write_bytes(old.SerializeToString())
    more = torch.randint(256, (3000, 2), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    grown = ItemModel(tmp_path / "model.onnx", 5).grown(more.numpy())
    table.n_items, table.codes = 73_000, torch.cat([table.codes, more])
    wanted = build_session_model(table, encoder, LastStateReadout(), 90).SerializeToString()
    feed = {"item_seq": np.array([[5, 72_999, 17], [69_999, 0, 0]])}
    for now, then in zip(*(open_session(model).run(None, feed) for model in (grown, wanted)), strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(("bits", "n_columns"), [(4, 4), (8, 3)])
@pytest.mark.parametrize("n_items", [300, 70_000])
def test_a_grown_model_of_rounded_columns_is_what_export_would_write(
    bits: int, n_columns: int, n_items: int, tmp_path: Path
) -> None:
    """Of few items and of many, whose integers stand in tiles."""
    torch.manual_seed(0)
    table, encoder = RoundedEmbedding(n_items, 8, n_columns, bits, std=1), SelfAttentionEncoder(8, 5).eval()
    more, steps = 2 * torch.randn(3000, n_columns), table.steps()
    old = build_session_model(table, encoder, LastStateReadout(), 90)
    (tmp_path / "model.onnx").write_bytes(old.SerializeToString())
    grown = ItemModel(tmp_path / "model.onnx", 5).grown(table.integers(more).numpy().astype(np.int8))
    table.n_items, table.weight = n_items + 3000, torch.nn.Parameter(torch.cat([table.weight.detach(), more]))
    table.steps = lambda: steps  # as they were
    wanted = build_session_model(table, encoder, LastStateReadout(), 90).SerializeToString()
    feed = {"item_seq": np.array([[5, n_items + 2999, 17], [n_items - 1, 0, 0]])}
    ids, scores = open_session(grown).run(["item_ids", "scores"], feed)
    exact = open_session(wanted).run(["item_ids", "scores"], feed)
    np.testing.assert_array_equal(ids, exact[0])
    np.testing.assert_allclose(scores, exact[1], rtol=1e-5, atol=1e-6)
    assert (ids >= n_items).any()


@pytest.mark.parametrize("bits", [4, 8])
def test_the_integers_next_to_a_row_are_those_that_made_it(bits: int, tmp_path: Path) -> None:
    """And of any row, the nearest in the plane of the projection, whose rows are at right angles here."""
    torch.manual_seed(0)
    table = RoundedEmbedding(500, 16, 6, bits, std=1)
    model = build_session_model(table, SelfAttentionEncoder(16, 5).eval(), LastStateReadout(), 9)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    stored = ItemModel(tmp_path / "model.onnx", 5)
    np.testing.assert_array_equal(stored.table.integers, table.integers(table.weight).detach().numpy())
    np.testing.assert_allclose(stored.rows[1:], table(torch.arange(1, 500)).detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(stored.nearest(stored.rows), stored.table.integers)
    found = stored.nearest(5 * np.random.default_rng(0).standard_normal((400, 16)))
    most = 2 ** (bits - 1) - 1
    assert (np.abs(found).max(), found.dtype) == (most, np.int8)
    rows = 0.5 * np.random.default_rng(1).standard_normal((400, 16)).astype(np.float32)
    found = stored.nearest(rows)
    distance = ((stored.table.rows_of(found) - rows) ** 2).sum(1)
    for step in (-1, 1):  # a step of any column leads away, to rounding of the projection
        for column in range(6):
            other = found.copy()
            other[:, column] = (other[:, column] + step).clip(-most, most)
            assert (((stored.table.rows_of(other) - rows) ** 2).sum(1) > distance - 0.01 * distance.mean()).all()


@pytest.mark.parametrize("table", TABLES)
def test_new_items_have_no_followers_and_the_others_keep_theirs(table: str, train, tmp_path: Path) -> None:
    settings = {**TABLES[table], "init_from_teacher": True, "seed": 1, "n_followers": 2, "repeat_scores": True}
    student = train("ODRec", **settings)["phases"]["student"]
    assert student["follower_gain"] > 0
    export_bundle(student["checkpoint"], tmp_path / "old", "fp32", max_ndcg_loss=1.0)
    manifest = read_manifest(tmp_path / "old")
    model, n_items = ItemModel(tmp_path / "old/model.onnx", manifest["max_length"]), manifest["n_items"]
    folder = Path(shutil.copytree(tmp_path / "old", tmp_path / "grown"))
    (folder / "model.onnx").write_bytes(model.grown(model.table.integers[[7, 9]]))
    (folder / "items.txt").write_bytes((folder / "items.txt").read_bytes() + b"one\ntwo\n")
    (folder / "manifest.json").unlink()
    write_manifest(folder, {**manifest, "n_items": n_items + 2})
    for history in ([5, 17, 30], [9], list(range(1, 15))):
        ids, scores = Recommender(tmp_path / "old").recommend_ids([history], 20)
        now, of_now = Recommender(folder).recommend_ids([history], 20)
        is_old = now[0] <= n_items
        np.testing.assert_array_equal(now[0][is_old], ids[0, : is_old.sum()])
        np.testing.assert_array_equal(of_now[0][is_old], scores[0, : is_old.sum()])
    assert len(Recommender(folder).recommend_ids([[n_items + 1, n_items + 2]], 20)[0][0]) == 20


# ---------------------------------------------------------------------- what an item gets


def test_cases_of_new_and_of_known_items() -> None:
    sessions = [["a", "new", "b"], ["new", "b", "c"], ["other"], ["a", "new", "new"], ["a", "b"]]
    ids = [[1, 0, 2], [0, 2, 3], [0], [1, 0, 0], [1, 2]]
    new, of_new, of_known = cases(sessions, ids, 10)
    assert new == ["new"]  # nothing known stands beside the other one
    assert of_new == [([1], 11), ([2, 3], 11), ([1], 11)]  # once a session
    assert of_known == [([1], 2), ([2], 3), ([1], 2)]


class Rounder:
    """A model of codes."""

    books: np.ndarray

    def nearest(self, rows: np.ndarray) -> np.ndarray:
        return nearest_codes(rows, self.books)


def test_a_new_item_gets_the_codes_next_to_what_known_items_say() -> None:
    """Rows are a linear map of the mean session before them: a new item's is found exactly, and rounded to codes."""
    drawn = np.random.default_rng(0)
    vectors, turn = drawn.standard_normal((300, 8)), drawn.standard_normal((8, 8))

    class Known(Rounder):
        books = drawn.standard_normal((4, 16, 2))
        rows = np.concatenate([np.zeros((1, 8)), vectors[:200] @ turn])

        def sessions(self, histories: list[list[int]]) -> np.ndarray:
            return vectors[[history[0] for history in histories]]

    of_known = [([item - 1], item) for item in range(1, 201)]
    of_new = [([250], 201), ([251], 201), ([252], 202)]
    codes = fitted(Known(), of_new, of_known, 200, 2)  # pyright: ignore[reportArgumentType]
    wanted = np.stack([(vectors[250] + vectors[251]) / 2, vectors[252]]) @ turn
    distances = ((wanted.reshape(2, 4, 1, 2) - Known.books) ** 2).sum(3)
    np.testing.assert_array_equal(codes, distances.argmin(2))
    np.testing.assert_array_equal(nearest_codes(wanted, Known.books), distances.argmin(2))
    assert codes.dtype == np.uint8


class Plane(Rounder):
    """Items whose mean session is their row, of two columns, one codebook a column with entries a hundredth apart."""

    books = np.stack([np.linspace(-1, 1, 201)[:, None]] * 2)
    rows = np.concatenate([np.zeros((1, 2)), np.random.default_rng(0).uniform(-0.9, 0.9, (100, 2))])
    of_new = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])

    def sessions(self, histories: list[list[int]]) -> np.ndarray:
        return np.array([self.rows[history[0]] if history[0] <= 100 else self.of_new[0] for history in histories])


def test_what_a_file_says_counts_like_the_sessions_it_is_worth_on_known_items() -> None:
    """Told rows of known items are all wrong, or all right: new ones follow their sessions, or what is told."""
    model, told_new = Plane(), np.array([[-0.5, 0.5], [np.nan, np.nan], [0.2, 0.3]])
    of_known = [([item], item) for item in range(1, 101) for _ in range(3)]
    of_new = [([101], 101), ([101], 101), ([101], 102)]  # the third has no session
    found = {}
    for name, known in (("wrong", -model.rows), ("right", model.rows)):
        codes = fitted(model, of_new, of_known, 100, 3, Told(known, told_new, np.sqrt(0.5)))  # pyright: ignore[reportArgumentType]
        found[name] = np.stack([model.books[column][codes[:, column], 0] for column in (0, 1)], 1)
    alone = np.array([0.2, 0.3]) * np.sqrt(0.5) / np.hypot(0.2, 0.3)  # no session: as long as known rows are
    np.testing.assert_allclose(found["wrong"], [[0.5, 0.5], [0.5, 0.5], alone], atol=0.02)
    assert found["right"][0, 0] < -0.4  # two sessions against 64
    np.testing.assert_allclose(np.hypot(*found["right"][0]), np.sqrt(0.5), atol=0.02)  # both are as long
    np.testing.assert_allclose(found["right"][1:], [[0.5, 0.5], alone], atol=0.02)
    codes = fitted(model, [], [], 100, 3, Told(model.rows, np.full((3, 2), 0.1), np.sqrt(0.5)))  # pyright: ignore[reportArgumentType]
    assert codes.tolist() == [[150, 150]] * 3


# ---------------------------------------------------------------------- the command


def test_the_delta_makes_a_device_know_the_new_items_and_nothing_else_move(bundle: Path, tmp_path, capsys) -> None:
    """Every other session has `launched` where it had film 50."""
    lines = []
    for number, session in enumerate([*film_sessions().values()][:140]):
        lines.append(" ".join("launched" if item == "50" and number % 2 else item for item in session))
    Path("sessions.txt").write_text("\n".join(lines) + "\n")
    assert main(["add-items", f"--bundle={bundle}", "--items=sessions.txt", "--output=new.delta"]) == 0
    n_new = int(capsys.readouterr().out.split()[0])
    assert 5 < n_new < 100  # films that the first 120 users have not had, too
    device = Path(shutil.copytree(bundle, tmp_path / "device" / "bundle"))
    before = Recommender(device)
    known = before.recommend(["50", "172", "1"], k=10)
    assert main(["recommend", f"--bundle={device}", "--update=new.delta", "launched"]) == 0
    recommender = Recommender(device)
    assert recommender.n_items == before.n_items + n_new
    assert recommender.tokens.find("50") == before.tokens.find("50")
    assert recommender.recommend(["launched"]).unknown == ()
    scores = {item: score for item, score, _ in recommender.recommend(["50", "172", "1"], k=20)}
    assert all(scores[item] == score for item, score, _ in known if item in scores)  # no other score moves


def test_an_item_file_alone_makes_new_items_known_with_their_titles(bundle: Path, tmp_path, capsys) -> None:
    """Films of one class have rows that are alike: a new one of that class scores next to them."""
    manifest = read_manifest(bundle)
    bundle = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (bundle / "titles.txt").write_text("".join(f"Film {item}\n" for item in range(1, manifest["n_items"] + 1)))
    (bundle / "manifest.json").unlink()
    write_manifest(bundle, manifest)
    known = read_table(TokenTable, bundle, read_manifest(bundle), "items.txt")
    model = ItemModel(bundle / "model.onnx", manifest["max_length"])
    is_near = model.rows @ model.rows[5] > np.median(model.rows[1:] @ model.rows[5])
    lines = [f"{known[item]}\tFilm {item}\t{'near' if is_near[item] else 'far'}" for item in range(1, len(known) + 1)]
    lines += ["launched\tA  New Film\tnear", "silent\tOther\tfar", "mute\tNobody\t"]
    Path("x.item").write_text("film:token\ttitle:token_seq\tclass:token\n" + "\n".join(lines) + "\n")
    words = [f"--bundle={bundle}", "--item_file=x.item", "--item_field=film", "--output=new.delta", "--fields", "class"]
    assert main(["add-items", *words]) == 0
    assert capsys.readouterr().out.startswith("2 new items\n")  # of the third nothing is said
    device = Path(shutil.copytree(bundle, tmp_path / "device" / "bundle"))
    before = Recommender(device).recommend_ids([[5]], 20)
    recommender = Recommender(device)
    recommender.update("new.delta")
    rows = ItemModel(device / "model.onnx", manifest["max_length"]).rows
    near, far = (recommender.tokens.find(token) for token in ("launched", "silent"))
    assert rows[near] @ rows[5] > rows[far] @ rows[5]
    np.testing.assert_array_equal(rows[: len(known) + 1], model.rows)
    assert (device / "titles.txt").read_text().splitlines()[-3:] == [f"Film {len(known)}", "A New Film", "Other"]
    ids, scores = recommender.recommend_ids([[5]], 20)
    is_old = ids[0] <= len(known)
    np.testing.assert_array_equal(scores[0][is_old], before[1][0, : is_old.sum()])


def test_a_delta_tells_which_added_items_it_would_lose(tmp_path: Path, capsys) -> None:
    """Such as to a student of `update_from`, whose data say nothing of them."""
    write_random_bundle(tmp_path / "old", "rounded", 60, "int8", 20, 16)
    Path("sessions.txt").write_text("5 new 17 30\n9 5 newer 12\n")
    assert main(["add-items", f"--bundle={tmp_path / 'old'}", "--items=sessions.txt", "--output=new.delta"]) == 0
    device = Path(shutil.copytree(tmp_path / "old", tmp_path / "device"))
    Recommender(device).update("new.delta")
    capsys.readouterr()
    assert main(["delta", str(device), str(tmp_path / "old"), "--output=back.delta"]) == 0
    told = capsys.readouterr().err
    lost = f"{tmp_path / 'old'} does not know 2 items of {device} (new newer): add-items gives them to it, too."
    assert told == f"recbole_odrec: {lost}\n"
    assert main(["delta", str(tmp_path / "old"), str(device), "--output=again.delta"]) == 0
    assert capsys.readouterr().err == ""


def test_no_file_at_all_and_an_item_file_without_news_are_one_line(bundle: Path, capsys) -> None:
    assert main(["add-items", f"--bundle={bundle}"]) == 2
    assert "no file says what is new: give sessions with --items" in capsys.readouterr().err
    Path("x.item").write_text("item_id:token\tclass:token\n5\ta\n17\ta\n")
    assert main(["add-items", f"--bundle={bundle}", "--item_file=x.item"]) == 2
    told = capsys.readouterr().err
    assert f"x.item: no item that {bundle} does not know beside one that it knows: nothing to add." in told
    assert told.count("\n") == 1
    assert not Path("items.delta").exists()


def test_a_file_of_whole_sessions_is_read_too() -> None:
    Path("one.inter").write_text("session_id:token\titem_id_list:token_seq\n1\ta b\n2\tc\n")
    assert [*read_sessions(Path("one.inter"))] == [["a", "b"], ["c"]]
    Path("two.inter").write_text("tag_list:token_seq\titem_id_list:token_seq\nx y\ta b\n")
    assert [*read_sessions(Path("two.inter"))] == [["a", "b"]]


def test_the_target_of_a_case_is_the_last_item_of_its_session() -> None:
    """Prefixes of one session are that session once, as `convert` has it."""
    for columns in ([0, 1, 2], [0, 2, 1]):
        lines = ["session_id:token item_id_list:token_seq item_id:token", "1 a_b_c new", "1 a_b c", "1 a b", "2 b last"]
        rows = [[line.split(" ")[column].replace("_", " ") for column in columns] for line in lines]
        rows[0] = [lines[0].split(" ")[column] for column in columns]
        Path("cases.inter").write_text("".join("\t".join(row) + "\n" for row in rows))
        assert [*read_sessions(Path("cases.inter"))] == [["a", "b", "c", "new"], ["b", "last"]]


def test_names_are_read_as_training_reads_them() -> None:
    """A byte-order mark is none of the first one, a blank of another kind ends none, a tab parts them."""
    Path("odd.txt").write_bytes("\ufeff5 007 7\r\n5\tnew\u00a0one\u3000x\t17\n".encode())
    assert [*read_sessions(Path("odd.txt"))] == [["5", "007", "7"], ["5", "new\u00a0one\u3000x", "17"]]


@pytest.mark.parametrize("kind", ["codes", "rounded"])
def test_a_bundle_that_knows_its_user_takes_new_items(kind: str, tmp_path: Path) -> None:
    user = {"vector_weight": 0.5, "decay": 0.5, "seen_weight": -2.0}
    for name, weights in (("plain", None), ("bundle", user)):
        write_random_bundle(tmp_path / name, kind, 60, "int8", 60, 16, weights)
    Path("sessions.txt").write_text("5 new 17 30\n9 5 new 12\n")
    for name in ("plain", "bundle"):
        words = [f"--bundle={tmp_path / name}", "--items=sessions.txt", f"--output={name}.delta"]
        assert main(["add-items", *words]) == 0
    plain, recommender = Recommender(tmp_path / "plain"), Recommender(tmp_path / "bundle")
    plain.update("plain.delta")
    state = recommender.state()
    state.add(["5", "9"])
    kept = recommender.state(state.to_bytes())
    recommender.update("bundle.delta")
    assert recommender.recommend(["new", "9"], 60) == plain.recommend(["new", "9"], 60)
    for one in (state, kept, recommender.state(kept.to_bytes())):  # its vector says what it said
        assert one.feed(recommender.manifest, recommender.tokens.find_all)["user_vector"].any()
        one.add(["new"])
        assert (one.seen, one._weight) == ({"5": 1, "9": 1, "new": 1}, 1.5)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("5 17\n", "sessions.txt: no item that BUNDLE does not know beside one that it knows: nothing to add."),
        ("new\n", "sessions.txt: no item that BUNDLE does not know beside one that it knows: nothing to add."),
        ("5 new\n", "no known item follows another one in these sessions"),
        ("5 new\n\n", "sessions.txt, line 2: ``, expected items of a session, apart by blanks."),
        ("5 [PAD]\n", "sessions.txt, line 1: item `[PAD]`, expected a name"),
        ("5 a\u2028b\n", "expected a name without blanks, tabs and line breaks"),
        ("item_id_list:token_seq\titem_id:token\n5\t\n", "sessions.txt, line 2: `5\\t`, expected items of a session"),
        ("user_id:token\titem_id:token\n1\t5\n", "names no list of items (:token_seq)"),
        (None, "sessions.txt does not exist."),
    ],
)
def test_bad_input_is_one_line(bundle: Path, content: str | None, line: str, capsys) -> None:
    if content is not None:
        Path("sessions.txt").write_text(content)
    assert main(["add-items", f"--bundle={bundle}", "--items=sessions.txt"]) == 2
    told = capsys.readouterr().err
    assert line.replace("BUNDLE", str(bundle)) in told
    assert told.count("\n") == 1
    assert not Path("items.delta").exists()


def test_a_bundle_of_another_table_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(UserError, match="student of table=codes or table=rounded alone"):
        ItemModel(tiny_bundle / "model.onnx", 20)
