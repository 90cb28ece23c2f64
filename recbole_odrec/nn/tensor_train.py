"""Item table as a semi-tensor-product tensor train (STTD), with exact scores straight from its cores.

The table E [N, D] is read as a tensor over a grid of item cells (i_1 .. i_m), I_1 * .. * I_m >= N, and a split of
the embedding, D = J_1 * .. * J_m. The paper (Xia et al., SIGIR 2022, section 3.2) chains the cores by left
semi-tensor products: A |x B = A (B kron I_t). Written out, the index tau of I_t enters with the first core and is
handed through unchanged to the last one, whatever lies between:

    E[(i_1..i_m), (j_1..j_m)] = sum over rho_1..rho_{m-1} of
        G_1[i_1, (j_1, tau), rho_1] * G_2[rho_1, i_2, j_2, rho_2] * .. * G_m[rho_{m-1}, i_m, k],   j_m = k * t + tau.

So STTD is a plain tensor train over a regrouped embedding, (J_1 t, J_2, .., J_m / t), with ranks r_k / t. All three
paths below (rows, matrix, scores) use that one form; t = 1 is the ordinary tensor train.

Dimension key: B queries, N items, D embedding, m cores, I_k / A_k item and (regrouped) embedding side of core k,
R_k = r_k / t inner rank, t semi-tensor-product factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_odrec.nn.item_order import checked_order
from recbole_odrec.nn.planner import TensorTrainPlan, plan_tensor_train
from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.nn.tensor_train_fit import fit_cores

DEFAULT_STD = 0.02
_QUERY_BLOCK = 64  # queries scored at a time without gradients: what lies between query and scores stays small


class SemiTensorTrainEmbedding(nn.Module):
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
        super().__init__()
        plan = TensorTrainPlan.from_shapes(n_items, embedding_dim, item_shape, dim_shape, tt_ranks, stp_factor)
        if padding_idx is not None and not 0 <= padding_idx < n_items:
            raise ValueError(f"padding_idx={padding_idx} is not a row of a table of {n_items} items.")
        self.plan = plan
        self.n_items, self.embedding_dim, self.padding_idx, self.std = n_items, embedding_dim, padding_idx, std
        self.tt_cores = nn.ParameterList(
            nn.Parameter(torch.empty(left, items, dims, right)) for left, items, dims, right in plan.core_shapes
        )  # each [R_{k-1}, I_k, A_k, R_k]
        self.register_buffer("item_order", None if item_order is None else checked_order(item_order, n_items))
        self.reset_parameters()

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
        """Builds the table whose dense size is at least `compression_rate` times its stored size.

        `planner.plan_tensor_train` states the rule by which shapes and ranks are chosen; further keyword arguments
        are the constructor's.

        Raises:
            ValueError: no such table, with the nearest rate that can be had.
        """
        stored_beside = 0 if kwargs.get("item_order") is None else n_items  # the permutation, one number an item
        plan = plan_tensor_train(n_items, embedding_dim, compression_rate, n_cores, stp_factor, stored_beside)
        return cls(
            n_items,
            embedding_dim,
            item_shape=plan.item_shape,
            dim_shape=plan.dim_shape,
            tt_ranks=plan.tt_ranks,
            stp_factor=stp_factor,
            **kwargs,  # type: ignore[arg-type]  # padding_idx, item_order, std
        )

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws normal cores, scaled so that the root mean square over the whole grid is exactly `std`."""
        for core in self.tt_cores:
            nn.init.normal_(core)
        gram = self.tt_cores[0].new_ones(1, 1)  # [R_k, R_k]; ends as the mean square of all entries
        for core in self.tt_cores:
            gram = torch.einsum("lm,liar,mias->rs", gram, core, core) / (core.shape[1] * core.shape[2])
        scale = (self.std / gram.sqrt().item()) ** (1 / len(self.tt_cores))
        for core in self.tt_cores:
            core.mul_(scale)

    @torch.no_grad()
    def fit_(self, matrix: Tensor, item_order: Tensor | None = None) -> float:
        """Sets the cores to approximate a given table (`tensor_train_fit`).

        Args:
            matrix: table to approximate [N, D].
            item_order: new cell of each item [N]; only for a table that was made with an order.

        Returns:
            Share of the table's squared norm that the cores keep, 0 to 1.

        Raises:
            ValueError: a matrix of another shape, or an order for a table without one.
        """
        if matrix.shape != (self.n_items, self.embedding_dim):
            raise ValueError(f"matrix {tuple(matrix.shape)}, expected ({self.n_items}, {self.embedding_dim}).")
        if item_order is not None:
            if self.item_order is None:
                raise ValueError("this table has no item_order to change; make it with one.")
            self.item_order.copy_(checked_order(item_order, self.n_items))
        cells = torch.arange(self.n_items) if self.item_order is None else self.item_order
        grid = matrix.new_zeros(self.plan.n_cells, self.embedding_dim)
        grid[cells.to(grid.device)] = matrix
        if self.padding_idx is not None:
            grid[cells[self.padding_idx]] = 0
        for core, fitted in zip(self.tt_cores, fit_cores(grid, self.plan), strict=True):
            core.copy_(fitted.to(core.dtype))
        kept = 1 - (self.to_matrix() - matrix).square().sum() / matrix.square().sum()
        return kept.item()

    # ------------------------------------------------------------------ sizes

    @property
    def zero_item(self) -> int | None:
        """The column that is 0 whatever `raw_scores` gives there."""
        if self.padding_idx is None or self.item_order is None:
            return self.padding_idx
        return int(self.item_order[self.padding_idx])

    @property
    def tt_ranks(self) -> tuple[int, ...]:
        """Ranks [1, r_1, .., r_{m-1}, 1] in the paper's counting."""
        return self.plan.tt_ranks

    @property
    def n_stored(self) -> int:
        """Numbers stored: the cores, and `item_order` if there is one."""
        return self.plan.n_parameters + (0 if self.item_order is None else self.item_order.numel())

    @property
    def n_bytes(self) -> int:
        """Bytes stored, in float32."""
        return 4 * self.n_stored

    @property
    def compression_rate(self) -> float:
        """Dense numbers (N * D) for each stored number, a permutation counted as stored."""
        return self.n_items * self.embedding_dim / self.n_stored

    def extra_repr(self) -> str:
        return f"{self.n_items}, {self.embedding_dim}, {self.plan}, compression_rate={self.compression_rate:.1f}"

    # ------------------------------------------------------------------ the three paths

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table, from the cores alone.

        Args:
            ids: item ids of any shape [...], integers in [0, N).

        Returns:
            Embeddings [..., D].

        Raises:
            IndexError: an id outside the table.
        """
        flat = ids.reshape(-1)
        # Only where it costs nothing: on an accelerator the check would wait for the device.
        if flat.device.type == "cpu" and flat.numel() and (flat.min() < 0 or flat.max() >= self.n_items):
            raise IndexError(f"item ids in [{flat.min()}, {flat.max()}] for a table of {self.n_items} rows.")
        rows = self._cells(flat if self.item_order is None else self.item_order[flat])
        if self.padding_idx is not None:
            rows = rows * (flat != self.padding_idx).unsqueeze(-1)
        return rows.view(*ids.shape, self.embedding_dim)

    def _cells(self, cells: Tensor) -> Tensor:
        """Rows of the given grid cells: [n] -> [n, D]."""
        n, t = cells.numel(), self.plan.stp_factor
        rows, stride = cells.new_ones(n, 1, 1, dtype=self.tt_cores[0].dtype), self.plan.n_cells
        for core in self.tt_cores:
            left, items, dims, right = core.shape
            stride //= items
            # A core's slices lie along its second axis: [R, I, A, R'] -> n x [R, A * R'].
            slices = F.embedding(cells // stride % items, core.transpose(0, 1).reshape(items, -1))
            rows = torch.bmm(
                rows, slices.view(n, left, dims * right)
            )  # [n, A_1 .. A_{k-1}, R] x [n, R, A_k R'] -> [n, .., A_k R']
            rows = rows.reshape(n, -1, right)
        dim_shape = self.plan.dim_shape
        rows = rows.view(n, dim_shape[0], t, -1)  # [n, J_1, tau, rest]
        return rows.transpose(2, 3).reshape(n, self.embedding_dim)

    def to_matrix(self) -> Tensor:
        """The full table [N, D]: for tests and small tables, never needed to train or to score."""
        return self.forward(torch.arange(self.n_items, device=self.tt_cores[0].device))

    def scores(self, query: Tensor) -> Tensor:
        """Inner products of each query with every item, without building the table.

        Contracting the query with the first core leaves, for each first grid index, a small matrix that meets the
        next core as one product: for two cores and N = 40,727, D = 128 that is 5.5 M multiply-adds and 0.76 MB of
        weights read, against 5.2 M and 20.8 MB for the dense product.

        Args:
            query: session representations [B, D].

        Returns:
            Scores [B, N]; the padding column is exactly zero.
        """
        if torch.is_grad_enabled() or len(query) <= _QUERY_BLOCK:
            return self._item_scores(query)
        scores = query.new_empty(len(query), self.n_items)  # the one large matrix of an evaluation
        for rows, block in zip(scores.split(_QUERY_BLOCK), query.split(_QUERY_BLOCK), strict=True):
            rows.copy_(self._item_scores(block))
        return scores

    def _item_scores(self, query: Tensor) -> Tensor:
        """[B, D] -> [B, N], cut out of the cells."""
        scores = self._cell_scores(query)
        scores = scores[:, : self.n_items] if self.item_order is None else scores.index_select(1, self.item_order)
        if self.padding_idx is not None:
            scores[:, self.padding_idx] = 0  # the product needs its factors for its gradient, never its result
        return scores

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """Products of each query with every item, for a loss that knows what else stands there.

        As `scores`, but a column is a cell (item i stands in column `item_order[i]`), columns from N on are cells
        without an item, and the padding column (`zero_item`) holds whatever the cores give: to sort them and cut them
        off would cost passes over the largest matrix of a training step.

        Args:
            query: [B, D].
            dtype: precision of the products, the query's own when None; sums inside a product are float32 at least.
            buffer: where the scores go; new memory when None.

        Returns:
            [B, M], M >= N, of that precision.
        """
        return self._cell_scores(query if dtype is None else query.to(dtype), buffer)

    def _cell_scores(self, query: Tensor, buffer: ScoreBuffer | None = None) -> Tensor:
        """[B, D] -> [B, I_1 * .. * I_m], in the query's precision."""
        batch, t, dtype = query.shape[0], self.plan.stp_factor, query.dtype
        # [B, J_1, A_2 * .. * A_m, tau] -> [B, 1 cell, A_2 * .. * A_m, J_1 * tau]: the regrouped embedding, A_1 last.
        state = (
            query.view(batch, self.plan.dim_shape[0], -1, t)
            .transpose(1, 2)
            .reshape(batch, 1, -1, self.tt_cores[0].shape[2])
        )
        for core, following in pairwise(self.tt_cores):
            (left, items, dims, right), next_dims = core.shape, following.shape[2]
            matrix = core.to(dtype).permute(2, 0, 1, 3).reshape(dims * left, items * right)
            # [B, cells, rest, A_k R] x [A_k R, I_k R_k] -> [B, cells, A_k+1, rest', I_k, R_k]; what the next product
            # sums over goes last, R_k innermost, so that the copy moves runs of R_k numbers.
            state = (state @ matrix).view(batch, state.shape[1], next_dims, -1, items, right)
            state = state.permute(0, 1, 4, 3, 2, 5).reshape(batch, state.shape[1] * items, -1, next_dims * right)
        last = self.tt_cores[-1].to(dtype)  # [R, I_m, A_m, 1]: nothing is left beside the contracted axes
        matrix = last.permute(1, 2, 0, 3).reshape(last.shape[1], -1)
        # [B * cells, A_m R] x [A_m R, I_m] -> [B * cells, I_m]
        return product(state.flatten(0, 2), matrix, buffer).view(batch, self.plan.n_cells)
