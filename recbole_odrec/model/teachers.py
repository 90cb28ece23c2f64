"""Uncompressed models of the paper's shape: teachers, and recommenders in their own right."""

from __future__ import annotations

from typing import ClassVar

from recbole.config import Config

from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.nn import DenseEmbedding
from recbole_odrec.parsing import parse
from recbole_odrec.settings import DenseTableConfig, NetworkConfig


class SASRecTeacher(SessionRecommender):
    """Self-attention encoder, soft-attention read-out, full item table (paper, section 3.1)."""

    fixed_network: ClassVar = {"encoder": "sasrec"}

    def _build_item_table(self, config: Config, network: NetworkConfig) -> DenseEmbedding:
        table = parse(DenseTableConfig, config)
        return DenseEmbedding(
            self.n_items,
            network.hidden_size,
            network.initializer_range,
            table.normalize_items,
            table.table_dropout_prob,
        )


class GRU4RecTeacher(SASRecTeacher):
    """GRU encoder whose last state reads out the session, full item table."""

    fixed_network: ClassVar = {"encoder": "gru"}
