"""Session encoders: embeddings of a session in, one hidden state for each position out, nothing of the future in it.

Sessions are padded on the right, so a causal encoder never lets a padded position into a real one, and the state at
position l is the state of the prefix that ends there: one pass encodes every prefix of a session.

Dimension key: B sessions, L positions, D embedding.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttentionEncoder(nn.Module):
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


class GRUEncoder(nn.Module):
    """GRU4Rec's encoder: dropout on the embeddings, GRU, projection back to D.

    Args:
        hidden_size: D, also the width of the GRU's state.
        n_layers: stacked GRU layers.
        hidden_dropout_prob: dropout of the embeddings.
    """

    def __init__(self, hidden_size: int, n_layers: int = 1, hidden_dropout_prob: float = 0.3) -> None:
        super().__init__()
        self.dropout = nn.Dropout(hidden_dropout_prob)
        self.gru = nn.GRU(hidden_size, hidden_size, n_layers, batch_first=True)
        self.projection = nn.Linear(hidden_size, hidden_size)
        self.reset_parameters()

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
