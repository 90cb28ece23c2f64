"""The kinds of parts of which a network is made, each chosen by a key of its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_odrec.nn import ENCODERS, READOUTS, TABLES, Encoder, ItemTable, Readout
from recbole_odrec.parts import find_part

# Key -> the parts there are, and what one of a user's own is derived from.
KINDS: dict[str, tuple[dict[str, Any], type]] = {
    "table": (TABLES, ItemTable),
    "encoder": (ENCODERS, Encoder),
    "readout": (READOUTS, Readout),
}


def network_part(kind: str, values: Mapping[str, Any], fixed: Mapping[str, str]) -> Any:
    """The class of a part.

    Args:
        kind: a key of `KINDS`.
        values: a configuration.
        fixed: kinds that a model's name has settled, as in `parts.FIXED_PARTS`.

    Raises:
        UserError: no such part.
    """
    return find_part(kind, fixed.get(kind) or values[kind], *KINDS[kind])
