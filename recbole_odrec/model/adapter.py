"""RecBole's own models as teachers: any that scores by a product of session representation and item embedding.

Dimension key: B sessions, L positions, C training cases, D embedding of the teacher, N items.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_odrec.data.windows import NEXT_ITEMS, window_cases
from recbole_odrec.errors import UserError
from recbole_odrec.model.session_recommender import TrainingCases
from recbole_odrec.nn import FrozenTable

_PROBE_LENGTH = 4
_CASES_AT_ONCE = 1024


class ProductTeacher(nn.Module):
    """Presents a RecBole sequential model with the parts of `SessionRecommender` that distillation uses.

    Whether the model can serve is found by trying it: its `forward` must give one vector a session, and
    `full_sort_predict` must be that vector's product with `item_embedding` (or with its normalised rows, times a
    constant, as in CORE).

    Args:
        model: a RecBole model; trained or not.

    Raises:
        UserError: the model cannot serve; names it and says why.
    """

    gives_embeddings = True
    model: Any  # a RecBole model, which has no types
    item_table: FrozenTable

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.name = model, type(model).__name__
        if not isinstance(model, SequentialRecommender):
            raise self._refusal("it is not a sequential model")
        embedding = getattr(model, "item_embedding", None)
        if not isinstance(embedding, nn.Embedding) or embedding.num_embeddings != model.n_items:
            raise self._refusal(f"it has no `item_embedding` of {model.n_items} rows to score with")
        self.hidden_size = embedding.embedding_dim
        self.is_normalized, self.scale = self._find_product(embedding)
        self.item_table = self._table()

    def _refusal(self, reason: str) -> UserError:
        return UserError(
            f"{self.name} cannot be the teacher: {reason}. A teacher scores items by the product of one session "
            "vector and an item-embedding table: SASRecTeacher, GRU4RecTeacher, or RecBole's SASRec, GRU4Rec, NARM, "
            "STAMP, CORE."
        )

    @torch.no_grad()
    def _find_product(self, embedding: nn.Embedding) -> tuple[bool, float]:
        """Which product this model scores by: rows normalised or not, and the constant."""
        model = self.model
        was_training = model.training
        model.eval()
        length = min(_PROBE_LENGTH, model.max_seq_length)
        item_seq = torch.zeros(3, model.max_seq_length, dtype=torch.long, device=embedding.weight.device)
        item_seq[:, :length] = torch.arange(3 * length, device=item_seq.device).view(3, -1) % (model.n_items - 1) + 1
        lengths = torch.full((3,), length, device=item_seq.device)
        interaction = Interaction(
            {model.ITEM_SEQ: item_seq, model.ITEM_SEQ_LEN: lengths, model.ITEM_ID: item_seq[:, 0]}
        )
        try:
            session_repr = self._session_repr(item_seq, lengths)
            scores = model.full_sort_predict(interaction).view(3, -1)
        except Exception as error:  # whatever a model of another kind does with a plain session
            raise self._refusal(f"it does not map item ids to scores ({type(error).__name__}: {error})") from error
        finally:
            model.train(was_training)
        if not isinstance(session_repr, Tensor) or session_repr.shape != (3, embedding.embedding_dim):
            raise self._refusal(f"its forward pass does not give one vector of {embedding.embedding_dim} a session")
        for is_normalized in (False, True):
            product = session_repr @ _rows(embedding, is_normalized).T
            scale = ((product * scores).sum() / product.square().sum().clamp(min=1e-30)).item()
            if (
                scores.shape == product.shape
                and scale
                and torch.allclose(scale * product, scores, rtol=1e-3, atol=1e-6)
            ):
                return is_normalized, scale
        raise self._refusal("its scores are not the product of its session vector and `item_embedding`")

    def _table(self) -> FrozenTable:
        return FrozenTable(_rows(self.model.item_embedding, self.is_normalized).detach().clone(), self.scale)

    def load_state_dict(self, state_dict: dict, strict: bool = True, assign: bool = False) -> object:
        """Loads the wrapped model's weights and takes its item table anew."""
        result = self.model.load_state_dict(state_dict, strict, assign)
        self.item_table = self._table()
        return result

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """The wrapped model's scores of every item."""
        return self.model.full_sort_predict(interaction)

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of one candidate item a row, as `full_sort_predict` scores it (CORE's own `predict` does not): [B]."""
        session_repr = self._session_repr(interaction[self.model.ITEM_SEQ], interaction[self.model.ITEM_SEQ_LEN])
        rows = self.item_table.weight[interaction[self.model.ITEM_ID]]
        return self.item_table.scale * (session_repr * rows).sum(1)

    def _session_repr(self, item_seq: Tensor, lengths: Tensor) -> Tensor:
        """[B, L], [B] -> [B, D]; CORE's forward takes the items alone."""
        takes_lengths = self.model.forward.__code__.co_argcount > 2
        return self.model(item_seq, lengths) if takes_lengths else self.model(item_seq)

    @torch.no_grad()
    def training_cases(self, interaction: Interaction) -> TrainingCases:
        """As `SessionRecommender.training_cases`; a window is taken apart into its prefixes, which this model needs."""
        item_seq, lengths = interaction[self.model.ITEM_SEQ], interaction[self.model.ITEM_SEQ_LEN]
        width = self.model.max_seq_length
        item_repr = self.item_table(item_seq)
        item_seq = F.pad(item_seq, (0, width - item_seq.shape[1]))  # RecBole's models may need the full width
        session_repr = self._session_repr(item_seq, lengths)
        if NEXT_ITEMS not in interaction:
            return TrainingCases(session_repr, interaction[self.model.POS_ITEM_ID], session_repr, item_repr)
        next_items, case = interaction[NEXT_ITEMS], window_cases(interaction)
        row, position = case // next_items.shape[1], case % next_items.shape[1]
        is_prefix = torch.arange(width, device=item_seq.device) <= position.unsqueeze(1)  # [C, L]
        prefixes = (item_seq[row] * is_prefix).split(_CASES_AT_ONCE)
        prefix_lengths = (position + 1).split(_CASES_AT_ONCE)
        parts = [self._session_repr(*part) for part in zip(prefixes, prefix_lengths, strict=True)]
        return TrainingCases(torch.cat(parts), next_items[row, position], session_repr, item_repr)


def _rows(embedding: nn.Embedding, is_normalized: bool) -> Tensor:
    return F.normalize(embedding.weight, dim=-1) if is_normalized else embedding.weight
