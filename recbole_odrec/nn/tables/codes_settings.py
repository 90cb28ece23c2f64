"""The keys of `table=codes`."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_odrec.parsing import key, require


@dataclass(frozen=True)
class CodesSettings:
    """How small the table is, and whether its codes move."""

    compression_rate: float = key(30, "At least this many dense bytes for each stored byte, followers' included.")
    n_followers: int = key(0, "The network's, which share the table's bytes: three an item, or four of many items.")
    move_codes_every: int = key(
        0,
        "Each so many steps, items take the codes next to a full table that trains along (and is then thrown away); "
        "0: the codes stay.",
    )

    def __post_init__(self) -> None:
        require(self.compression_rate > 0, "compression_rate", self.compression_rate, "a number above 0")
        require(self.move_codes_every >= 0, "move_codes_every", self.move_codes_every, "a whole number of at least 0")
