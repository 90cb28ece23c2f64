"""Whether a model that several processes train has the rows of its dense table split over them."""

from __future__ import annotations

import os
from typing import Any

from recbole.config import Config
from recbole.evaluator.register import metrics_dict

from recbole_odrec.errors import UserError
from recbole_odrec.losses.score_memory import free_bytes
from recbole_odrec.processes.group import gathered, n_processes

_BYTES = 16  # of a number that trains: itself, its gradient, Adam's two averages
_FROZEN_BYTES = 8  # of one that does not: itself, and once more where the student has its item
_WHOLE = {"rec.meanrank", "rec.score", "data.label"}  # what a metric may need that merged lists do not tell
_SHARE = 0.5  # of a process's free memory that a whole table may take


def decide_split(config: Config, n_items: int, trains: bool = True, is_followed: bool = False) -> str | None:
    """Puts True or False into `split_table`, the same in all processes; the reason where rows are split, or should be.

    Args:
        config: of a model with a dense table.
        n_items: N.
        trains: whether it trains the table, or teaches by one that is given.
        is_followed: whether a student then trains a table that begins with this one, beside it.

    Raises:
        UserError: asked to split what cannot be.
    """
    asked = config["split_table"]
    config["split_table"] = False
    if n_processes() == 1 or asked is False:
        return None
    problem = _problem(config)
    if problem and asked is True:
        raise UserError(f"split_table=True, and {problem}: leave one of them out.")
    n_bytes = _BYTES + 4 * bool(config["average_decay"]) if trains else _FROZEN_BYTES
    if is_followed:
        n_bytes = max(n_bytes, _BYTES + _FROZEN_BYTES)
    need = n_bytes * n_items * config["hidden_size"]
    here = 1 if config["device"].type == "cuda" else int(os.environ["LOCAL_WORLD_SIZE"])
    free = min(gathered(free_bytes(config["device"]) // here))
    if asked == "auto" and need <= _SHARE * free:
        return None
    if problem:
        return f"False, although the item table takes {need / 1e9:.2g} GB of {free / 1e9:.2g} that are free: {problem}."
    config["split_table"] = True
    state = "with gradient and Adam's state " if trains or is_followed else ""
    return (
        f"rows of the item table are split over {n_processes()} processes: {state}it takes {need / 1e9:.2g} GB, "
        f"of {free / 1e9:.2g} GB that are free for each{' (asked for)' if asked is True else ''}."
    )


def _problem(config: Any) -> str | None:
    """What a table whose rows are split cannot do."""
    mode = (config["eval_args"] or {}).get("mode", "full")
    ranks_all = "full" in (mode.values() if isinstance(mode, dict) else (mode,))
    looks = [name for name in config["metrics"] if _WHOLE & {*metrics_dict[name.lower()].metric_need}]
    return f"{looks[0]} of metrics needs whole rows of scores" if ranks_all and looks else None
