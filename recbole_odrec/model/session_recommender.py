"""What teachers and student share: encoder, read-out and scores; only the item table differs.

Dimension key: B sessions, L positions, C training cases, D embedding, N items.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, cast

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor

from recbole_odrec.data.windows import NEXT_ITEMS, window_cases
from recbole_odrec.errors import UserError
from recbole_odrec.losses import AddedScores, CatalogueLoss, ItemShares, ScoreMemory, sampled_loss, table_loss
from recbole_odrec.model.candidates import scores_of_candidates
from recbole_odrec.nn import Encoder, FollowerScores, ItemTable, Readout, RepeatScores
from recbole_odrec.nn.kinds import network_part
from recbole_odrec.nn.product import ScoreBuffer
from recbole_odrec.nn.tables.split import SplitEmbedding
from recbole_odrec.nn.whole_numbers import numbers_of
from recbole_odrec.parsing import parse
from recbole_odrec.processes.draws import drawn_for_all
from recbole_odrec.processes.group import gathered, n_processes, rank
from recbole_odrec.processes.shares import Share, every_case, gathered_rows
from recbole_odrec.settings import NetworkConfig


class TrainingCases(NamedTuple):
    """A batch, encoded.

    Attributes:
        case_repr: representation of each case's prefix [C, D].
        pos_items: next item of each case [C].
        session_repr: representation of each whole row [B, D]; rows that are prefixes are their own cases.
        item_repr: embedding of each item of each row [B, L, D].
        added: what the items of each case's prefix get on top of their products [C, L]; None for nothing.
        shares: probabilities of a few items of each case, mixed one after the other into those of the scores.
        share: which part of all processes' batch this is, None for the whole.
    """

    case_repr: Tensor
    pos_items: Tensor
    session_repr: Tensor
    item_repr: Tensor
    added: AddedScores | None = None
    shares: tuple[ItemShares, ...] = ()
    share: Share | None = None


class SessionRecommender(SequentialRecommender):
    """Item table, causal encoder, read-out, inner-product scores (paper, section 3.1).

    Trains on RecBole's prefix rows and on session windows (`data.window_loader`) alike.

    Attributes:
        item_table, encoder, readout: the parts that the configuration chooses.
        repeat: scores of repetition, None without.
        followers: scores of what most often goes with a session's items, None without; training leaves them out.
        score_memory: what the scores of a training step may take.
        sampled_items: how many items the loss draws where no teacher's soft targets are in it, 0 for all.
        reads_any_width: whether a session scores alike however far it is padded.
        decided: what was decided after training, key -> reason.
        gives_embeddings: whether, as a teacher, it has item embeddings for a student to start from and to recombine.
    """

    reads_any_width = gives_embeddings = True
    fixed_parts: ClassVar[dict[str, str]] = {}  # what makes this class what it is
    item_table: ItemTable
    encoder: Encoder
    readout: Readout
    repeat: RepeatScores | None
    followers: FollowerScores | None

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        network = parse(NetworkConfig, config)
        self.hidden_size = network.hidden_size
        self.score_dtype = torch.bfloat16 if config["score_dtype"] == "bfloat16" else None  # None: the weights' own
        allowed = config["score_memory"]
        self.sampled_items = config["sampled_items"] or 0
        self.score_memory = ScoreMemory(None if allowed in (None, "auto") else int(1e9 * allowed))
        self._score_buffer = ScoreBuffer()
        self.item_table = self._build("table", config, self.n_items, network.hidden_size)
        if config["update_from"] and (numbers := numbers_of(self.item_table)) is not None:
            numbers.hold()  # which is then in the state
        self.encoder = self._build("encoder", config, network.hidden_size, self.max_seq_length)
        self.readout = self._build("readout", config, network.hidden_size, self.max_seq_length)
        self.repeat = RepeatScores(network.hidden_size, self.max_seq_length) if network.repeat_scores else None
        self.decided: dict[str, str] = {}
        self.followers = None
        if n_followers := network.n_followers:
            gain = network.follower_gain
            self.followers = FollowerScores(self.n_items, n_followers, 0.0 if gain == "auto" else float(gain))

    def _build(self, kind: str, config: Config, *sizes: int) -> Any:
        """The part of a kind that the configuration chooses, of its own settings."""
        part = network_part(kind, config, self.fixed_parts)
        is_dense = kind == "table" and self.fixed_parts.get(kind) == "dense"
        if is_dense and config["split_table"] is True and n_processes() > 1:
            part = cast(Any, SplitEmbedding)
        try:
            return part.from_settings(parse(part.Settings, config), *sizes, config["initializer_range"])
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{kind} of {type(self).__name__}: {error}") from error

    # ------------------------------------------------------------------ representations

    def forward(self, item_seq: Tensor, item_seq_len: Tensor | None = None) -> Tensor:
        """Session representations: item ids [B, L], padded on the right -> [B, D]."""
        items = self.item_table(item_seq)
        return self.readout(self.encoder(items), item_seq != 0, items)

    def every_prefix(self, item_seq: Tensor) -> Tensor:
        """Representations of all prefixes in one pass: item ids [B, L] -> [B, L, D]; row l ends at position l."""
        items = self.item_table(item_seq)
        return self.readout.every_prefix(self.encoder(items), items)

    def training_cases(self, interaction: Interaction) -> TrainingCases:
        """Encodes a batch of prefix rows (RecBole's) or of session windows (`data.window_loader`)."""
        item_seq = interaction[self.ITEM_SEQ]
        item_repr = self.item_table(item_seq)
        share = getattr(interaction, "share", None)
        with drawn_for_all(share):
            hidden = self.encoder(item_repr)
        last = interaction[self.ITEM_SEQ_LEN] - 1
        if NEXT_ITEMS not in interaction:
            session_repr = self.readout(hidden, item_seq != 0, item_repr)
            added = self._repeated_scores(item_seq, hidden, torch.arange(len(item_seq), device=last.device), last)
            return TrainingCases(session_repr, interaction[self.POS_ITEM_ID], session_repr, item_repr, added)
        with drawn_for_all(share):
            prefix_repr = self.readout.every_prefix(hidden, item_repr)  # [B, L, D]
        session_repr = self.gather_indexes(prefix_repr, last)
        next_items, case = interaction[NEXT_ITEMS].flatten(), window_cases(interaction)  # [B * L], [C]
        case_repr = prefix_repr.flatten(0, 1).index_select(0, case)  # [B * L, D] -> [C, D]
        row, position = case // item_seq.shape[1], case % item_seq.shape[1]
        added = self._repeated_scores(item_seq, hidden, row, position)
        return TrainingCases(case_repr, next_items[case], session_repr, item_repr, added, share=share)

    def _repeated_scores(self, item_seq: Tensor, hidden: Tensor, row: Tensor, last: Tensor) -> AddedScores | None:
        """What the prefixes that end at `last` [C] of some rows [C] add to the scores of their own items."""
        return None if self.repeat is None else AddedScores(item_seq[row], self.repeat(hidden, row, last))

    def in_columns(self, added: AddedScores | None) -> AddedScores | None:
        """What is added to items, by the columns of their raw scores."""
        return None if added is None else AddedScores(self.item_table.columns_of(added.items), added.values)

    def catalogue_loss(self, cases: TrainingCases, **taught: Any) -> CatalogueLoss:
        """`losses.table_loss` of a batch's cases; its arguments that concern a teacher pass through.

        Without a teacher, `losses.sampled_loss` where `sampled_items` says so. Of a table whose rows are split, each
        process scores its items for the cases of all, and all get the mean over all cases; so it does where the rows of
        a teacher's table are split (`columns`).
        """
        is_sampled = bool(self.sampled_items and taught.get("teacher") is None)
        is_split = (taught.get("columns") or self.item_table.columns) is not None
        if is_split and not is_sampled and cases.share is not None:
            cases = cases_of_all(cases, cases.share)
        query, table, pos_items = cases.case_repr, self.item_table, self.item_table.columns_of(cases.pos_items)
        added = self.in_columns(cases.added)
        if is_sampled:
            of_all = None if cases.share is None else _pos_of_all(pos_items, cases.share)
            total = sampled_loss(query, table, pos_items, self.sampled_items, added, self.score_dtype, of_all)
            return CatalogueLoss(total, total.new_zeros(()))
        memory, buffer = self.score_memory, self._score_buffer
        return table_loss(query, table, pos_items, memory, buffer, self.score_dtype, added=added, **taught)

    # ------------------------------------------------------------------ RecBole's interface

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Cross-entropy of the next item over the whole catalogue, averaged over cases."""
        return self.catalogue_loss(self.training_cases(interaction)).total

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of one candidate item a row: [B]; each session is scored once, however many candidates it has."""

        def scores_of(item_seq: Tensor) -> Tensor:
            return self.scores_of(item_seq, self.item_table(item_seq))

        columns = self.item_table.columns
        return scores_of_candidates(scores_of, interaction[self.ITEM_SEQ], interaction[self.ITEM_ID], columns)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of every item: [B, N]; of a table whose rows are split, of the columns that are this process's."""
        item_seq = interaction[self.ITEM_SEQ]
        return self.scores_of(item_seq, self.item_table(item_seq))

    def scores_of(self, item_seq: Tensor, items: Tensor) -> Tensor:
        """Scores of every item, given the sessions [B, L] and their rows of the item table [B, L, D]: [B, N]."""
        hidden, is_item = self.encoder(items), item_seq != 0
        scores = self.item_table.scores(self.readout(hidden, is_item, items))
        last = (is_item.sum(1) - 1).clamp(min=0)
        added = self._repeated_scores(item_seq, hidden, torch.arange(len(item_seq), device=last.device), last)
        if added is not None:
            scores = self._with_added(scores, added)
        return (
            scores if self.followers is None else self._with_added(scores, AddedScores(*self.followers(item_seq, last)))
        )

    def _with_added(self, scores: Tensor, added: AddedScores) -> Tensor:
        """In place, where the items' scores are here."""
        columns = self.item_table.columns
        return scores.scatter_add_(1, *added) if columns is None else added.add_to_(scores, columns)

    # ------------------------------------------------------------------ sizes

    def n_parameters(self) -> int:
        """Trainable numbers of the whole model."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)


def cases_of_all(cases: TrainingCases, share: Share) -> TrainingCases:
    """The cases of all processes, with the gradient of this one's; a share without rows has none that count."""
    n_own, added = share.n_cases if share.n_rows else 0, cases.added
    if added is not None:
        added = AddedScores(gathered_rows(added.items[:n_own]), every_case(added.values, n_own))
    first = sum(gathered(n_own)[: rank()])
    return cases._replace(
        case_repr=every_case(cases.case_repr, n_own),
        pos_items=gathered_rows(cases.pos_items[:n_own]),
        added=added,
        shares=tuple(_shares_of_all(shares, n_own, first) for shares in cases.shares),
    )


def _pos_of_all(pos_items: Tensor, share: Share) -> tuple[Tensor, int]:
    """Those of all processes, and where this one's begin."""
    n_own = share.n_cases if share.n_rows else 0
    return gathered_rows(pos_items[:n_own]), sum(gathered(n_own)[: rank()])


def _shares_of_all(shares: ItemShares, n_own: int, first: int) -> ItemShares:
    """Those of the first `n_own` cases of each process; this one's begin at case `first`."""
    is_own = shares.rows < n_own
    own = (shares.rows[is_own] + first, shares.items[is_own], shares.values[is_own])
    rows, items, values = map(gathered_rows, own)
    return shares._replace(rows=rows, items=items, values=values)
