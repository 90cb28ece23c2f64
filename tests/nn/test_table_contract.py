"""What every item table must do, ours and a toy with the three abstract methods alone, against the dense matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from torch import Tensor, nn

from recbole_odrec.errors import UserError
from recbole_odrec.nn import TABLES, DenseEmbedding, FrozenTable, ItemTable
from recbole_odrec.nn.product import ScoreBuffer
from recbole_odrec.nn.tables.rounded import RoundedEmbedding
from recbole_odrec.parsing import NoSettings, parse

N, D = 53, 12
EXACT = {"rtol": 1e-10, "atol": 1e-10}


class Toy(ItemTable):
    """Items of the same remainder share a row; columns beyond the last item, and no other method than it must have."""

    Settings = NoSettings

    def __init__(self, n_items: int, embedding_dim: int, std: float) -> None:
        super().__init__(n_items, embedding_dim)
        self.rows = nn.Parameter(std * torch.randn(7, embedding_dim))

    @classmethod
    def from_settings(cls, settings: NoSettings, n_items: int, embedding_dim: int, std: float) -> Toy:
        return cls(n_items, embedding_dim, std)

    def forward(self, ids: Tensor) -> Tensor:
        return self.rows[ids % 7] * (ids != 0).unsqueeze(-1)

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        scores = query.to(dtype or query.dtype) @ self.rows.to(dtype or query.dtype).T
        return scores.repeat(1, -(-self.n_items // 7))

    @property
    def zero_item(self) -> int:
        return 0


ALL = {**TABLES, "toy": Toy}
CASES = {
    "tensor_train": ("tensor_train", {"compression_rate": 2}),
    "tensor_train of three cores": ("tensor_train", {"compression_rate": 1.5, "n_cores": 3, "stp_factor": 1}),
    "tensor_train by shapes": ("tensor_train", {"item_shape": [5, 12], "dim_shape": [3, 4], "tt_ranks": [1, 4, 1]}),
    "tensor_train in the teacher's order": ("tensor_train", {"compression_rate": 1.5, "item_order": "teacher"}),
    "tensor_train, assigned": ("tensor_train", {"compression_rate": 1.5, "item_order": "assigned"}),
    "codes": ("codes", {"compression_rate": 0.5}),
    "moving codes": ("codes", {"compression_rate": 0.5, "move_codes_every": 2}),
    "dense": ("dense", {}),
    "normalised": ("dense", {"normalize_items": True}),
    "rounded": ("rounded", {"compression_rate": 3}),
    "rounded to 4 bits": ("rounded", {"compression_rate": 3, "bits": 4}),
    "hashed": ("hashed", {"compression_rate": 2}),
    "hashed by remainders alone": ("hashed", {"compression_rate": 2, "hashing": "modulo"}),
    "toy": ("toy", {}),
    "frozen": ("frozen", {}),
}

Make = Callable[..., ItemTable]


@pytest.fixture(params=CASES)
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a table of a case, its items where a teacher has put them."""
    kind, settings = CASES[request.param]

    def made(seed: int = 0) -> ItemTable:
        torch.manual_seed(seed)
        if kind == "frozen":
            return DenseEmbedding(N, D, 0.5).double().frozen()
        table = ALL[kind].from_settings(parse(ALL[kind].Settings, settings), N, D, 0.5).double()
        table.arrange_(torch.randn(N, 5, dtype=torch.float64))
        return table

    return made


@pytest.fixture
def table(make: Make) -> ItemTable:
    return make()


def test_every_table_is_held_to_the_contract() -> None:
    assert {kind for kind, _ in CASES.values()} == {*TABLES, "toy", "frozen"}
    with pytest.raises(TypeError, match="a frozen table is taken from a trained one"):
        FrozenTable.from_settings(NoSettings(), N, D, 0.02)


def test_rows_and_scores_are_the_matrixs_with_their_gradients(table: ItemTable) -> None:
    ids, query = torch.randint(N, (4, 3)), torch.randn(20, D, dtype=torch.float64, requires_grad=True)
    every_item = torch.arange(N)
    columns = table.columns_of(every_item)
    assert sorted(columns.tolist()) == list(range(N))
    torch.testing.assert_close(table.rows_at(columns)[1:], table.to_matrix()[1:], **EXACT)

    def raw(query: Tensor) -> Tensor:
        scores = table.raw_scores(query)
        return scores if table.zero_item is None else scores.index_fill(1, torch.tensor([table.zero_item]), 0)

    def raw_of_items() -> Tensor:
        return raw(query)[:, columns]

    pairs = [
        (lambda: table(ids), lambda: table.to_matrix()[ids]),
        (lambda: table.scores(query), lambda: query @ table.to_matrix().T),
        (lambda: table.scores(query[:2]), lambda: query[:2] @ table.to_matrix().T),
        (raw_of_items, lambda: query @ table.to_matrix().T),
    ]
    leaves = [query, *table.parameters()]
    for number, (fast, plain) in enumerate(pairs):
        torch.testing.assert_close(fast(), plain(), **EXACT)
        weight = torch.randn_like(plain())
        if number == 0:
            weight[ids == 0] = 0  # no table learns from padding that is read
        if not fast().requires_grad:  # rows of a frozen table
            continue
        got, expected = (
            torch.autograd.grad((output() * weight).sum(), leaves, allow_unused=True) for output in (fast, plain)
        )
        for ours, oracle in zip(got, expected, strict=True):
            assert (ours is None) == (oracle is None)
            if ours is not None:
                torch.testing.assert_close(ours, oracle, **EXACT)
    with torch.no_grad():
        many = torch.randn(200, D, dtype=torch.float64)  # in blocks
        torch.testing.assert_close(table.scores(many), many @ table.to_matrix().T, **EXACT)


def test_raw_scores_take_the_precision_and_the_memory_they_are_given(table: ItemTable) -> None:
    query, buffer = torch.randn(6, D, dtype=torch.float64), ScoreBuffer()
    plain = table.raw_scores(query)
    assert plain.shape[1] >= N
    torch.testing.assert_close(table.raw_scores(query, buffer=buffer), plain, **EXACT)
    low = table.raw_scores(query, torch.float32, buffer)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.double(), plain, rtol=1e-4, atol=1e-4)


def test_padding_is_zero_and_learns_nothing_where_it_is_read(table: ItemTable) -> None:
    rows = table(torch.tensor([[0, 0]]))
    assert torch.equal(rows, torch.zeros(1, 2, D, dtype=torch.float64))
    assert torch.equal(table.scores(torch.randn(3, D, dtype=torch.float64))[:, 0], torch.zeros(3, dtype=torch.float64))
    leaves = [*table.parameters()]
    for gradient in torch.autograd.grad(rows.sum(), leaves, allow_unused=True) if leaves else ():
        assert gradient is None or not gradient.any()


def test_what_is_stored_is_the_state_and_the_state_is_the_table(make: Make) -> None:
    table, other = make(), make(seed=1)
    assert table.n_stored == sum(values.numel() for values in table.state_dict().values())
    assert 0 < table.n_bytes <= 4 * table.n_stored + 4 * D  # codes have a scale a codebook
    assert table.compression_rate == 4 * N * D / table.n_bytes
    assert f"{N}, {D}, bytes={table.n_bytes:,}" in repr(table)
    assert not torch.equal(other.to_matrix(), table.to_matrix())
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.to_matrix(), table.to_matrix())
    assert torch.equal(make().to_matrix(), table.to_matrix())  # of one seed, one table


def test_a_table_that_starts_from_another_says_how_much_it_keeps(table: ItemTable) -> None:
    matrix = torch.randn(N, D, dtype=torch.float64)
    matrix[0] = 0
    with pytest.raises(ValueError, match=rf"matrix \({N}, {D - 1}\), expected \({N}, {D}\)"):
        table.fit_(matrix[:, 1:])
    before = (table.to_matrix() - matrix).square().sum()
    kept = table.fit_(matrix)
    if isinstance(table, (Toy, FrozenTable)):
        assert kept is None
        return
    missed = (table.to_matrix() - matrix).square().sum()
    assert missed < before
    assert kept == pytest.approx(1 - (missed / matrix.square().sum()).item())
    assert not table.to_matrix()[0].any()


def test_a_teachers_table_stands_in_the_students_columns(table: ItemTable) -> None:
    teacher = DenseEmbedding(N, 5, std=1.0).double().frozen()
    query = torch.randn(4, 5, dtype=torch.float64)
    columns = table.columns_of(torch.arange(N))
    lined_up = teacher.in_columns_of(table)
    torch.testing.assert_close(lined_up.raw_scores(query)[:, columns], teacher.scores(query), **EXACT)
    frozen = FrozenTable(teacher.weight, 3.0, torch.float32).in_columns_of(table)
    of_items = frozen.raw_scores(query).double()[:, columns]
    torch.testing.assert_close(of_items, 3 * teacher.scores(query), rtol=1e-5, atol=1e-5)
    assert not any(values.requires_grad for values in table.frozen().state_dict().values())


def test_what_trains_along_gets_the_rows_gradient_and_is_no_part_of_the_table(table: ItemTable) -> None:
    state = [*table.state_dict()]
    companion = table.companion(torch.randn(N, D, dtype=torch.float64))
    assert (companion is None) == (getattr(table, "move_codes_every", 0) == 0)
    if companion is None:
        return
    table.raw_scores(torch.randn(3, D, dtype=torch.float64)).square().sum().backward()
    assert companion.grad.abs().sum() > 0
    assert [*table.state_dict()] == state
    before = table.to_matrix().detach()
    table.after_step(1)
    assert torch.equal(table.to_matrix(), before)
    table.after_step(2)  # every second step
    assert not torch.equal(table.to_matrix(), before)


@pytest.mark.parametrize("name", TABLES)
def test_every_key_says_what_it_means(name: str) -> None:
    for field in fields(TABLES[name].Settings):
        assert field.metadata["meaning"].endswith("."), field.name


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("tensor_train", {"compression_rate": 0}, "compression_rate=0, expected a number above 0."),
        ("tensor_train", {"compression_rate": float("nan")}, "compression_rate=nan, expected a number above 0."),
        ("tensor_train", {"compression_rate": "30"}, "compression_rate='30', expected a number."),
        ("tensor_train", {"n_cores": 5}, "n_cores=5, expected 2 to 4."),
        ("tensor_train", {"n_cores": 2.0}, "n_cores=2.0, expected a whole number."),
        ("tensor_train", {"stp_factor": 0}, "stp_factor=0, expected a whole number of at least 1."),
        ("tensor_train", {"tt_ranks": []}, "tt_ranks=[], expected whole numbers of at least 1."),
        ("tensor_train", {"tt_ranks": ["a"]}, "tt_ranks=['a'], expected whole numbers of at least 1."),
        ("tensor_train", {"tt_ranks": 4, "dim_shape": [3, 0]}, "dim_shape=[3, 0], expected whole numbers of at least"),
        ("tensor_train", {"item_shape": [8, 8]}, "item_shape and dim_shape need tt_ranks too"),
        ("tensor_train", {"item_order": "random"}, "item_order='random', expected one of none, teacher, assigned."),
        ("tensor_train", {"compression_rate": 1e6}, "the nearest feasible rate is"),
        ("codes", {"compression_rate": -1}, "compression_rate=-1, expected a number above 0."),
        ("codes", {"compression_rate": 30}, "cannot be reached by codes for 53 items of 12 columns"),
        ("codes", {"move_codes_every": -1}, "move_codes_every=-1, expected a whole number of at least 0."),
        ("codes", {"move_codes_every": True}, "move_codes_every=True, expected a whole number."),
        ("dense", {"table_dropout_prob": 1.0}, "table_dropout_prob=1.0, expected a number in [0, 1)."),
        ("dense", {"normalize_items": 1}, "normalize_items=1, expected True or False."),
        ("rounded", {"bits": 2}, "bits=2, expected 8 or 4."),
        ("rounded", {"compression_rate": 0}, "compression_rate=0, expected a number above 0."),
        (
            "rounded",
            {"compression_rate": 40},
            "compression_rate=40 cannot be reached by columns of 8 bits for 53 items of 12 columns; at",
        ),
        ("hashed", {"hashing": "md5"}, "hashing='md5', expected one of quotient_remainder, modulo."),
        ("hashed", {"compression_rate": 0}, "compression_rate=0, expected a number above 0."),
        ("hashed", {}, "compression_rate=30 cannot be reached by hashing=quotient_remainder for 53 items; at most 3.5"),
    ],
)
def test_bad_settings_are_refused_with_what_is_expected(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        TABLES[name].from_settings(parse(TABLES[name].Settings, settings), N, D, 0.02)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "settings", "has_teacher", "starts", "message"),
    [
        ("codes", {}, True, False, "table=codes takes its codes from the teacher's table: set init_from_teacher=True."),
        ("tensor_train", {"item_order": "teacher"}, False, False, "item_order=teacher without a teacher"),
        ("codes", {}, True, True, ""),
        ("tensor_train", {"item_order": "teacher"}, True, False, ""),
        ("tensor_train", {}, False, False, ""),
        ("dense", {}, False, False, ""),
    ],
)
def test_a_table_says_what_it_needs_of_a_teacher(
    name: str, settings: dict, has_teacher: bool, starts: bool, message: str
) -> None:
    kind = TABLES[name]
    if not message:
        kind.check_start(parse(kind.Settings, settings), has_teacher, starts)
        return
    with pytest.raises(UserError) as error:
        kind.check_start(parse(kind.Settings, settings), has_teacher, starts)
    assert message in str(error.value)


def test_codes_need_a_teacher_of_their_own_width(table: ItemTable) -> None:
    table.check_teacher(D)
    if isinstance(table, TABLES["codes"]):
        with pytest.raises(UserError, match=f"the teacher's item table has 5 columns and hidden_size={D}"):
            table.check_teacher(5)
    else:
        table.check_teacher(5)


def test_settled_it_is_the_same_table_and_rounds_to_itself(make: Make) -> None:
    table = make(3)
    before = table.to_matrix().detach()
    table.settle_()
    torch.testing.assert_close(table.to_matrix().detach(), before, rtol=1e-6, atol=1e-7)
    if isinstance(table, RoundedEmbedding):
        integers = table.integers(table.weight)
        for other in (1 - 1e-5, 1 + 1e-5):  # as if another processor had divided
            assert torch.equal(table.integers(table.weight * other), integers)
