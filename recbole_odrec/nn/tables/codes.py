"""Item table as product codes: each row is a few bytes that name entries of small codebooks.

The embedding is cut into M equal parts; codebook m holds K vectors for part m, and an item stores which of them it
takes (Jegou et al. 2011). Codes come from a trained table (`fit_`); the codebooks are trained, and while a latent
table trains along with them (`follow`), codes move to the entries next to it (`assign_`). A session's scores need
M x K products and then M look-ups an item, with no N x D table (RecJPQ, Petrov and Macdonald 2024).

Dimension key: B queries, N items, D embedding, M codebooks, K entries of each, W = D / M.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from recbole_odrec.errors import InfeasibleRateError, UserError
from recbole_odrec.nn.followers import bytes_of_followers
from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.nn.table import ItemTable
from recbole_odrec.nn.tables.codes_fit import ENTRIES, ITEM_BLOCK, cluster, nearest
from recbole_odrec.nn.tables.codes_numbers import Codes
from recbole_odrec.nn.tables.codes_settings import CodesSettings
from recbole_odrec.nn.tables.followed import FollowedTable
from recbole_odrec.nn.tables.passed_on import passed_on
from recbole_odrec.processes.rows import whole_in_all

DEFAULT_STD = 0.02
_FEW_QUERIES = 16  # from here on, rows are rebuilt block by block: one product beats M look-ups a score


class ProductCodesEmbedding(ItemTable):
    """An embedding of `n_items` rows and `embedding_dim` columns stored as `n_codes` bytes a row and their codebooks.

    The codebooks ship as 8-bit integers with one scale each. Training sees them rounded (the gradient passes through),
    so that what is trained, evaluated and shipped is one table.

    Args:
        n_items: number of rows N, the padding row included.
        embedding_dim: number of columns D.
        n_codes: M, a divisor of D.
        padding_idx: a row that is exactly zero in every path and gets no gradient; None for no such row.
        std: standard deviation of the entries after `reset_parameters`.
        seed: of the random codes that stand until `fit_`, and of the clustering.

    Raises:
        ValueError: D cannot be cut into M parts.
    """

    Settings, numbers, splits_companion = CodesSettings, Codes, True
    codes: Tensor

    def __init__(
        self,
        n_items: int,
        embedding_dim: int,
        n_codes: int = 16,
        padding_idx: int | None = 0,
        std: float = DEFAULT_STD,
        seed: int = 0,
    ) -> None:
        super().__init__(n_items, embedding_dim)
        if n_codes < 1 or embedding_dim % n_codes:
            raise ValueError(f"n_codes={n_codes} must divide embedding_dim={embedding_dim}.")
        self.n_codes, self.padding_idx, self.std, self.seed = int(n_codes), padding_idx, std, seed
        generator = torch.Generator().manual_seed(seed)
        codes = torch.randint(ENTRIES, (self.n_items, n_codes), generator=generator, dtype=torch.uint8)
        self.register_buffer("codes", codes)  # [N, M]
        self.codebooks = nn.Parameter(torch.empty(n_codes, ENTRIES, embedding_dim // n_codes))  # [M, K, W]
        self.move_codes_every = 0
        self.followed: FollowedTable | None = None
        self.reset_parameters()

    @classmethod
    def from_settings(
        cls, settings: CodesSettings, n_items: int, embedding_dim: int, std: float
    ) -> ProductCodesEmbedding:
        """See `ItemTable`."""
        beside = bytes_of_followers(n_items, settings.n_followers)
        table = cls.from_compression_rate(n_items, embedding_dim, settings.compression_rate, beside, std=std)
        table.move_codes_every = settings.move_codes_every
        return table

    @classmethod
    def from_compression_rate(
        cls, n_items: int, embedding_dim: int, compression_rate: float = 30, bytes_beside: int = 0, **kwargs: object
    ) -> ProductCodesEmbedding:
        """With the most codes at which dense float32 bytes are so many times its own and those stored beside it.

        Raises:
            InfeasibleRateError: no number of codes reaches the rate.
        """
        dense, codebooks = 4 * n_items * embedding_dim, ENTRIES * embedding_dim
        possible = [m for m in range(1, embedding_dim + 1) if embedding_dim % m == 0]
        rates = {m: dense / (n_items * m + codebooks + 4 * m + bytes_beside) for m in possible}
        reaching = [m for m, rate in rates.items() if rate >= compression_rate]
        if not reaching:
            raise InfeasibleRateError(
                f"compression_rate={compression_rate} cannot be reached by codes for {n_items} items of "
                f"{embedding_dim} columns: the codebooks alone weigh {codebooks} bytes"
                f"{f', followers {bytes_beside}' if bytes_beside else ''}; at most {rates[1]:.1f}.",
                highest=rates[1],
            )
        return cls(n_items, embedding_dim, max(reaching), **kwargs)  # type: ignore[arg-type]  # padding_idx, std, seed

    def reset_parameters(self) -> None:
        """Normal codebooks."""
        nn.init.normal_(self.codebooks, std=self.std)

    # ------------------------------------------------------------------ a teacher's table, and codes that move

    @classmethod
    def check_start(cls, settings: CodesSettings, has_teacher: bool, starts_from_teacher: bool) -> None:
        """Codes are those of a table."""
        if not starts_from_teacher:
            raise UserError("table=codes takes its codes from the teacher's table: set init_from_teacher=True.")

    def check_teacher(self, width: int) -> None:
        """And of its columns."""
        if width != self.embedding_dim:
            raise UserError(
                f"table=codes: the teacher's item table has {width} columns and hidden_size={self.embedding_dim}; "
                "codes are those of the teacher's columns: make the two agree."
            )

    def approximate_(self, matrix: Tensor) -> bool:
        """Learns codes and codebooks: k-means in each part of the embedding."""
        first = 0 if self.padding_idx is None else 1  # the padding row stands for no item
        codes, codebooks = cluster(matrix[first:], self.n_codes, self.seed)
        self.codes[first:] = codes
        self.codebooks.copy_(codebooks)
        return True

    def companion(self, vectors: Tensor, bounds: Sequence[int] | None = None) -> nn.Parameter | None:
        """The full table that codes follow, to begin with the teacher's; None for codes that stay."""
        if not self.move_codes_every:
            return None
        latent = nn.Parameter(vectors.detach().clone())
        self.follow(latent, bounds)
        return latent

    def after_step(self, step: int) -> None:
        """Every so many steps, items take the codes next to their rows of the full table."""
        if step % self.move_codes_every == 0 and self.followed is not None:
            self.assign_(self.followed.rows.detach(), self.followed.bounds)

    def follow(self, latent: Tensor, bounds: Sequence[int] | None = None) -> None:
        """From now on a table [N, D] gets the gradient of the rows as if it were the rows; see `FollowedTable`."""
        self.followed = FollowedTable(latent, bounds)

    @torch.no_grad()
    def assign_(self, matrix: Tensor, bounds: Sequence[int] | None = None) -> None:
        """Gives each item the entries next to its row of a table, of which this process may have a part (`bounds`)."""
        codes = nearest(matrix, self.rounded_codebooks())
        self.codes.copy_(codes if bounds is None else whole_in_all(codes, bounds))

    @property
    def columns(self) -> slice | None:
        """In training, those of this process's rows of the full table, where they are split."""
        return self.followed.columns if self.followed is not None and self.training else None

    # ------------------------------------------------------------------ sizes

    @property
    def zero_item(self) -> int | None:
        return self.padding_idx

    @property
    def n_bytes(self) -> int:
        """Bytes stored: a byte a code, a byte a codebook number, four a codebook's scale."""
        return self.n_stored + 4 * self.n_codes

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, n_codes={self.n_codes}"

    # ------------------------------------------------------------------ the three paths

    def rounded_codebooks(self) -> Tensor:
        """[M, K, W] as they ship: multiples of each codebook's scale; the gradient passes as if they were not."""
        books = self.codebooks
        step = self.scales().view(-1, 1, 1)
        return books + ((books / step).round() * step - books).detach()

    @torch.no_grad()
    def settle_(self) -> None:
        """See `ItemTable`."""
        self.codebooks.copy_(self.rounded_codebooks())

    def scales(self) -> Tensor:
        """What one step of each codebook's integers is worth: [M]."""
        largest = self.codebooks.detach().abs().amax((1, 2))
        return torch.where(largest > 0, largest / 127, torch.ones_like(largest))

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table: ids [...] -> [..., D]."""
        flat = ids.reshape(-1)
        rows = self._followed(self.codes[flat], [] if self.followed is None else self.followed.of(flat))
        if self.padding_idx is not None:
            rows = rows * (flat != self.padding_idx).unsqueeze(-1)
        return rows.view(*ids.shape, self.embedding_dim)

    def _followed(self, codes: Tensor, latents: Sequence[Tensor]) -> Tensor:
        """Rows of given codes, whose gradient those of the full table that trains along get too: [n, M] -> [n, D]."""
        return reduce(passed_on, latents, self._decode(codes))

    def _decode(self, codes: Tensor) -> Tensor:
        """Rows of given codes: [n, M] -> [n, D]."""
        books = self.rounded_codebooks().flatten(0, 1)  # [M K, W]
        first = ENTRIES * torch.arange(self.n_codes, device=codes.device, dtype=torch.int32)
        # Not `F.embedding`, whose backward pass over few rows and many ids is several times slower on a processor.
        return books.index_select(0, (codes.int() + first).flatten()).view(-1, self.embedding_dim)

    def scores(self, query: Tensor) -> Tensor:
        """Inner products of each query with every item, without building the table: [B, D] -> [B, N]."""
        scores = self._look_up(query) if len(query) < _FEW_QUERIES else self._by_blocks(query)
        if self.padding_idx is not None:
            scores = scores.index_fill(1, torch.tensor([self.padding_idx], device=scores.device), 0)
        return scores

    def _look_up(self, query: Tensor) -> Tensor:
        """A product with each codebook entry, then the sum of each item's: [B, D] -> [B, N]."""
        parts = query.view(len(query), self.n_codes, -1)
        table = torch.einsum("bmw,mkw->bmk", parts, self.rounded_codebooks())
        codes = self.codes.T.contiguous()  # whole columns: a stride of M bytes costs twice the time
        return sum(table[:, m].index_select(1, codes[m].int()) for m in range(self.n_codes))  # pyright: ignore[reportReturnType]

    def _by_blocks(self, query: Tensor) -> Tensor:
        return torch.cat([query @ self._decode(block).T for block in self.codes.split(ITEM_BLOCK)], dim=1)

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        """See `ItemTable`. A step scores hundreds of sessions: the rows are rebuilt once for all of them."""
        latents = [] if self.followed is None else self.followed.all_rows()
        return product(query, self._followed(self.codes, latents), buffer, dtype)

    def trained(self) -> list[Tensor]:
        return [self.codebooks] if self.followed is None else [self.codebooks, self.followed.rows]

    def tile_of(self, values: Sequence[Tensor], columns: slice | Tensor) -> list[Tensor]:
        """All codebooks, and the columns' rows of the full table that trains along."""
        return [*values] if self.followed is None else [values[0], self.followed.tile_of(values[1], columns)]

    def tile_scores(
        self, query: Tensor, columns: slice | Tensor, parts: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> Tensor:
        return product(query, self._followed(self.codes[columns], parts[1:]), dtype=dtype)
