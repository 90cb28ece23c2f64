"""Read-outs by name: a new one is one file here, one line below, and its graph in `bundle.readouts`."""

from recbole_odrec.nn.readout import Readout
from recbole_odrec.nn.readouts.item_attention import ItemAttentionReadout
from recbole_odrec.nn.readouts.last_state import LastStateReadout
from recbole_odrec.nn.readouts.soft_attention import SoftAttentionReadout

READOUTS: dict[str, type[Readout]] = {
    "soft_attention": SoftAttentionReadout,
    "item_attention": ItemAttentionReadout,
    "last": LastStateReadout,
}
