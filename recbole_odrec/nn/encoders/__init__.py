"""Session encoders by name: a new one is one file here, one line below, and its graph in `bundle.encoders`."""

from recbole_odrec.nn.encoder import Encoder
from recbole_odrec.nn.encoders.gru import GRUEncoder
from recbole_odrec.nn.encoders.self_attention import SelfAttentionEncoder

ENCODERS: dict[str, type[Encoder]] = {"sasrec": SelfAttentionEncoder, "gru": GRUEncoder}
