"""GRU4Rec's encoder.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from recbole_odrec.nn.encoder import Encoder
from recbole_odrec.parsing import key, require


@dataclass(frozen=True)
class GRUSettings:
    """Size and dropout of the GRU."""

    n_layers: int = key(1, "Stacked GRU layers.")
    hidden_dropout_prob: float = key(0.5, "Dropout of the item embeddings.")

    def __post_init__(self) -> None:
        require(self.n_layers >= 1, "n_layers", self.n_layers, "a whole number of at least 1")
        require(self.n_layers <= 1000, "n_layers", self.n_layers, "at most 1000")
        dropout = self.hidden_dropout_prob
        require(0 <= dropout < 1, "hidden_dropout_prob", dropout, "a number in [0, 1)")


class GRUEncoder(Encoder):
    """GRU4Rec's encoder: dropout on the embeddings, GRU, projection back to D.

    Args:
        hidden_size: D, also the width of the GRU's state.
        n_layers: stacked GRU layers.
        hidden_dropout_prob: dropout of the embeddings.
    """

    Settings = GRUSettings
    traces_any_length = False  # a recurrent layer is unrolled

    def __init__(self, hidden_size: int, n_layers: int = 1, hidden_dropout_prob: float = 0.3) -> None:
        super().__init__()
        self.dropout = nn.Dropout(hidden_dropout_prob)
        self.gru = nn.GRU(hidden_size, hidden_size, n_layers, batch_first=True)
        self.projection = nn.Linear(hidden_size, hidden_size)
        self.reset_parameters()

    @classmethod
    def from_settings(cls, settings: GRUSettings, hidden_size: int, max_length: int, std: float) -> GRUEncoder:
        """See `Encoder`; its matrices start as Xavier says, whatever `std`."""
        return cls(hidden_size, settings.n_layers, settings.hidden_dropout_prob)

    def reset_parameters(self) -> None:
        """Xavier matrices, zero biases."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Item embeddings [B, L, D] -> hidden states [B, L, D]."""
        hidden, _ = self.gru(self.dropout(embeddings))
        return self.projection(hidden)
