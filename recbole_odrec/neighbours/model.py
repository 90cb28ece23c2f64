"""What neighbourhood models share: they count once, remember sparse arrays, and give every item a probability.

Dimension key: B sessions, L positions, C training cases, N items.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_odrec.data.head_tail import training_counts
from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.data.windows import NEXT_ITEMS, window_cases
from recbole_odrec.losses import ItemShares, mix_
from recbole_odrec.model.candidates import scores_of_candidates
from recbole_odrec.model.session_recommender import TrainingCases
from recbole_odrec.neighbours.pairs import of_sum_1
from recbole_odrec.neighbours.sessions import TrainingSessions, repeated_share, training_sessions
from recbole_odrec.nn import FrozenTable
from recbole_odrec.parsing import key, parse, require

_REPEATS = 0.01  # share of targets that stand in their own history from which on items seen are worth listing
_COUNTED = -1.0


@dataclass(frozen=True)
class NeighbourSettings:
    """Keys of every neighbourhood model."""

    smoothing: float = key(
        0.01, "Share of popularity in an item's probability: what nothing counted speaks for is ranked by it."
    )
    own_items: str | float = key(
        "auto",
        "Share of the session's own items in the probability, beside what is counted. auto: as many of the training "
        "targets as stand in their own history; below 1 %, drop: own items get popularity's share alone. counted: what "
        "is counted for them and no more, as published.",
    )
    own_recency: float = key(0.8, "Weight of an own item for each place that it stands further back.")

    def __post_init__(self) -> None:
        require(0 < self.smoothing < 1, "smoothing", self.smoothing, "a number between 0 and 1")
        is_word = self.own_items in ("auto", "counted", "drop")
        is_share = not isinstance(self.own_items, str) and 0 <= self.own_items < 1
        require(is_word or is_share, "own_items", self.own_items, "auto, counted, drop or a number in [0, 1)")
        require(0 < self.own_recency <= 1, "own_recency", self.own_recency, "a number above 0, at most 1")


class NeighbourModel(SequentialRecommender):
    """Counts sessions in place of training, and scores by what it counted:

        p(item | session) = (1 - smoothing) share(item | session) + smoothing * popularity(item)
        share = (1 - own_items) strength / sum of strengths + own_items * recency of the item in the session

    Scores are log p. A model is a class with frozen `Settings`, the names of the arrays that it remembers, what fills
    them (`count_`) and what a session's strengths are (`strengths`).

    Class attributes:
        Settings: a dataclass derived from `NeighbourSettings`.
        arrays: names of its arrays and their types: where the entries of each row begin and, last, where they end;
            `items`, the entries' items; more of the entries. They are buffers of any length, once counted or loaded,
            and stay on the CPU, where SciPy reads them.

    """

    Settings: ClassVar[type[NeighbourSettings]]
    arrays: ClassVar[Mapping[str, torch.dtype]]
    reads_any_width = True
    gives_embeddings = False  # nothing for a student to start from or to recombine
    hidden_size = 1  # of the popularity that stands where a network's table would (`item_table`)
    popularity: Tensor  # times an item occurs in training, and one more
    own_share: Tensor  # of own items; 0: they are dropped; -1: what is counted for them stands

    def __init__(self, config: Config, dataset: SessionDataset) -> None:
        super().__init__(config, dataset)
        self.settings: Any = parse(self.Settings, config)
        self.register_buffer("popularity", torch.ones(self.n_items, dtype=torch.int32))
        self.register_buffer("own_share", torch.tensor(_COUNTED))
        for name, dtype in self.arrays.items():
            self.register_buffer(name, torch.zeros(0, dtype=dtype))

    # ------------------------------------------------------------------ what a model must do

    @abstractmethod
    def count_(self, sessions: TrainingSessions) -> None:
        """Fills the arrays."""

    @abstractmethod
    def strengths(self, item_seq: np.ndarray) -> csr_matrix:
        """What speaks for each item, given sessions padded on the right with 0: int [B, L] -> [B, N], at least 0."""

    # ------------------------------------------------------------------ counting

    def fit_(self, dataset: SessionDataset) -> None:
        """Counts a training split, whatever was counted before."""
        sessions = training_sessions(dataset)
        self.popularity = torch.as_tensor(training_counts(dataset) + 1, dtype=torch.int32)
        self.own_share = torch.tensor(self._own_share(sessions))
        for name, what in self.decided.items():
            logging.getLogger().info(f"{type(self).__name__}: {name}: {what}")
        self.count_(sessions)

    def _own_share(self, sessions: TrainingSessions) -> float:
        choice = self.settings.own_items
        if choice != "auto":
            return _COUNTED if choice == "counted" else 0.0 if choice == "drop" else float(choice)
        share = repeated_share(sessions)
        return share if share >= _REPEATS else 0.0

    @property
    def decided(self) -> dict[str, str]:
        """What was decided from the data, with the reason."""
        if self.settings.own_items != "auto":
            return {}
        share = self.own_share.item()
        taken, part = (f"{share:.3f}", f"{share:.1%}") if share else ("drop", f"fewer than {_REPEATS:.0%}")
        return {"own_items": f"{taken}, for {part} of the training targets stand in their own history"}

    def remember(self, **arrays: np.ndarray) -> None:
        """Stores arrays under their names, as the types that `arrays` says."""
        for name, values in arrays.items():
            setattr(self, name, torch.as_tensor(values, dtype=self.arrays[name]))

    def check_arrays(self, stored: Mapping[str, Tensor]) -> str:
        """What is wrong with arrays of a file, nothing if they can be read."""
        first, *entries = (stored[name] for name in self.arrays)
        if not any(map(len, (first, *entries))):
            return ""  # nothing was counted
        if len(first) < 2 or first[0] != 0 or (first.diff() < 0).any() or {*map(len, entries)} != {int(first[-1])}:
            return f"the rows of `{next(iter(self.arrays))}` are not those of its entries"
        if "weights" in stored and len(first) != self.n_items + 1:
            return f"it has {len(first) - 1} rows for {self.n_items} items"
        if len(stored["items"]) and not (0 <= stored["items"].min() <= stored["items"].max() < self.n_items):
            return f"`items` holds numbers outside of 0 .. {self.n_items - 1}"
        return ""

    def recalled(self, name: str) -> np.ndarray:
        """An array, not copied."""
        return getattr(self, name).numpy()

    @property
    def n_stored(self) -> int:
        """Numbers stored."""
        return sum(buffer.numel() for buffer in self.buffers())

    @property
    def n_bytes(self) -> int:
        """Bytes of what is stored."""
        return sum(buffer.nbytes for buffer in self.buffers())

    # ------------------------------------------------------------------ scores

    def shares(self, item_seq: Tensor) -> ItemShares:
        """Probabilities of the items that something counted speaks for: [B, L], padded on the right."""
        sessions, own_share = item_seq.cpu().numpy(), self.own_share.item()
        found = self.strengths(sessions).tocoo()
        is_kept = (found.data > 0) & (found.col > 0)
        own = self._own_items(sessions)
        if own_share == 0:
            seen = own.tocoo()
            of_pairs = [
                row * np.int64(self.n_items) + col for row, col in ((found.row, found.col), (seen.row, seen.col))
            ]
            is_kept &= ~np.isin(*of_pairs)
        kept = found.data[is_kept].astype(np.float64), (found.row[is_kept], found.col[is_kept])
        counted = csr_matrix(kept, shape=own.shape)
        if own_share > 0:
            counted = (1 - own_share) * of_sum_1(counted) + own_share * own
        shares = of_sum_1(counted).tocoo()
        rows, items = (
            torch.as_tensor(ids.astype(np.int64), device=item_seq.device) for ids in (shares.row, shares.col)
        )
        values = torch.as_tensor(shares.data, dtype=torch.float32, device=item_seq.device)
        return ItemShares(rows, items, values, 1 - self.settings.smoothing)

    def _own_items(self, sessions: np.ndarray) -> csr_matrix:
        """The items of each session by how recent they are: [B, L] -> [B, N], rows of sum 1."""
        rows, positions = sessions.nonzero()
        back = (sessions != 0).sum(1)[rows] - 1 - positions
        pairs = rows, sessions[rows, positions]
        return of_sum_1(csr_matrix((self.settings.own_recency**back, pairs), shape=(len(sessions), self.n_items)))

    @property
    def item_table(self) -> FrozenTable:
        """Log of the items' popularity [N, 1]: with 1 for a session, scores before anything of it is known."""
        share = self.popularity / self.popularity.sum()
        return FrozenTable(share.log().unsqueeze(1))

    def scores_of(self, item_seq: Tensor) -> Tensor:
        """Log-probabilities of every item: [B, L] -> [B, N]."""
        popularity, shares = self.item_table.weight.to(item_seq.device).T, self.shares(item_seq)
        kept = popularity.new_zeros(len(item_seq), 1)  # log of what a mixture leaves of popularity
        kept[shares.rows] = math.log1p(-shares.weight)
        return mix_(popularity.repeat(len(item_seq), 1), shares).add_(kept)

    # ------------------------------------------------------------------ as a teacher, and RecBole's interface

    def training_cases(self, interaction: Interaction) -> TrainingCases:
        """As `SessionRecommender.training_cases`: of popularity, with what was counted mixed in."""
        item_seq = interaction[self.ITEM_SEQ]
        ones = torch.ones(len(item_seq), 1, device=item_seq.device)
        item_repr = torch.zeros(*item_seq.shape, 1, device=item_seq.device)
        if NEXT_ITEMS not in interaction:
            return TrainingCases(ones, interaction[self.POS_ITEM_ID], ones, item_repr, shares=(self.shares(item_seq),))
        next_items, case = interaction[NEXT_ITEMS], window_cases(interaction)
        row, position = case // next_items.shape[1], case % next_items.shape[1]
        is_prefix = torch.arange(item_seq.shape[1], device=item_seq.device) <= position.unsqueeze(1)  # [C, L]
        case_repr = torch.ones(len(row), 1, device=item_seq.device)
        shares = self.shares(item_seq[row] * is_prefix)
        return TrainingCases(case_repr, next_items[row, position], ones, item_repr, shares=(shares,))

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Cross-entropy of the next item, which nothing follows down: these models count (`fit_`)."""
        return F.cross_entropy(self.full_sort_predict(interaction), interaction[self.POS_ITEM_ID])

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Log-probabilities of every item: [B, N]."""
        return self.scores_of(interaction[self.ITEM_SEQ])

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of one candidate item a row: [B]."""
        return scores_of_candidates(self.scores_of, interaction[self.ITEM_SEQ], interaction[self.ITEM_ID])

    # ------------------------------------------------------------------ where arrays are, and how large

    def _apply(self, fn: Any, recurse: bool = True) -> NeighbourModel:
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for name in self.arrays:
            if isinstance(stored := state_dict.get(prefix + name), Tensor):
                setattr(self, name, torch.empty(stored.shape, dtype=self.arrays[name]))
        nn.Module._load_from_state_dict(self, dict(state_dict), prefix, *args)
