"""Keys of the tensor train."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_odrec.errors import UserError
from recbole_odrec.nn.tables.item_order import ITEM_ORDERS
from recbole_odrec.parsing import key, require


@dataclass(frozen=True)
class TensorTrainSettings:
    """The table by rate, or by shapes and ranks."""

    compression_rate: float = key(30, "At least this many dense numbers for each stored one.")
    n_cores: int = key(2, "Cores, 2 to 4.")
    stp_factor: int = key(2, "t of the semi-tensor product; 1 is the plain tensor train.")
    item_shape: list[int] | None = key(
        None, "Grid of the items, e.g. [169, 241]; with dim_shape and tt_ranks instead of compression_rate."
    )
    dim_shape: list[int] | None = key(None, "Split of hidden_size, e.g. [16, 8].")
    tt_ranks: int | list[int] | None = key(None, "Inner rank, e.g. 60, or the full list [1, 60, 1].")
    item_order: str = key(
        "none",
        "Grid cell of each item: none (by id), teacher (items it finds similar share cores) or assigned (each where "
        "the cores come closest to the teacher's row; with init_from_teacher). Stored, and counted.",
    )

    def __post_init__(self) -> None:
        require(self.item_order in ITEM_ORDERS, "item_order", self.item_order, f"one of {', '.join(ITEM_ORDERS)}")
        require(self.compression_rate > 0, "compression_rate", self.compression_rate, "a number above 0")
        for name in ("item_shape", "dim_shape", "tt_ranks"):
            sides = getattr(self, name)
            listed = sides if isinstance(sides, (list, tuple)) else [1 if sides is None else sides]
            is_right = listed and all(type(side) is int and side > 0 for side in listed)
            require(bool(is_right), name, sides, "whole numbers of at least 1")
        if self.tt_ranks is None and (self.item_shape is not None or self.dim_shape is not None):
            raise UserError("item_shape and dim_shape need tt_ranks too (for example --tt_ranks=60).")
