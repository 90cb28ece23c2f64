"""The graph against PyTorch's own modules: every encoder, read-out and table, values and ids, many shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from recbole_odrec import nn
from recbole_odrec.bundle.build import build_session_model
from recbole_odrec.bundle.graph import BOOL, FLOAT, INT64, Graph, value
from recbole_odrec.bundle.part_graphs import encode, read_out, table_graph
from recbole_odrec.bundle.recommender import open_session
from recbole_odrec.bundle.repeated import merge_added, nothing
from recbole_odrec.bundle.top_k import Rows
from recbole_odrec.nn import (
    DenseEmbedding,
    FollowerScores,
    GRUEncoder,
    ItemAttentionReadout,
    LastStateReadout,
    ProductCodesEmbedding,
    RepeatScores,
    SelfAttentionEncoder,
    SemiTensorTrainEmbedding,
    SoftAttentionReadout,
)
from recbole_odrec.nn.tables import HashedEmbedding, RoundedEmbedding

N, D, L, K = 97, 24, 9, 7

TABLES = {
    "dense": lambda: DenseEmbedding(N, D, std=1),
    "dense, normalised": lambda: DenseEmbedding(N, D, std=1, is_normalized=True),
    "two cores": lambda: SemiTensorTrainEmbedding(N, D, tt_ranks=6, stp_factor=2, std=1),
    "t = 1": lambda: SemiTensorTrainEmbedding(N, D, tt_ranks=5, stp_factor=1, std=1),
    "t = 3": lambda: SemiTensorTrainEmbedding(N, D, dim_shape=[4, 6], tt_ranks=6, stp_factor=3, std=1),
    "many empty rows": lambda: SemiTensorTrainEmbedding(N, D, [40, 10], [6, 4], 4, 2, std=1),
    "fewer rows than k": lambda: SemiTensorTrainEmbedding(N, D, [3, 40], [6, 4], 4, 2, std=1),
    "one full row": lambda: SemiTensorTrainEmbedding(N, D, [1, N], [6, 4], 4, 2, std=1),
    "three cores": lambda: SemiTensorTrainEmbedding(N, D, [4, 5, 6], [3, 2, 4], [1, 6, 4, 1], 2, std=1),
    "codes": lambda: ProductCodesEmbedding(N, D, 6, std=1),
    "8 bits": lambda: RoundedEmbedding(N, D, 7, std=1),
    "4 bits": lambda: RoundedEmbedding(N, D, 10, bits=4, std=1),
    "quotients and remainders": lambda: HashedEmbedding(N, D, 20, std=1),
    "four cores": lambda: SemiTensorTrainEmbedding(N, D, [3, 3, 4, 4], [2, 3, 2, 2], [1, 2, 4, 2, 1], 2, std=1),
}
ENCODERS = {
    "one head": lambda: SelfAttentionEncoder(D, L, n_layers=2, inner_size=20, initializer_range=0.3),
    "three heads": lambda: SelfAttentionEncoder(D, L, n_heads=3, inner_size=20, initializer_range=0.3),
    "gru": lambda: GRUEncoder(D, n_layers=2),
}
READOUTS = {
    "soft attention": lambda: SoftAttentionReadout(D, 0.3),
    "item attention": lambda: ItemAttentionReadout(D, L),
    "last": LastStateReadout,
}


def randomize_biases(module: torch.nn.Module) -> None:
    """Biases and norms start as zeros and ones, which would hide a mistake in either."""
    for parameter in module.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=0.3, std=0.3)


def sessions(seed: int = 0, batch: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    item_seq = torch.randint(1, N, (batch, L), generator=generator)
    for row in range(batch):
        item_seq[row, 1 + (row * 5) % L :] = 0
    return item_seq


@torch.no_grad()
def oracle(parts: tuple, item_seq: torch.Tensor, exclude_seen: bool = False) -> torch.Tensor:
    """Scores of every item, -inf where it must not be served."""
    table, encoder, readout, *added_by = parts
    items = table(item_seq)
    hidden, is_item = encoder(items), item_seq != 0
    scores = table.scores(readout(hidden, is_item, items))
    ends = torch.arange(len(item_seq)), is_item.sum(1) - 1
    for part in added_by:
        is_repeat = isinstance(part, RepeatScores)
        ids, added = (item_seq, part(hidden, *ends)) if is_repeat else part(item_seq, ends[1])
        scores = scores.scatter_add(1, ids, added)
    scores[:, 0] = -torch.inf
    return scores.scatter(1, item_seq, -torch.inf) if exclude_seen else scores


def build(
    table: str,
    encoder: str = "one head",
    readout: str = "last",
    precision: str = "fp32",
    k: int = K,
    repeats: bool = False,
    n_followers: int = 0,
):
    torch.manual_seed(1)
    parts = (TABLES[table](), ENCODERS[encoder]().eval(), READOUTS[readout]())
    if repeats:
        parts = (*parts, RepeatScores(D, L))
        torch.nn.init.normal_(parts[-1].query.weight)
    followers = FollowerScores(N, n_followers, 40.0) if n_followers else None
    if followers:
        shares = torch.rand(N, n_followers) * (torch.rand(N, n_followers) > 0.2)
        followers.remember(torch.randint(1, N, (N, n_followers)), shares)
        parts = (*parts, followers)
    for part in parts[1:]:
        randomize_biases(part)
    repeat = parts[3] if repeats else None
    model = build_session_model(*parts[:3], topk=k, precision=precision, repeat=repeat, followers=followers)
    session = open_session(model.SerializeToString())

    def run(item_seq: torch.Tensor, **flags: object) -> tuple[np.ndarray, np.ndarray]:
        feed = {"item_seq": item_seq.numpy(), **{name: np.array(value) for name, value in flags.items()}}
        return tuple(session.run(["item_ids", "scores"], feed))

    return parts, model, run


def assert_equal_top(run, parts: tuple, item_seq: torch.Tensor, k: int = K, **flags: bool) -> None:
    ids, scores = run(item_seq, **flags)
    expected = oracle(parts, item_seq, **flags).topk(k)
    np.testing.assert_array_equal(ids, expected.indices.numpy())
    np.testing.assert_allclose(scores, expected.values.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_gives_pytorchs_items_and_scores(table: str) -> None:
    parts, _, run = build(table)
    assert_equal_top(run, parts, sessions())
    assert_equal_top(run, parts, sessions(), exclude_seen=False)
    assert_equal_top(run, parts, sessions(), exclude_seen=True)
    assert_equal_top(run, parts, sessions(3, batch=1)[:, :1])


def test_items_of_one_hash_share_their_score_and_come_in_the_order_of_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES, "modulo", lambda: HashedEmbedding(N, D, 20, has_quotients=False, std=1))
    parts, _, run = build("modulo")
    ids, scores = run(sessions())
    expected = oracle(parts, sessions()).numpy()
    best = np.lexsort((np.broadcast_to(np.arange(N), expected.shape), -expected.round(4)))[:, :K]
    np.testing.assert_array_equal(ids, best)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, best, 1), rtol=1e-4)
    assert [len({*row}) for row in ids % 20] == [2] * len(ids)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("table", ["dense", "two cores"])
def test_every_encoder_and_readout(table: str, encoder: str, readout: str) -> None:
    parts, _, run = build(table, encoder, readout)
    assert_equal_top(run, parts, sessions())


@pytest.mark.parametrize("table", ["dense", "two cores", "fewer rows than k", "codes"])
def test_items_of_the_session_have_scores_of_their_own(table: str) -> None:
    """Some occur twice, some are lifted into the list, some pushed out of it."""
    parts, _, run = build(table, readout="item attention", repeats=True)
    item_seq = sessions(batch=12)
    item_seq[:, 2] = torch.where(item_seq[:, 2] > 0, item_seq[:, 0], 0)
    assert_equal_top(run, parts, item_seq)
    assert_equal_top(run, parts, item_seq, exclude_seen=True)
    assert_equal_top(run, parts, sessions(3, batch=1)[:, :1])
    ids, _ = run(item_seq)
    own = [set(row.tolist()) & set(best) for row, best in zip(item_seq, ids.tolist(), strict=True)]
    assert 0 < sum(map(len, own)) < sum(len(set(row.tolist()) - {0}) for row in item_seq)


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("table", TABLES)
def test_followers_of_the_session_have_scores_of_their_own(table: str, repeats: bool) -> None:
    """Beside the session's own items, which some of them are; some are lifted into the list."""
    parts, model, run = build(table, readout="item attention", repeats=repeats, n_followers=3)
    for item_seq in (sessions(batch=12), sessions(3, batch=1)[:, :1]):
        assert_equal_top(run, parts, item_seq)
        assert_equal_top(run, parts, item_seq, exclude_seen=True)
    stored = {one.name: np.frombuffer(one.raw_data, np.uint8).size for one in model.graph.initializer}
    assert stored["followers.ids"] + stored["followers.strengths"] == parts[-1].n_bytes
    without = oracle(parts[:-1], sessions(batch=12)).topk(K).indices
    assert not torch.equal(without, oracle(parts, sessions(batch=12)).topk(K).indices)


@pytest.mark.parametrize(
    ("n_codes", "n_items", "tile"), [(1, 70_000, 64), (3, 70_000, 64), (4, 70_000, 9), (4, 67_584, 64)]
)
def test_codes_of_many_items_are_looked_up_two_at_a_time(
    monkeypatch: pytest.MonkeyPatch, n_codes: int, n_items: int, tile: int
) -> None:
    """In tiles of a grid, whose last row is mostly empty, or full; more items asked for than it has rows."""
    monkeypatch.setattr("recbole_odrec.bundle.tables.codes._TILE", tile)
    monkeypatch.setitem(globals(), "N", n_items)
    monkeypatch.setitem(TABLES, "codes", lambda: ProductCodesEmbedding(N, D, n_codes, std=1))
    parts, _, run = build("codes", k=80 if n_codes > 1 else K, repeats=True, n_followers=2)
    if n_codes == 1:  # 256 vectors for 70,000 items: nothing but ties
        _, scores = run(sessions())
        wanted = oracle(parts, sessions()).numpy()
        best = np.lexsort((np.broadcast_to(np.arange(N), wanted.shape), -wanted.round(4)))[:, :K]
        np.testing.assert_allclose(scores, np.take_along_axis(wanted, best, 1), rtol=1e-4)
        return
    assert_equal_top(run, parts, sessions(batch=12), 80)
    assert_equal_top(run, parts, sessions(3, batch=1)[:, :1], 80, exclude_seen=True)


def assert_in_order_of_ids(model: onnx.ModelProto, lifted: torch.Tensor) -> None:
    """Of 70,000 items two scores alone: some are lifted above or below the others, and either come by their ids."""
    ids, _ = open_session(model.SerializeToString()).run(None, {"item_seq": sessions().numpy()})
    others = np.delete(np.arange(1, 70_000), lifted.numpy() - 1)
    best = [np.concatenate([np.sort(lifted.numpy()), others])[:K], np.concatenate([others, lifted.numpy()])[:K]]
    for row in ids:
        assert any(np.array_equal(row, wanted) for wanted in best)


def test_equal_codes_of_many_items_come_in_the_order_of_ids() -> None:
    table, encoder = ProductCodesEmbedding(70_000, D, 4), SelfAttentionEncoder(D, L).eval()
    table.codes.fill_(0)
    for count in (3, K + 3):  # items of other codes, in many rows of the grid: the best there are, or the worst
        lifted = torch.arange(69_999, 0, -7777)[:count]
        table.codes[:] = 0
        table.codes[lifted, 1] = 1
        assert_in_order_of_ids(build_session_model(table, encoder, LastStateReadout(), K), lifted)


@pytest.mark.parametrize(
    ("bits", "n_columns", "n_items", "tile"),
    [(4, 10, 70_000, 2**18), (4, 2, 66_048, 2**14), (8, 7, 70_000, 2**14), (8, 1, 65_537, 2**14)],
)
def test_rounded_rows_of_many_items_are_scored_exactly(
    monkeypatch: pytest.MonkeyPatch, bits: int, n_columns: int, n_items: int, tile: int
) -> None:
    """By a scan in integers, in tiles, whose last row is full, half full or one item; a column or two: mostly ties."""
    monkeypatch.setattr("recbole_odrec.bundle.tables.rounded._TILE", tile)
    monkeypatch.setitem(globals(), "N", n_items)
    monkeypatch.setitem(TABLES, "rounded", lambda: RoundedEmbedding(N, D, n_columns, bits, std=1))
    parts, model, run = build("rounded", k=80, repeats=True, n_followers=2)
    assert any(node.op_type == "MatMulInteger" for node in model.graph.node)
    for item_seq, flags in ((sessions(batch=12), {}), (sessions(3, batch=1)[:, :1], {"exclude_seen": True})):
        if n_columns > 2:
            assert_equal_top(run, parts, item_seq, 80, **flags)
            continue
        ids, scores = run(item_seq, **flags)
        wanted = oracle(parts, item_seq, **flags)
        np.testing.assert_allclose(scores, wanted.topk(80).values.numpy(), rtol=1e-4, atol=1e-5)
        own = wanted.gather(1, torch.from_numpy(ids)).numpy()
        np.testing.assert_allclose(own, scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
def test_what_a_query_of_few_bits_gets_wrong_costs_no_item(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """Without slack the last of forty is lost in some sessions, for others that seem better."""
    monkeypatch.setitem(globals(), "N", 66_000)
    monkeypatch.setitem(TABLES, "rounded", lambda: RoundedEmbedding(N, D, 10, bits, std=1))
    n_wrong = {}
    for slack in (True, False):
        if not slack:
            rows = "recbole_odrec.bundle.tables.rounded.Rows"
            monkeypatch.setattr(rows, lambda maxima, cells_at, *_: Rows(maxima, cells_at))
        parts, _, run = build("rounded", k=40)
        item_seq = sessions(batch=200)
        _, scores = run(item_seq)
        wanted = oracle(parts, item_seq).topk(40).values.numpy()
        n_wrong[slack] = int((~np.isclose(scores, wanted, rtol=1e-5, atol=1e-5)).any(1).sum())
    assert n_wrong[True] == 0 < n_wrong[False]


@pytest.mark.parametrize("bits", [8, 4])
def test_a_query_that_is_nearly_one_column_still_finds_the_best(bits: int) -> None:
    """The others' shares vanish in 8 bits: rows of the grid look alike, more than are looked at; 16 bits tell them."""
    n_items, n_columns, k = 131_000, 12, 3
    torch.manual_seed(1)
    table = RoundedEmbedding(n_items, n_columns, n_columns, bits, std=1)
    with torch.no_grad():
        table.projection.copy_(torch.eye(n_columns))
        table.weight[:, 0] = 1
    part, graph = table_graph(table, "fp32"), Graph()
    part.store(graph)
    scores, ids = part.best(graph, "query", graph.const([[0]]), graph.const(1), k)
    graph.nodes += [onnx.helper.make_node("Identity", [name], [out]) for name, out in ((scores, "s"), (ids, "i"))]
    outputs = [value("s", FLOAT, [None, k]), value("i", INT64, [None, k])]
    model = graph.model([value("query", FLOAT, [None, n_columns])], outputs)
    run = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    query = torch.rand(5, n_columns) * 0.0038 - 0.0019  # less than half a step where the largest is 127 of them, or 63
    query[:, 0] = 1
    query[-1, 1:] = 0  # all items alike
    scores, ids = run.run(None, {"query": (query / table.steps()).detach().numpy()})
    wanted = query.double() @ table.integers(table.weight).double().T
    wanted[:, 0] = -torch.inf
    np.testing.assert_array_equal(ids[:-1], wanted[:-1].topk(k).indices)
    np.testing.assert_allclose(scores, wanted.topk(k).values, rtol=1e-6)
    assert (ids[-1] > 0).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_equal_rows_of_many_items_come_in_the_order_of_ids(bits: int) -> None:
    table, encoder = RoundedEmbedding(70_000, D, 6, bits), SelfAttentionEncoder(D, L).eval()
    for count in (3, K + 3):  # items of other integers, in many rows of the grid: the best there are, or the worst
        lifted = torch.arange(69_999, 0, -7777)[:count]
        with torch.no_grad():
            table.weight[:] = torch.tensor([1.0, -1.0, 1.0, 0.0, 0.5, 1.0])
            table.weight[lifted, 0] = 2.0
        assert_in_order_of_ids(build_session_model(table, encoder, LastStateReadout(), K), lifted)


def test_ids_of_many_items_take_a_byte_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "N", 70_000)
    parts, model, run = build("dense", repeats=True, n_followers=3)
    item_seq = sessions(batch=12)
    assert_equal_top(run, parts, item_seq, exclude_seen=True)
    stored = {one.name: np.frombuffer(one.raw_data, np.uint8).size for one in model.graph.initializer}
    assert sum(stored[f"followers.{name}"] for name in ("ids", "ids.high", "strengths")) == parts[-1].n_bytes
    assert parts[-1].n_bytes == 70_000 * 3 * 4


@pytest.mark.parametrize(
    "table", ["dense", "two cores", "fewer rows than k", "three cores", "codes", "8 bits", "quotients and remainders"]
)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_fewer_bits_stay_near(table: str, precision: str) -> None:
    parts, model, run = build(table, precision=precision)
    item_seq = sessions(batch=20)
    ids, scores = run(item_seq, exclude_seen=True)
    exact = oracle(parts, item_seq, exclude_seen=True)
    size = exact[exact.isfinite()].abs().max().item()
    own = exact.gather(1, torch.from_numpy(ids)).numpy()
    assert np.isfinite(own).all()  # nothing seen, no padding
    assert np.abs(scores - own).max() < size * (0.002 if precision == "fp16" else 0.05)
    best = exact.topk(K).values.numpy()
    assert (best - own).max() < size * (0.002 if precision == "fp16" else 0.1)
    weights = {numpy_helper.to_array(tensor).dtype for tensor in model.graph.initializer if len(tensor.dims) > 1}
    assert {"fp16": np.dtype(np.float16), "int8": np.dtype(np.int8)}[precision] in weights


@pytest.mark.parametrize("table", ["two cores", "many empty rows", "fewer rows than k", "one full row", "four cores"])
@pytest.mark.parametrize("k", [K, N - 1])
def test_tiles_of_the_integer_scan_change_no_bit(monkeypatch: pytest.MonkeyPatch, table: str, k: int) -> None:
    _, _, whole = build(table, precision="int8", k=k)
    for n_cells in (13, 50):  # a tile of a row, and of some, the last one half full
        monkeypatch.setattr("recbole_odrec.bundle.tables.tensor_train._TILE", n_cells)
        _, model, in_tiles = build(table, precision="int8", k=k)
        assert any(node.op_type == "Scan" for node in model.graph.node) == (table != "one full row")
        for flags in ({}, {"exclude_seen": True}):
            for one, other in zip(
                whole(sessions(batch=20), **flags), in_tiles(sessions(batch=20), **flags), strict=True
            ):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("table", ["dense", "two cores", "many empty rows", "fewer rows than k", "four cores"])
def test_the_whole_catalogue_can_be_asked_for(table: str, precision: str) -> None:
    """k = number of items: every item once; of those left out, places with id 0."""
    _, _, run = build(table, precision=precision, k=N - 1)
    item_seq = sessions()
    ids, _ = run(item_seq)
    assert (np.sort(ids, axis=1) == np.arange(1, N)).all()
    ids, scores = run(item_seq, exclude_seen=True)
    for row, seen in zip(range(len(ids)), item_seq.tolist(), strict=True):
        unseen = sorted(set(range(1, N)) - set(seen))
        assert sorted(ids[row][: len(unseen)]) == unseen
        assert not ids[row][len(unseen) :].any()
        assert np.isneginf(scores[row][len(unseen) :]).all()


@pytest.mark.parametrize(
    ("function", "known"), [(table_graph, nn.TABLES), (encode, nn.ENCODERS), (read_out, nn.READOUTS)]
)
def test_every_part_that_a_configuration_can_name_has_an_exporter(function: Callable, known: dict) -> None:
    for part in known.values():
        assert function.dispatch(part) is not function.dispatch(object), part


@pytest.mark.parametrize("table", TABLES)
def test_the_graph_stores_what_the_table_says(table: str) -> None:
    """Nothing for an item order, which the list of items is, nor for rows of the grid that no item has."""
    item_table = TABLES[table]()
    unused = 0
    if isinstance(item_table, SemiTensorTrainEmbedding):
        first, rest = item_table.tt_cores[0], int(np.prod(item_table.plan.item_shape[1:]))
        unused = 4 * first[:, -(-N // rest) :].numel()
    assert table_graph(item_table, "fp32").n_bytes == item_table.n_bytes - unused


def test_equal_scores_come_in_the_order_of_ids() -> None:
    table, encoder = DenseEmbedding(N, D), SelfAttentionEncoder(D, L)
    randomize_biases(encoder)
    train = SemiTensorTrainEmbedding(N, D, tt_ranks=6)
    with torch.no_grad():
        table.weight.fill_(1.0)
        for core in train.tt_cores:
            core.fill_(1.0)
    for equal in (table, train):
        for precision in ("fp32", "int8"):
            model = build_session_model(equal, encoder.eval(), LastStateReadout(), K, precision)
            session = open_session(model.SerializeToString())
            ids, scores = session.run(None, {"item_seq": sessions().numpy()})
            assert (scores == scores[:, :1]).all()
            assert (ids == np.arange(1, K + 1)).all()


def test_what_has_something_on_top_ties_by_id_with_the_rest() -> None:
    graph = Graph()
    best = merge_added(graph, "best", "best_ids", "products", nothing(graph, "item_seq"), 4)
    kinds = {"best": FLOAT, "best_ids": INT64, "products": FLOAT, "item_seq": INT64}
    inputs = [value(name, kind, ["batch", None]) for name, kind in kinds.items()]
    outputs = [value(name, kind, ["batch", 4]) for name, kind in zip(best, (FLOAT, INT64), strict=True)]
    model = graph.model([*inputs, value("exclude_seen", BOOL, [])], outputs)
    rows = {"best": [[2, 1, 1, 1]], "best_ids": [[4, 3, 8, 10]], "products": [[1, 2, 1]], "item_seq": [[2, 9, 7]]}
    feed = {name: np.array(row, np.float32 if kinds[name] == FLOAT else np.int64) for name, row in rows.items()}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    scores, ids = session.run(None, {**feed, "exclude_seen": np.array(False)})
    assert (scores.tolist(), ids.tolist()) == ([[2, 2, 1, 1]], [[4, 9, 2, 3]])


def test_no_item_table_anywhere_in_a_students_graph() -> None:
    """No stored array and no value on the way has N x D numbers, nor do all stored ones together."""
    n_items, size = 5_000, 32
    table = SemiTensorTrainEmbedding(n_items, size, tt_ranks=8)
    parts = (table, SelfAttentionEncoder(size, 10, inner_size=16).eval(), SoftAttentionReadout(size))
    for precision in ("fp32", "int8"):
        model = build_session_model(*parts, topk=5, precision=precision)
        stored = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
        assert stored < n_items * size / 4
        for tensor in model.graph.output:
            tensor.type.tensor_type.shape.dim[0].dim_value = 1
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 10
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info
        largest = max(int(np.prod([dim.dim_value for dim in v.type.tensor_type.shape.dim])) for v in inferred)
        assert n_items <= largest < n_items * size / 4


def test_axes_are_dynamic_and_named() -> None:
    _, model, run = build("two cores")
    item_seq = model.graph.input[0]
    assert [dim.dim_param for dim in item_seq.type.tensor_type.shape.dim] == ["batch", "length"]
    for batch, length in ((1, 1), (3, 4), (5, L)):
        assert run(sessions(batch=batch)[:, :length])[0].shape == (batch, K)
