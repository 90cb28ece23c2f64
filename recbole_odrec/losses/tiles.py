"""The loss over the catalogue by tiles of columns, for a catalogue whose score matrix would not fit.

Two passes over the tiles: the first adds up what normalises each row, the second works out each tile's scores again
and with them their gradient, which goes into queries and table at once. No more than a tile of scores is ever alive:

    gradient = (1 - w) (exp(s - log Z_s) - onehot) + w T (exp(s / T - log Z_s/T) - exp(t / T - log Z_t/T))

Dimension key: B rows, N items, n columns of a tile; w kd_weight, T temperature, s / t student's / teacher's scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recbole_odrec.losses.added import AddedScores, within
from recbole_odrec.losses.catalogue import CatalogueLoss, refuse_not_finite, scaled_
from recbole_odrec.nn import ItemTable
from recbole_odrec.processes.rows import log_sum_of_all
from recbole_odrec.processes.shares import summed

# Columns -> a teacher's scores there [B, n], in the student's columns; of all items [B, N] for None.
TeacherScores = Callable[[slice | None], Tensor]


def tiled_catalogue_loss(
    query: Tensor,
    table: ItemTable,
    pos_items: Tensor,
    tile: int,
    teacher: TeacherScores | None = None,
    kd_weight: float = 0.0,
    temperature: float = 1.0,
    added: AddedScores | None = None,
    dtype: torch.dtype | None = None,
    columns: slice | None = None,
) -> CatalogueLoss:
    """`catalogue_loss(table.raw_scores(query), ..)`, to rounding, with B x `tile` scores at a time.

    The gradient of queries, of what is added and of the table is worked out with the loss. Where columns are split
    over processes, each goes over its own; the cases must be the same everywhere, and the loss, which all processes
    get, must count once in all of them together. A table that all have whole gets of each its columns' gradient.

    Args:
        query: [B, D].
        table: the student's.
        pos_items: column of each row's next item [B].
        tile: columns of a tile, in whole `table.tile_step`s, at least one.
        teacher: needed when `kd_weight` > 0.
        kd_weight, temperature: w and T.
        added: by columns.
        dtype: precision of the products; sums are float32 at least.
        columns: this process's, where they are split; the table's own when None, and all where it has none.

    Raises:
        UserError: teacher scores that are not finite (on a CPU; elsewhere the loss is NaN).
    """
    step = table.tile_step
    tile = max(tile // step, 1) * step
    teacher, columns = teacher if kd_weight else None, columns or table.columns
    stream = _Stream(table, pos_items, tile, teacher, kd_weight, temperature, added, dtype, columns)
    values = None if added is None else added.values
    total, soft = _TiledLoss.apply(stream, query, values, *table.trained())
    return CatalogueLoss(total, soft.detach())


class _Tile(NamedTuple):
    """Some columns: the scores that autograd knows, and both networks' as numbers, [B, n] each.

    Attributes:
        columns: which.
        parts: what of the table `raw` depends on.
        target, has_target: column within the tile of each row's next item, and whether it lies there: [B, 1].
    """

    columns: slice
    raw: Tensor
    parts: list[Tensor]
    student: Tensor
    teacher: Tensor | None
    target: Tensor
    has_target: Tensor


class _Stream(NamedTuple):
    table: ItemTable
    pos_items: Tensor
    tile: int
    teacher: TeacherScores | None
    kd_weight: float
    temperature: float
    added: AddedScores | None
    dtype: torch.dtype | None
    columns: slice | None  # of a process, with the rows of all; None for the whole in one

    def tiles(self, query: Tensor, with_graph: bool) -> Iterator[_Tile]:
        """All of them, in order."""
        table, trained = self.table, self.table.trained()
        own = self.columns or slice(0, table.n_items)
        for start in range(own.start, own.stop, self.tile):
            columns = slice(start, min(start + self.tile, own.stop))
            with torch.set_grad_enabled(with_graph):
                parts = table.tile_of(trained, columns)
                raw = table.tile_scores(query, columns, parts, self.dtype)
            student = raw.detach().to(torch.promote_types(raw.dtype, torch.float32), copy=True)
            if table.zero_item is not None and columns.start <= table.zero_item < columns.stop:
                student[:, table.zero_item - start] = 0
            if self.added is not None:
                self.added.add_to_(student, columns)
            teacher = None if self.teacher is None else self.teacher(columns).to(student.dtype)
            yield _Tile(columns, raw, parts, student, teacher, *within(self.pos_items.unsqueeze(1), columns))


class _RandomState:
    """Where a device's random numbers are: what a table draws, such as dropout, must be the same in both passes."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = [device] if device.type == "cuda" else []
        self.state = [torch.get_rng_state(), *(torch.cuda.get_rng_state(one) for one in self.cuda)]

    def again(self, tiles: Iterable[_Tile]) -> Iterator[_Tile]:
        """Goes through tiles with the random numbers from here on; afterwards all goes on as before."""
        with torch.random.fork_rng(self.cuda):
            torch.set_rng_state(self.state[0])
            for one in self.cuda:
                torch.cuda.set_rng_state(self.state[1], one)
            yield from tiles


class _TiledLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, stream: _Stream, query: Tensor, values: Tensor | None, *trained: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.is_split = stream.columns is not None
        w, t, needs_gradient = stream.kd_weight, stream.temperature, any(ctx.needs_input_grad)
        n_rows, random = len(query), _RandomState(query.device)
        log_z = log_z_soft = log_z_teacher = query.new_full((n_rows, 1), -torch.inf, dtype=torch.float32)
        of_target = gap = query.new_zeros(n_rows, 1, dtype=torch.float32)
        for tile in stream.tiles(query, with_graph=False):
            student, teacher = tile.student, tile.teacher
            of_target = of_target + student.gather(1, tile.target) * tile.has_target
            log_z = _log_sum(log_z, student)
            if teacher is not None:
                if t != 1:
                    student, teacher = student / t, teacher / t
                    log_z_soft = _log_sum(log_z_soft, student)
                before, log_z_teacher = log_z_teacher, _log_sum(log_z_teacher, teacher)
                # The teacher's mean of (t - s) / T over the tiles so far.
                of_tile = ((teacher - log_z_teacher).exp_().mul_(teacher - student)).sum(1, keepdim=True)
                gap = gap * (before - log_z_teacher).exp() + of_tile
        if ctx.is_split:
            log_z, of_target = log_sum_of_all(log_z), summed(of_target)
            if stream.teacher is not None:
                log_z_soft = log_z if t == 1 else log_sum_of_all(log_z_soft)
                of_own, log_z_teacher = log_z_teacher, log_sum_of_all(log_z_teacher)
                gap = summed(gap * (of_own - log_z_teacher).exp())
        hard, soft = (1 - w) * (log_z - of_target).mean(), torch.zeros_like(log_z[0, 0])
        if stream.teacher is not None:
            log_z_soft = log_z if t == 1 else log_z_soft
            soft = w * t**2 * (log_z_soft - log_z_teacher + gap).mean()
            refuse_not_finite(soft)
        ctx.mark_non_differentiable(soft)
        if not needs_gradient:
            return hard + soft, soft

        query, zero = query.detach().requires_grad_(), stream.table.zero_item
        of_query, of_trained = torch.zeros_like(query), [torch.zeros_like(one) for one in trained]
        of_values = None if values is None else torch.zeros_like(values)
        for tile in random.again(stream.tiles(query, with_graph=True)):
            columns, student, teacher = tile.columns, tile.student, tile.teacher
            of_soft = None if teacher is None or t == 1 else (student / t - log_z_soft).exp_()
            gradient = student.sub_(log_z).exp_()
            if teacher is None or of_soft is not None:
                gradient.mul_(1 - w)  # else (1 - w) q + w (q - p) = q - w p
            if of_soft is not None:
                gradient.add_(of_soft, alpha=w * t)
            if teacher is not None:
                gradient.sub_((teacher / t).sub_(log_z_teacher).exp_(), alpha=w * t)
            gradient.scatter_add_(1, tile.target, (w - 1) * tile.has_target.to(gradient.dtype))
            gradient.div_(n_rows)
            if zero is not None and columns.start <= zero < columns.stop:
                gradient[:, zero - columns.start] = 0
            if of_values is not None and stream.added is not None:
                at, is_added = within(stream.added.items, columns)
                of_values += (gradient.gather(1, at) * is_added).to(of_values.dtype)
            places = [of_query, *stream.table.tile_of(of_trained, columns)]
            pairs = [*zip([query, *tile.parts], places, strict=True)]
            pairs = [(part, place) for part, place in pairs if part.requires_grad]
            found = torch.autograd.grad(
                tile.raw, [part for part, _ in pairs], gradient.to(tile.raw.dtype), allow_unused=True
            )
            for (_, place), of_part in zip(pairs, found, strict=True):
                if of_part is not None:
                    place += of_part
        if ctx.is_split:
            of_query, of_values = summed(of_query), None if of_values is None else summed(of_values)
        ctx.gradients = [of_query, of_values, *of_trained]
        return hard + soft, soft

    @staticmethod
    def backward(ctx: Any, of_total: Tensor, _of_soft: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if ctx.is_split:  # each process has counted its share of the loss
            of_total = summed(of_total)
        return None, *scaled_(of_total, *gradients)


def _log_sum(before: Tensor, scores: Tensor) -> Tensor:
    """log(exp(before) + sum of exp(scores)): [B, 1], [B, n] -> [B, 1]."""
    return torch.logaddexp(before, scores.logsumexp(1, keepdim=True))
