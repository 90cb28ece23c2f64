"""The student: the teacher's shape over a compressed item table (paper, section 3.2)."""

from __future__ import annotations

import torch
from recbole.config import Config

from recbole_odrec.errors import UserError
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.nn import ProductCodesEmbedding, SemiTensorTrainEmbedding
from recbole_odrec.parsing import parse
from recbole_odrec.settings import NetworkConfig, TableConfig


class ODRec(SessionRecommender):
    """Encoder `sasrec` or `gru` over a compressed item table, whose scores come straight from what it stores.

    Trained by `trainer.DistillationTrainer`; on its own, `calculate_loss` is the cross-entropy part alone.
    """

    def _build_item_table(
        self, config: Config, network: NetworkConfig
    ) -> SemiTensorTrainEmbedding | ProductCodesEmbedding:
        table = parse(TableConfig, config)
        options = {"std": network.initializer_range}
        if table.item_order != "none":
            options["item_order"] = torch.arange(self.n_items)  # until the trainer has a teacher to learn it from
        try:
            if table.table == "codes":
                return ProductCodesEmbedding.from_compression_rate(
                    self.n_items, network.hidden_size, table.compression_rate, **options
                )
            if table.by_shapes:
                return SemiTensorTrainEmbedding(
                    self.n_items,
                    network.hidden_size,
                    table.item_shape,
                    table.dim_shape,
                    table.tt_ranks,
                    table.stp_factor,
                    **options,
                )
            return SemiTensorTrainEmbedding.from_compression_rate(
                self.n_items, network.hidden_size, table.compression_rate, table.n_cores, table.stp_factor, **options
            )
        except ValueError as error:
            raise UserError(f"item table of the student: {error}") from error
