"""Item table as a semi-tensor-product tensor train (STTD), with exact scores straight from its cores.

The table E [N, D] is read as a tensor over a grid of item cells (i_1 .. i_m), I_1 * .. * I_m >= N, and a split of
the embedding, D = J_1 * .. * J_m. The paper (Xia et al., SIGIR 2022, section 3.2) chains the cores by left
semi-tensor products: A |x B = A (B kron I_t). Written out, the index tau of I_t enters with the first core and is
handed through unchanged to the last one, whatever lies between:

    E[(i_1..i_m), (j_1..j_m)] = sum over rho_1..rho_{m-1} of
        G_1[i_1, (j_1, tau), rho_1] * G_2[rho_1, i_2, j_2, rho_2] * .. * G_m[rho_{m-1}, i_m, k],   j_m = k * t + tau.

So STTD is a plain tensor train over a regrouped embedding, (J_1 t, J_2, .., J_m / t), with ranks r_k / t. All three
paths (rows, matrix, scores: `tensor_train_products`) use that one form; t = 1 is the ordinary tensor train.

Dimension key: B queries, N items, D embedding, m cores, I_k / A_k item and (regrouped) embedding side of core k,
R_k = r_k / t inner rank, t semi-tensor-product factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_odrec.errors import UserError
from recbole_odrec.nn.product import ScoreBuffer
from recbole_odrec.nn.table import ItemTable
from recbole_odrec.nn.tables.item_order import CellOf, checked_order, learn_order
from recbole_odrec.nn.tables.planner import TensorTrainPlan, plan_tensor_train
from recbole_odrec.nn.tables.tensor_train_fit import fit_cores, grid_of_rows
from recbole_odrec.nn.tables.tensor_train_products import cell_rows, cell_scores, mean_square
from recbole_odrec.nn.tables.tensor_train_settings import TensorTrainSettings

DEFAULT_STD = 0.02
_QUERY_BLOCK = 64  # queries scored at a time without gradients: what lies between query and scores stays small


class SemiTensorTrainEmbedding(ItemTable):
    """An embedding of `n_items` rows and `embedding_dim` columns stored as `m` small cores.

    Args:
        n_items: number of rows N, the padding row included.
        embedding_dim: number of columns D.
        item_shape: grid (I_1, .., I_m) with I_1 * .. * I_m >= N; chosen by the planner when None.
        dim_shape: split (J_1, .., J_m) with J_1 * .. * J_m = D, t divides J_m; chosen by the planner when None.
        tt_ranks: interior rank r, the same between all cores, or the full sequence [1, r_1, .., r_{m-1}, 1];
            every interior rank is a multiple of t.
        stp_factor: t of the semi-tensor product; 1 is the plain tensor train.
        padding_idx: a row that is exactly zero in every path and gets no gradient; None for no such row.
        item_order: grid cell of each item, a permutation of 0 .. N - 1; None puts item i into cell i. Items in
            neighbouring cells share cores, so the order is part of the table and of its state.
        std: root mean square of the table's entries after `reset_parameters`.

    Raises:
        ValueError: shapes, ranks or order that do not fit together, with what would fit.
    """

    Settings = TensorTrainSettings
    item_order: Tensor | None

    def __init__(
        self,
        n_items: int,
        embedding_dim: int,
        item_shape: Sequence[int] | None = None,
        dim_shape: Sequence[int] | None = None,
        tt_ranks: int | Sequence[int] = 60,
        stp_factor: int = 2,
        padding_idx: int | None = 0,
        item_order: Sequence[int] | Tensor | None = None,
        std: float = DEFAULT_STD,
    ) -> None:
        super().__init__(n_items, embedding_dim)
        plan = TensorTrainPlan.from_shapes(n_items, embedding_dim, item_shape, dim_shape, tt_ranks, stp_factor)
        if padding_idx is not None and not 0 <= padding_idx < n_items:
            raise ValueError(f"padding_idx={padding_idx} is not a row of a table of {n_items} items.")
        self.plan, self.padding_idx, self.std = plan, padding_idx, std
        self.order_rule = "none"  # how `arrange_` learns the order
        self._padding_cell = CellOf(padding_idx)
        self.tt_cores = nn.ParameterList(
            nn.Parameter(torch.empty(left, items, dims, right)) for left, items, dims, right in plan.core_shapes
        )  # each [R_{k-1}, I_k, A_k, R_k]
        self.register_buffer("item_order", None if item_order is None else checked_order(item_order, n_items))
        self.reset_parameters()

    @classmethod
    def from_settings(
        cls, settings: TensorTrainSettings, n_items: int, embedding_dim: int, std: float
    ) -> SemiTensorTrainEmbedding:
        """See `ItemTable`."""
        # The order by id stands until there is a teacher to learn it from.
        options = {"std": std, "item_order": None if settings.item_order == "none" else torch.arange(n_items)}
        if settings.tt_ranks is None:
            size = (settings.compression_rate, settings.n_cores, settings.stp_factor)
            table = cls.from_compression_rate(n_items, embedding_dim, *size, **options)
        else:
            size = (settings.item_shape, settings.dim_shape, settings.tt_ranks, settings.stp_factor)
            table = cls(n_items, embedding_dim, *size, **options)
        table.order_rule = settings.item_order
        return table

    @classmethod
    def from_compression_rate(
        cls,
        n_items: int,
        embedding_dim: int,
        compression_rate: float = 30,
        n_cores: int = 2,
        stp_factor: int = 2,
        **kwargs: object,
    ) -> SemiTensorTrainEmbedding:
        """The table whose dense size is at least `compression_rate` times what it stores (`planner.plan_tensor_train`).

        Raises:
            ValueError: no such table, with the nearest rate that can be had.
        """
        stored_beside = 0 if kwargs.get("item_order") is None else n_items  # the permutation, one number an item
        plan = plan_tensor_train(n_items, embedding_dim, compression_rate, n_cores, stp_factor, stored_beside)
        shapes = {"item_shape": plan.item_shape, "dim_shape": plan.dim_shape, "tt_ranks": plan.tt_ranks}
        return cls(n_items, embedding_dim, **shapes, stp_factor=stp_factor, **kwargs)  # type: ignore[arg-type]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws normal cores, scaled so that the root mean square over the whole grid is exactly `std`."""
        for core in self.tt_cores:
            nn.init.normal_(core)
        scale = (self.std / mean_square([*self.tt_cores]).sqrt().item()) ** (1 / len(self.tt_cores))
        for core in self.tt_cores:
            core.mul_(scale)

    # ------------------------------------------------------------------ a teacher's table

    @classmethod
    def check_start(cls, settings: TensorTrainSettings, has_teacher: bool, starts_from_teacher: bool) -> None:
        """An order that a teacher teaches needs one."""
        if settings.item_order != "none" and not has_teacher:
            raise UserError(f"item_order={settings.item_order} without a teacher: set init_from_teacher=True.")

    def check_teacher(self, width: int) -> None:
        if self.order_rule != "none" and not width:
            raise UserError(f"item_order={self.order_rule}: the teacher to start from has no item embeddings.")

    @torch.no_grad()
    def arrange_(self, vectors: Tensor) -> None:
        """Learns `item_order`, by the rule of the settings."""
        if self.item_order is not None and self.order_rule != "none":
            self.item_order.copy_(learn_order(self.order_rule, vectors, self.plan))

    def approximate_(self, matrix: Tensor) -> bool:
        """Fits the cores, for the order that there is."""
        cells = self.columns_of(torch.arange(self.n_items, device=self.tt_cores[0].device))
        grid = grid_of_rows(matrix, cells, self.plan)
        if self.padding_idx is not None:
            grid[cells[self.padding_idx]] = 0
        for core, fitted in zip(self.tt_cores, fit_cores(grid, self.plan), strict=True):
            core.copy_(fitted.to(core.dtype))
        return True

    # ------------------------------------------------------------------ sizes

    @property
    def zero_item(self) -> int | None:
        return None if self.padding_idx is None else self._padding_cell(self.item_order)

    @property
    def tt_ranks(self) -> tuple[int, ...]:
        """Ranks [1, r_1, .., r_{m-1}, 1] in the paper's counting."""
        return self.plan.tt_ranks

    def columns_of(self, ids: Tensor) -> Tensor:
        """Cells of the items."""
        return ids if self.item_order is None else self.item_order[ids]

    def rows_at(self, columns: Tensor) -> Tensor:
        """Rows of cells, of padding's too: [...] -> [..., D]."""
        rows = cell_rows([*self.tt_cores], self.plan, columns.reshape(-1))
        return rows.view(*columns.shape, self.embedding_dim)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.plan}, compression_rate={self.compression_rate:.1f}"

    # ------------------------------------------------------------------ the three paths

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table, from the cores alone: ids [...] -> [..., D].

        Raises:
            IndexError: an id outside the table.
        """
        flat = ids.reshape(-1)
        # Only where it costs nothing: on an accelerator the check would wait for the device.
        if flat.device.type == "cpu" and flat.numel() and (flat.min() < 0 or flat.max() >= self.n_items):
            raise IndexError(f"item ids in [{flat.min()}, {flat.max()}] for a table of {self.n_items} rows.")
        rows = self.rows_at(self.columns_of(flat))
        if self.padding_idx is not None:
            rows = rows * (flat != self.padding_idx).unsqueeze(-1)
        return rows.view(*ids.shape, self.embedding_dim)

    def scores(self, query: Tensor) -> Tensor:
        """Inner products of each query with every item, without building the table: [B, D] -> [B, N]."""
        if torch.is_grad_enabled() or len(query) <= _QUERY_BLOCK:
            return self._item_scores(query)
        scores = query.new_empty(len(query), self.n_items)  # the one large matrix of an evaluation
        for rows, block in zip(scores.split(_QUERY_BLOCK), query.split(_QUERY_BLOCK), strict=True):
            rows.copy_(self._item_scores(block))
        return scores

    def _item_scores(self, query: Tensor) -> Tensor:
        """[B, D] -> [B, N], cut out of the cells."""
        scores = self.raw_scores(query)
        scores = scores[:, : self.n_items] if self.item_order is None else scores.index_select(1, self.item_order)
        if self.padding_idx is not None:
            scores[:, self.padding_idx] = 0  # the product needs its factors for its gradient, never its result
        return scores

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """See `ItemTable`; a column is a cell: to sort them would cost passes over the largest matrix of a step."""
        query = query if dtype is None else query.to(dtype)
        return cell_scores([*self.tt_cores], self.plan, query, buffer)

    @property
    def tile_step(self) -> int:
        """Cells of one row of the first core."""
        return self.plan.n_cells // self.plan.item_shape[0]

    def tile_of(self, values: Sequence[Tensor], columns: slice | Tensor) -> list[Tensor]:
        """The first core's rows of a slice, and the other cores."""
        return [values[0][:, self._first_rows(columns)], *values[1:]] if isinstance(columns, slice) else [*values]

    def tile_scores(
        self, query: Tensor, columns: slice | Tensor, parts: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> Tensor:
        if not isinstance(columns, slice):
            return super().tile_scores(query, columns, parts, dtype)
        cells = cell_scores(parts, self.plan, query if dtype is None else query.to(dtype))
        first = self._first_rows(columns).start * self.tile_step
        return cells[:, columns.start - first : columns.stop - first]

    def _first_rows(self, columns: slice) -> slice:
        return slice(columns.start // self.tile_step, -(-columns.stop // self.tile_step))
