"""A student that is out there goes on: whole numbers of its rows move as far as a budget lets them, all else stays.

A device that has its bundle gets the new one as a delta. Weights of real numbers all move in the first step of any
training and would travel whole, so they stay bit for bit; a code or an integer is a byte or half of one, and those that
stay cost nothing.

Dimension key: N items, O of them old, F whole numbers of a row, W real numbers that these stand for.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from torch import Tensor, nn

from recbole_odrec.errors import UserError
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.nn import FollowerScores
from recbole_odrec.nn.followers import follower_bytes
from recbole_odrec.nn.whole_numbers import WholeNumbers, numbers_of
from recbole_odrec.parsing import require
from recbole_odrec.processes.group import n_processes
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.updated import MOVABLE, OF_TABLE, n_followers_of, table_of_checkpoint

_REST = 1700  # bytes of a delta beside numbers and items: its header, the manifest, sizes in the graph
_WEIGHT = 100  # and for each further weight that grows
_MOVED_BY_NEW = 3  # bytes that a number of an old item takes for each of a new one's, about: what gains go by
_RIDGE = 1e-3  # of the mean square of a teacher's rows


class StudentUpdate:
    """Takes a checkpoint's weights over into a student of more items, freezes them and moves its whole numbers.

    Args:
        config: of the run, with `update_from` and `update_budget`.
        student: built for this run; changed in place.

    Attributes:
        numbers: those of the student's table.
        start: those from which all begins [N, F]: the file's and, for new items, the most frequent ones.
        latent: what the numbers follow [N, W], from `follow` on.
        new_tokens: names of the items that the checkpoint has not, which travel too.

    Raises:
        UserError: a checkpoint or a student that cannot be updated.
    """

    latent: nn.Parameter
    new_tokens: Sequence[str] = ()

    def __init__(self, config: Config, student: SessionRecommender) -> None:
        self.path, self.budget = Path(config["update_from"]), int(config["update_budget"])
        numbers = numbers_of(student.item_table)
        if numbers is None:
            what = f"{type(student.item_table).__name__}, every number of which moves"
            raise UserError(f"update_from={str(self.path)!r} is for {MOVABLE}, not {what}.")
        self.numbers: WholeNumbers = numbers
        if n_processes() > 1:
            raise UserError(f"update_from={str(self.path)!r} trains in one process: start it without torchrun.")
        require(numbers.moves_every > 0, "move_codes_every", 0, "at least 1 with update_from, such as 20")
        state = checkpoint.load_model(self.path)
        of_table, weights = table_of_checkpoint(config, numbers, state, self.path), dict(state["state_dict"])
        self.n_old = len(of_table[numbers.moving[0]])
        most = f"a student of at most {student.n_items} items"
        require(student.n_items >= self.n_old, "update_from", str(self.path), most)
        grown = numbers.grown(of_table, student.n_items - self.n_old)
        weights.update({OF_TABLE + name: values for name, values in grown.items()})
        self.bytes_beside = self._grow_followers(weights, student.followers)
        checkpoint.load_weights(student, weights, self.path)
        student.requires_grad_(False)
        self.start = numbers.now()

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

    # ------------------------------------------------------------------ numbers that move

    @torch.no_grad()
    def follow(self, vectors: Tensor | None) -> nn.Parameter:
        """The full table that trains, and whose rows the numbers follow.

        Old items begin where they are; new ones at the teacher's rows as the old ones translate them.

        Args:
            vectors: a teacher's rows [N, any width], None without.
        """
        rows = self.numbers.values(self.start)
        if vectors is not None and self.n_old < len(rows):
            theirs, ours = vectors.double(), rows[1 : self.n_old].double()  # row 0 is no item
            old = theirs[1 : self.n_old]
            ridge = _RIDGE * old.square().sum() / old.shape[1] * torch.eye(old.shape[1], dtype=old.dtype).to(old)
            translation = torch.linalg.solve(old.T @ old + ridge, old.T @ ours)
            rows[self.n_old :] = (theirs[self.n_old :] @ translation).to(rows)
        self.latent = nn.Parameter(rows)
        self.numbers.follow(self.latent)
        self.move()
        return self.latent

    def after_step(self, step: int) -> None:
        """As of a table: numbers move every so many steps."""
        if step % self.numbers.moves_every == 0:
            self.move()

    @torch.no_grad()
    def move(self) -> None:
        """Each item takes the numbers next to its row of the full table; the old one where another gives the same."""
        self.numbers.set(self.numbers.nearest(self.latent, self.start))

    # ------------------------------------------------------------------ what they may cost

    def fit_budget(self, gradient: Callable[[], Tensor]) -> None:
        """Takes numbers back, those that gain least for their bytes first, until a delta fits into the budget.

        The gain of a number is what the loss falls by along the way of what it stands for, by the mean of the gradients
        at both ends.

        Args:
            gradient: the loss's by what the numbers stand for [N, W], with the table's as they are.
        """
        moved = self.numbers.now()
        if self.budget and self.n_bytes(moved) > self.budget:
            after = gradient()
            self.numbers.set(self.start)
            step = self.numbers.values(moved) - self.numbers.values(self.start)
            gains = -((gradient() + after) / 2 * step).view(*moved.shape, -1).sum(2)  # [N, F]
            gains[self.n_old :] *= _MOVED_BY_NEW
            order = gains.flatten().argsort(descending=True, stable=True)[: int((gains > 0).sum())]
            fitting, too_many = 0, len(order) + 1
            while too_many - fitting > 1:
                middle = (fitting + too_many) // 2
                is_fitting = self.n_bytes(self._kept(moved, order[:middle])) <= self.budget
                fitting, too_many = (middle, too_many) if is_fitting else (fitting, middle)
            self.numbers.set(self._kept(moved, order[:fitting]))
        told = self.report()
        logging.getLogger().info(
            f"student: {told['moved']:,} whole numbers of old items have moved, {told['new_items']:,} items are new: "
            f"{told['bytes']:,} bytes"
        )

    def _kept(self, moved: Tensor, places: Tensor) -> Tensor:
        """The start, with some of the numbers that have moved."""
        numbers = self.start.flatten().clone()
        numbers[places] = moved.flatten()[places]
        return numbers.view_as(moved)

    def n_bytes(self, numbers: Tensor) -> int:
        """Bytes of the delta to a bundle with these, to some hundreds: what is measured is numbers and items."""
        from recbole_odrec.bundle.alike import bytes_alike  # late: bundles stand further down
        from recbole_odrec.bundle.delta_maker import encoded_alike

        old, new = (self.numbers.shipped(part) for part in (self.start[: self.n_old], numbers))
        names = zlib.compress("\n".join(map(str, self.new_tokens)).encode(), 9)
        encoded = encoded_alike(old.tobytes(), new.tobytes(), bytes_alike(old, new))
        return len(encoded) + len(names) + self.bytes_beside + _REST

    def expect(self, dataset: Any) -> None:
        """Takes the names of the new items.

        Args:
            dataset: what the run trains on.

        Raises:
            UserError: these items alone need more bytes than there are.
        """
        self.new_tokens = dataset.field2id_token[dataset.iid_field][self.n_old :]
        least = self.n_bytes(self.start)
        if self.budget and least > self.budget:
            raise UserError(
                f"update_budget={self.budget} cannot be kept: {len(self.new_tokens):,} new items and what every delta "
                f"has take {least:,} bytes where nothing of an old item moves: give at least these, or 0 for no bound."
            )

    def report(self) -> dict[str, int]:
        """What of the student, as it is, differs from the one out there, and the bytes of that."""
        numbers = self.numbers.now()
        moved = int((numbers != self.start)[: self.n_old].sum())
        whole = {"whole_numbers": self.start[: self.n_old].numel(), "new_items": len(numbers) - self.n_old}
        return {"moved": moved, **whole, "bytes": self.n_bytes(numbers), "budget": self.budget}
