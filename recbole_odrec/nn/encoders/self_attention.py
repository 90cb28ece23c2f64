"""The paper's encoder: self-attention over the items so far.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from recbole_odrec.nn.encoder import Encoder
from recbole_odrec.parsing import key, require


@dataclass(frozen=True)
class SelfAttentionSettings:
    """Size and dropout of the transformer."""

    n_layers: int = key(1, "Transformer layers.")
    n_heads: int = key(1, "Attention heads; must divide hidden_size.")
    inner_size: int = key(128, "Width of the feed-forward part: D -> inner_size -> D.")
    hidden_dropout_prob: float = key(0.5, "Dropout of embeddings and hidden states.")
    attn_dropout_prob: float = key(0.5, "Dropout of attention weights.")

    def __post_init__(self) -> None:
        for name in ("n_layers", "n_heads", "inner_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number of at least 1")
        require(self.n_layers <= 1000, "n_layers", self.n_layers, "at most 1000")
        for name in ("hidden_dropout_prob", "attn_dropout_prob"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "a number in [0, 1)")


class SelfAttentionEncoder(Encoder):
    """The paper's encoder (section 3.1): position embedding, LayerNorm, dropout, causal post-norm transformer.

    The feed-forward part is D -> `inner_size` -> D (the released code's D -> inner -> inner only runs when they agree).

    Args:
        hidden_size: D.
        max_length: the longest session, in items.
        n_layers, n_heads, inner_size: of the transformer; n_heads divides D.
        hidden_dropout_prob: dropout of embeddings, attention output and feed-forward part.
        attn_dropout_prob: dropout of the attention weights.
        initializer_range: standard deviation of the initial weights.
    """

    layers: Any  # nn.ModuleList forgets what is in it

    Settings = SelfAttentionSettings

    def __init__(
        self,
        hidden_size: int,
        max_length: int,
        n_layers: int = 1,
        n_heads: int = 1,
        inner_size: int = 128,
        hidden_dropout_prob: float = 0.5,
        attn_dropout_prob: float = 0.5,
        initializer_range: float = 0.02,
    ) -> None:
        super().__init__()
        self.initializer_range = initializer_range
        self.position_embedding = nn.Embedding(max_length, hidden_size)
        self.input_norm = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(hidden_dropout_prob)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                hidden_size, n_heads, inner_size, hidden_dropout_prob, activation=F.gelu, batch_first=True
            )
            for _ in range(n_layers)
        )
        for layer in self.layers:
            layer.self_attn.dropout = attn_dropout_prob
        self.reset_parameters()

    @classmethod
    def from_settings(
        cls, settings: SelfAttentionSettings, hidden_size: int, max_length: int, std: float
    ) -> SelfAttentionEncoder:
        """See `Encoder`."""
        fits = hidden_size % settings.n_heads == 0
        require(fits, "n_heads", settings.n_heads, f"a divisor of hidden_size={hidden_size}")
        return cls(hidden_size, max_length, initializer_range=std, **asdict(settings))

    def reset_parameters(self) -> None:
        """Normal matrices, zero biases, unit norms."""
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=self.initializer_range)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.ones_(parameter)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Item embeddings [B, L, D] -> hidden states [B, L, D]."""
        length = embeddings.shape[1]
        hidden = embeddings + self.position_embedding.weight[:length]
        hidden = self.dropout(self.input_norm(hidden))
        causal = nn.Transformer.generate_square_subsequent_mask(length, embeddings.device, hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, src_mask=causal, is_causal=True)
        return hidden
