"""What a run takes over from the student that it updates, before any training: the size of its table and followers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole.config import Config
from torch import Tensor

from recbole_odrec.errors import UserError
from recbole_odrec.nn import TABLES
from recbole_odrec.nn.followers import bytes_of_followers
from recbole_odrec.nn.whole_numbers import WholeNumbers, numbers_of
from recbole_odrec.parsing import require
from recbole_odrec.trainer import checkpoint

OF_TABLE = "item_table."
MOVABLE = " or ".join(f"table={name}" for name, kind in TABLES.items() if kind.numbers is not None)


def table_of_checkpoint(
    config: Config, numbers: WholeNumbers, state: Mapping[str, Any], path: Path
) -> dict[str, Tensor]:
    """The state of a checkpoint's item table.

    Args:
        config: of the run.
        numbers: of its table.
        state: of the file.
        path: its name.

    Raises:
        UserError: it is of another kind of table, or of one with other settings.
    """
    theirs = state["config"].get("table")
    if theirs not in TABLES or TABLES[theirs].numbers is None:
        raise UserError(f"update_from={str(path)!r} is no student of {MOVABLE}, whose whole numbers alone could move.")
    for key in ("table", *numbers.must_agree):
        theirs = state["config"].get(key)
        require(config[key] == theirs, key, config[key], f"{theirs} as update_from={str(path)!r} has: --{key}={theirs}")
    found = {key[len(OF_TABLE) :]: one for key, one in state["state_dict"].items() if key.startswith(OF_TABLE)}
    first: Any = found.get(numbers.moving[0])
    if not isinstance(first, Tensor) or first.dim() != 2 or first.dtype != numbers.stored.dtype:
        raise UserError(f"update_from={str(path)!r} holds no numbers of table={config['table']}.")
    return found


def rate_of_checkpoint(config: Config, student: Any) -> float | None:
    """The rate at which a student's rows have as many whole numbers as those of `update_from`; None where they have."""
    table = getattr(student, "item_table", None)
    if table is None or not config["update_from"] or (numbers := numbers_of(table)) is None:
        return None
    path = Path(config["update_from"])
    found = table_of_checkpoint(config, numbers, checkpoint.load_model(path), path)
    n_numbers = found[numbers.moving[0]].shape[1]
    n_bytes = numbers.n_bytes(n_numbers)
    if n_numbers == numbers.stored.shape[1] or n_bytes is None:
        return None
    dense = 4 * table.n_items * table.embedding_dim
    beside = bytes_of_followers(table.n_items, config["n_followers"])
    return dense / (n_bytes + beside)


def n_followers_of(weights: Mapping[str, Any]) -> int:
    """How many followers an item a student keeps."""
    stored: Any = weights.get("followers.items")
    return stored.shape[1] if isinstance(stored, Tensor) and stored.dim() == 2 else 0
