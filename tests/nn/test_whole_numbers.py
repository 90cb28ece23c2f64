"""Whole numbers of tables, read, moved and measured, against plain loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from recbole_odrec.nn import ItemTable, ProductCodesEmbedding
from recbole_odrec.nn.tables import HashedEmbedding, RoundedEmbedding
from recbole_odrec.nn.whole_numbers import WholeNumbers, numbers_of

N, D = 40, 12
TABLES: dict[str, Callable[[int], ItemTable]] = {
    "codes": lambda n: ProductCodesEmbedding(n, D, 4, std=1),
    "8 bits": lambda n: RoundedEmbedding(n, D, 5, 8, std=1),
    "4 bits": lambda n: RoundedEmbedding(n, D, 6, 4, std=1),
}
LEVELS = {"codes": range(256), "8 bits": range(-127, 128), "4 bits": range(-7, 8)}


@pytest.fixture(params=[*TABLES])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def made(kind: str, n_items: int = N) -> tuple[ItemTable, WholeNumbers]:
    table = TABLES[kind](n_items)
    numbers = numbers_of(table)
    assert numbers is not None
    return table, numbers


def test_rows_are_what_the_numbers_stand_for(kind: str) -> None:
    table, numbers = made(kind)
    values = numbers.values(numbers.now())
    rows = values if values.shape[1] == D else values @ table.rounded_projection()
    torch.testing.assert_close(table.to_matrix()[1:], rows[1:])
    assert torch.equal(numbers.stored, table.state_dict()[numbers.moving[0]])


def test_the_nearest_number_of_all_is_taken(kind: str) -> None:
    _, numbers = made(kind)
    numbers.hold()
    start = numbers.now()
    latent = 2.5 * torch.randn_like(numbers.values(start))  # beyond the last level, too
    parts = latent.view(*start.shape, -1)  # [N, F, E]
    tried = torch.tensor(LEVELS[kind], dtype=start.dtype)
    of_each = numbers.values(tried.unsqueeze(1).expand(-1, start.shape[1])).view(len(tried), start.shape[1], -1)
    distances = (parts.unsqueeze(0) - of_each.unsqueeze(1)).square().sum(3)  # [levels, N, F]
    found = numbers.nearest(latent, start)
    assert found.dtype == start.dtype
    assert torch.equal(found, tried[distances.argmin(0)])
    numbers.set(found)
    assert torch.equal(numbers.now(), found)
    assert torch.equal(numbers.nearest(numbers.values(found), start), found)


def test_of_entries_that_are_alike_the_old_one_stays() -> None:
    table, numbers = made("codes")
    table.codebooks.data[:, 9] = table.codebooks.data[:, 7]
    start = torch.full((N, 4), 9, dtype=torch.uint8)
    assert torch.equal(numbers.nearest(numbers.values(start), start), start)


def test_held_a_number_means_the_same_whatever_the_others_are(kind: str) -> None:
    table, numbers = made(kind)
    before, start = table.to_matrix(), numbers.now()
    numbers.hold()
    assert torch.equal(table.to_matrix(), before)
    moved = start.clone()
    moved[5:9, 0] = torch.where(start[5:9, 0] == 3, 4, 3).to(start.dtype)
    meaning = [one.clone() for one in numbers.meaning()]
    numbers.set(moved)
    after = table.to_matrix()
    others = torch.ones(N, dtype=torch.bool)
    others[5:9] = False
    torch.testing.assert_close(after[others], before[others])
    assert torch.equal(numbers.now(), moved)
    assert (after[~others] != before[~others]).any(1).all()
    assert all(torch.equal(*pair) for pair in zip(meaning, numbers.meaning(), strict=True))


def test_steps_that_nobody_holds_are_of_the_rows() -> None:
    """Why they are held: every integer is another one when a row has moved."""
    table, numbers = made("8 bits")
    before = numbers.now()
    table.weight.data[5] *= 50
    assert (numbers.now()[6:] != before[6:]).float().mean() > 0.5
    assert "held_steps" not in table.state_dict()
    numbers.hold()
    held = table.state_dict()["held_steps"]
    table.weight.data[7] *= 50
    assert torch.equal(table.steps(), held)


@pytest.mark.parametrize("is_held", [False, True])
def test_a_table_grows_by_items_that_are_all_alike(kind: str, is_held: bool) -> None:
    table, numbers = made(kind)
    larger, of_larger = made(kind, N + 3)
    if is_held:
        numbers.hold()
        numbers.set(numbers.nearest(2 * numbers.values(numbers.now()), numbers.now()))
    of_larger.hold()
    larger.load_state_dict(of_larger.grown(table.state_dict(), 3))
    assert torch.equal(larger.to_matrix()[:N], table.to_matrix())
    assert torch.equal(of_larger.now()[:N], numbers.now())
    for column, added in zip(numbers.now().T.tolist(), of_larger.now()[N:].T.tolist(), strict=True):
        most = max(Counter(column).values())
        assert len(set(added)) == 1
        assert Counter(column)[added[0]] == most


def test_what_is_shipped_names_every_number(kind: str) -> None:
    _, numbers = made(kind)
    shipped, now = numbers.shipped(numbers.now()), numbers.now().tolist()
    if kind == "4 bits":
        pairs = [[(row[c] + 8) * 16 + row[c + 3] + 8 for c in range(3)] for row in now]
        assert (shipped.tolist(), str(shipped.dtype)) == (pairs, "uint8")
    else:
        expected = [list(column) for column in zip(*now, strict=True)] if kind == "codes" else now
        assert (shipped.tolist(), shipped.itemsize) == (expected, 1)


def test_bytes_of_a_table_of_so_many_numbers(kind: str) -> None:
    table, numbers = made(kind)
    assert numbers.n_bytes(numbers.stored.shape[1]) == table.n_bytes
    assert [numbers.n_bytes(n) is None for n in (5, 6, 12, 13)] == [kind == "codes", False, False, True]


def test_rows_of_real_numbers_are_no_whole_numbers() -> None:
    assert numbers_of(HashedEmbedding(N, D, 5)) is None
