"""A student that is out there goes on: its codes move as far as a budget lets them, all else of it stays bit for bit.

A device that has its bundle gets the new one as a delta. Weights of real numbers all move in the first step of any
training and would travel whole, so encoder and codebooks stay; a code is a byte, and those that stay cost nothing.

Dimension key: N items, O of them old, D embedding, M codebooks, W = D / M.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from torch import Tensor, nn

from recbole_odrec.errors import UserError
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.nn import FollowerScores, ProductCodesEmbedding
from recbole_odrec.nn.followers import follower_bytes
from recbole_odrec.nn.tables.codes_fit import nearest
from recbole_odrec.parsing import require
from recbole_odrec.processes.group import n_processes
from recbole_odrec.trainer import checkpoint

CODES = "item_table.codes"
_REST = 1700  # bytes of a delta beside codes and items: its header, the manifest, sizes in the graph
_WEIGHT = 100  # and for each further weight that grows
_MOVED, _NEW = 3, 1  # bytes that a code of an old and of a new item takes, about: what gains are compared by
_RIDGE = 1e-3  # of the mean square of a teacher's rows


class StudentUpdate:
    """Takes a checkpoint's weights over into a student of more items, freezes them and moves its codes.

    Args:
        config: of the run, with `update_from` and `update_budget`.
        student: built for this run; changed in place.

    Attributes:
        start: codes from which all begins [N, M]: the file's and, for new items, the most frequent ones.
        latent: what the codes follow [N, D], from `follow` on.
        new_tokens: names of the items that the checkpoint has not, which travel too.

    Raises:
        UserError: a checkpoint or a student that cannot be updated.
    """

    latent: nn.Parameter
    new_tokens: Sequence[str] = ()

    def __init__(self, config: Config, student: SessionRecommender) -> None:
        self.path, self.budget = Path(config["update_from"]), int(config["update_budget"])
        table = student.item_table
        if not isinstance(table, ProductCodesEmbedding):
            what = f"{type(table).__name__}, every number of which moves"
            raise UserError(f"update_from={str(self.path)!r} moves codes alone, not {what}: table=codes.")
        self.table: ProductCodesEmbedding = table
        if n_processes() > 1:
            raise UserError(f"update_from={str(self.path)!r} trains in one process: start it without torchrun.")
        require(self.table.move_codes_every > 0, "move_codes_every", 0, "at least 1 with update_from, such as 20")
        state = checkpoint.load_model(self.path)
        weights = dict(state["state_dict"])
        codes = _codes(weights, self.path)
        self.n_old, n_new = len(codes), student.n_items - len(codes)
        most = f"a student of at most {student.n_items} items"
        require(n_new >= 0, "update_from", str(self.path), most)
        usual = codes.long().mode(0).values.to(torch.uint8)  # the cheapest for a delta
        weights[CODES] = torch.cat([codes, usual.expand(n_new, -1)])
        self.bytes_beside = self._grow_followers(weights, student.followers)
        checkpoint.load_weights(student, weights, self.path)
        student.requires_grad_(False)
        self.start = self.table.codes.clone()

    def _grow_followers(self, weights: dict[str, Any], followers: FollowerScores | None) -> int:
        """Gives new items the followers that this run has counted; old ones keep theirs, and all the gain.

        Returns:
            Bytes of the new items'.
        """
        n_stored, n_asked = n_followers_of(weights), 0 if followers is None else followers.items.shape[1]
        require(n_stored == n_asked, "n_followers", n_asked, f"{n_stored} as update_from={str(self.path)!r} has")
        if followers is None:
            return 0
        for name in ("items", "strengths"):
            now, key = getattr(followers, name), f"followers.{name}"
            weights[key] = torch.cat([weights[key].to(now), now[self.n_old :]])
        n_items = len(followers.items)
        return (n_items - self.n_old) * n_asked * follower_bytes(n_items) + 2 * _WEIGHT

    # ------------------------------------------------------------------ codes that move

    @torch.no_grad()
    def follow(self, vectors: Tensor | None) -> nn.Parameter:
        """The full table that trains, and whose rows the codes follow.

        Old items begin where they are; new ones at the teacher's rows as the old ones translate them.

        Args:
            vectors: a teacher's rows [N, any width], None without.
        """
        rows = self._decoded(self.start)
        if vectors is not None and self.n_old < len(rows):
            theirs, ours = vectors.double(), rows[1 : self.n_old].double()  # row 0 is no item
            old = theirs[1 : self.n_old]
            ridge = _RIDGE * old.square().sum() / old.shape[1] * torch.eye(old.shape[1], dtype=old.dtype).to(old)
            translation = torch.linalg.solve(old.T @ old + ridge, old.T @ ours)
            rows[self.n_old :] = (theirs[self.n_old :] @ translation).to(rows)
        self.latent = nn.Parameter(rows)
        self.table.follow(self.latent)
        self.move()
        return self.latent

    def after_step(self, step: int) -> None:
        """As of a table: codes move every so many steps."""
        if step % self.table.move_codes_every == 0:
            self.move()

    @torch.no_grad()
    def move(self) -> None:
        """Each item takes the codes next to its row of the full table; the old one where another gives the same."""
        books = self.table.rounded_codebooks()
        codes = nearest(self.latent, books).long()
        places, start = torch.arange(len(books), device=codes.device), self.start.long()
        is_same = (books[places, codes] == books[places, start]).all(2)
        self.table.codes.copy_(torch.where(is_same, start, codes))

    # ------------------------------------------------------------------ what they may cost

    def fit_budget(self, gradient: Callable[[], Tensor]) -> None:
        """Takes codes back, those that gain least for their bytes first, until a delta fits into the budget.

        The gain of a code is what the loss falls by along the way of its entry, by the mean of the gradients at both
        ends.

        Args:
            gradient: the loss's by the rows of the items [N, D], at the table's codes as they stand.
        """
        codes, moved = self.table.codes, self.table.codes.clone()
        if not self.budget or self.n_bytes(moved) <= self.budget:
            return self._tell(moved)
        after = gradient()
        codes.copy_(self.start)
        step = self._decoded(moved) - self._decoded(self.start)
        gains = -((gradient() + after) / 2 * step).view(*moved.shape, -1).sum(2)  # [N, M]
        gains[self.n_old :] *= _MOVED / _NEW
        order = gains.flatten().argsort(descending=True, stable=True)[: int((gains > 0).sum())]
        fitting, too_many = 0, len(order) + 1
        while too_many - fitting > 1:
            middle = (fitting + too_many) // 2
            is_fitting = self.n_bytes(self._kept(moved, order[:middle])) <= self.budget
            fitting, too_many = (middle, too_many) if is_fitting else (fitting, middle)
        codes.copy_(self._kept(moved, order[:fitting]))
        self._tell(codes)

    def n_bytes(self, codes: Tensor) -> int:
        """Bytes of the delta to a bundle with these codes, to some hundreds: what is measured is codes and items."""
        from recbole_odrec.bundle.alike import Alike  # late: bundles stand further down
        from recbole_odrec.bundle.delta_maker import encoded_alike

        n_old, n_new = self.n_old, len(codes)
        rows = [Alike(m * n_new, m * n_old, n_old, 1) for m in range(codes.shape[1])]
        old, new = (part.cpu().numpy().T.tobytes() for part in (self.start[:n_old], codes))
        names = zlib.compress("\n".join(map(str, self.new_tokens)).encode(), 9)
        return len(encoded_alike(old, new, rows)) + len(names) + self.bytes_beside + _REST

    def _kept(self, moved: Tensor, places: Tensor) -> Tensor:
        """The start, with some of the codes that have moved."""
        codes = self.start.flatten().clone()
        codes[places] = moved.flatten()[places]
        return codes.view_as(moved)

    def _decoded(self, codes: Tensor) -> Tensor:
        return self.table._decode(codes)

    def _tell(self, codes: Tensor) -> None:
        is_other = codes != self.start
        old, new, bytes_now = is_other[: self.n_old].sum(), len(codes) - self.n_old, self.n_bytes(codes)
        log = logging.getLogger()
        log.info(f"student: {old:,} codes of old items have moved, {new:,} items are new: {bytes_now:,} bytes")
        if self.budget and bytes_now > self.budget:
            log.warning(
                f"update_budget={self.budget} cannot be kept: without a code that moves it is {bytes_now:,} bytes."
            )


def rate_of_checkpoint(config: Config, student: Any) -> float | None:
    """The rate at which a student's table has as many codes a row as that of `update_from`; None where it has."""
    table = getattr(student, "item_table", None)
    if not config["update_from"] or not isinstance(table, ProductCodesEmbedding):
        return None
    path = Path(config["update_from"])
    n_codes = _codes(checkpoint.load_model(path)["state_dict"], path).shape[1]
    if n_codes == table.n_codes or table.embedding_dim % n_codes:
        return None
    dense = 4 * table.n_items * table.embedding_dim
    beside = table.n_items * config["n_followers"] * follower_bytes(table.n_items)
    return dense / (ProductCodesEmbedding(table.n_items, table.embedding_dim, n_codes).n_bytes + beside)


def n_followers_of(weights: Mapping[str, Any]) -> int:
    """How many followers an item a student keeps."""
    stored: Any = weights.get("followers.items")
    return stored.shape[1] if isinstance(stored, Tensor) and stored.dim() == 2 else 0


def _codes(weights: dict[str, Any], path: Path) -> Tensor:
    codes: Any = weights.get(CODES)
    if not isinstance(codes, Tensor) or codes.dim() != 2 or codes.dtype != torch.uint8:
        raise UserError(f"update_from={str(path)!r} is no student of table=codes, whose codes alone could move.")
    return codes
