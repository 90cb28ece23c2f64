"""The loss by tiles against the plain one, for every table and every option, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_odrec.errors import UserError
from recbole_odrec.losses import AddedScores, catalogue_loss, tiled_catalogue_loss
from recbole_odrec.nn import TABLES, DenseEmbedding, ItemTable
from recbole_odrec.parsing import parse

N, D, B = 53, 12, 9
EXACT = {"rtol": 1e-10, "atol": 1e-10}
TABLE_CASES = {
    "tensor_train": ("tensor_train", {"compression_rate": 2}),
    "three cores": ("tensor_train", {"compression_rate": 1.5, "n_cores": 3, "stp_factor": 1}),
    "ordered": ("tensor_train", {"compression_rate": 1.5, "item_order": "teacher"}),
    "codes": ("codes", {"compression_rate": 0.5}),
    "moving codes": ("codes", {"compression_rate": 0.5, "move_codes_every": 2}),
    "dense": ("dense", {}),
    "normalised": ("dense", {"normalize_items": True}),
    "rounded": ("rounded", {"compression_rate": 3, "bits": 4}),
    "hashed": ("hashed", {"compression_rate": 2}),
    "hashed by remainders alone": ("hashed", {"compression_rate": 2, "hashing": "modulo"}),
}


def made(name: str, n_items: int = N, dtype: torch.dtype = torch.float64) -> ItemTable:
    kind, settings = TABLE_CASES[name]
    table = TABLES[kind].from_settings(parse(TABLES[kind].Settings, settings), n_items, D, 0.5).to(dtype)
    table.arrange_(torch.randn(n_items, 5, dtype=dtype))
    table.companion(torch.randn(n_items, D, dtype=dtype))
    return table


@pytest.mark.parametrize("name", TABLE_CASES)
@pytest.mark.parametrize("tile", [1, 10, 17, 1000])
def test_scores_of_some_columns_are_the_whole_ones(name: str, tile: int) -> None:
    table, query = made(name), torch.randn(B, D, dtype=torch.float64)
    raw = table.raw_scores(query)[:, :N]
    if table.zero_item is not None:
        raw[:, table.zero_item] = 0
    for start in range(0, N, tile):
        columns = slice(start, min(start + tile, N))
        for asked in (columns, torch.arange(columns.start, columns.stop).flip(0)):
            got = table.tile_scores(query, asked, table.tile_of(table.trained(), asked))
            if table.zero_item is not None and columns.start <= table.zero_item < columns.stop:
                at = table.zero_item - start
                got[:, at if isinstance(asked, slice) else columns.stop - columns.start - 1 - at] = 0
            torch.testing.assert_close(got, raw[:, asked], **EXACT)


@pytest.mark.parametrize("name", TABLE_CASES)
@pytest.mark.parametrize(("kd_weight", "temperature"), [(0.0, 1.0), (0.3, 1.0), (0.3, 2.5), (1.0, 1.0), (1.0, 0.7)])
@pytest.mark.parametrize(("has_added", "tile"), [(False, 10), (True, 1), (True, 17), (True, 1000)])
def test_loss_and_every_gradient_equal_the_plain_ones(
    name: str, kd_weight: float, temperature: float, has_added: bool, tile: int
) -> None:
    torch.manual_seed(3)
    table, query = made(name), torch.randn(B, D, dtype=torch.float64, requires_grad=True)
    items = torch.randint(0, N, (B, 6))
    items[:, 3] = items[:, 0]  # twice
    items[:, 5] = 0  # padding
    values = torch.randn(B, 6, dtype=torch.float64, requires_grad=True)
    added = AddedScores(table.columns_of(items), values) if has_added else None
    teacher_scores = 3 * torch.randn(B, N, dtype=torch.float64)
    pos_items = table.columns_of(items[:, 0])
    plain = catalogue_loss(
        table.raw_scores(query), pos_items, N, table.zero_item, teacher_scores, kd_weight, temperature, added
    )

    def teacher(columns: slice | None) -> Tensor:
        assert columns is not None
        return teacher_scores[:, columns]

    tiled = tiled_catalogue_loss(query, table, pos_items, tile, teacher, kd_weight, temperature, added)
    torch.testing.assert_close(tiled.total, plain.total, **EXACT)
    torch.testing.assert_close(tiled.soft_targets, plain.soft_targets, **EXACT)
    leaves = [query, *table.trained(), *([values] if has_added else [])]
    expected, got = (torch.autograd.grad(1.7 * loss.total, leaves) for loss in (plain, tiled))
    for ours, oracle in zip(got, expected, strict=True):
        assert oracle.any()
        torch.testing.assert_close(ours, oracle, **EXACT)
    with torch.no_grad():
        again = tiled_catalogue_loss(query, table, pos_items, tile, teacher, kd_weight, temperature, added)
        torch.testing.assert_close(again.total, plain.total, **EXACT)


def test_dropout_of_a_table_is_the_same_in_both_passes() -> None:
    """Else the gradient would not be that of the loss: along a direction, against finite differences at one seed."""
    table = DenseEmbedding(N, D, 0.5, is_normalized=True, dropout=0.4).double()
    query, pos_items = torch.randn(B, D, dtype=torch.float64, requires_grad=True), torch.randint(1, N, (B,))

    def loss(query: Tensor) -> Tensor:
        torch.manual_seed(5)
        return tiled_catalogue_loss(query, table, pos_items, 10).total

    step = 1e-6 * torch.randn_like(query)
    (gradient,) = torch.autograd.grad(loss(query), query)
    expected = (loss(query + step) - loss(query - step)).item() / 2
    assert (gradient * step).sum().item() == pytest.approx(expected, rel=1e-6)
    assert loss(query) != tiled_catalogue_loss(query, table.eval(), pos_items, 10).total


def test_random_numbers_go_on_as_if_none_had_been_drawn() -> None:
    table, query, pos_items = made("dense"), torch.randn(B, D, dtype=torch.float64), torch.randint(1, N, (B,))
    torch.manual_seed(0)
    tiled_catalogue_loss(query.requires_grad_(), table, pos_items, 5)
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))


def test_bfloat16_products_are_summed_in_float32() -> None:
    table, query = DenseEmbedding(500, D, 1.0), torch.randn(B, D, requires_grad=True)
    pos_items = torch.randint(1, 500, (B,))
    plain = catalogue_loss(table.raw_scores(query, torch.bfloat16), pos_items).total
    tiled = tiled_catalogue_loss(query, table, pos_items, 64, dtype=torch.bfloat16).total
    assert tiled.dtype == torch.float32
    assert tiled.item() == pytest.approx(plain.item(), rel=1e-6)
    expected, got = (torch.autograd.grad(loss, [query, table.weight]) for loss in (plain, tiled))
    for ours, oracle in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, oracle, rtol=0.02, atol=1e-3)


def test_a_teacher_that_diverged_is_named() -> None:
    table, query = made("dense"), torch.randn(B, D, dtype=torch.float64)
    with pytest.raises(UserError, match="scores hold NaN or infinity"):
        tiled_catalogue_loss(
            query,
            table,
            torch.ones(B, dtype=torch.long),
            10,
            lambda columns: torch.full((B, columns.stop - columns.start), torch.nan),
            0.5,
        )


class Largest(TorchDispatchMode):
    """Numbers of the largest tensor that any operation gives."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for value in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return found


@pytest.mark.parametrize("name", ["tensor_train", "codes", "dense"])
def test_no_tensor_is_larger_than_a_tile_or_than_the_table(name: str) -> None:
    n_items, n_rows, tile = 20_000, 64, 1000
    table, query = made(name, n_items, torch.float32), torch.randn(n_rows, D, requires_grad=True)
    pos_items, teacher = torch.randint(1, n_items, (n_rows,)), torch.randn(n_items, D)
    scored = partial(torch.mm, query.detach())
    with Largest() as seen:
        tiled_catalogue_loss(
            query, table, pos_items, tile, lambda columns: scored(teacher[columns].T), 0.8, 2.0
        ).total.backward()
    # The gradient of a dense table has its shape; a tensor train's tiles are whole rows of its first core.
    own = max(one.numel() for one in table.trained())
    assert seen.numel <= max(own, 1.5 * n_rows * tile)
    assert seen.numel < n_rows * n_items / 4
    assert name == "dense" or own < n_items * D / 2
