"""Items that have ids before any data is read: those of the student that a run updates."""

from __future__ import annotations

from pathlib import Path

from recbole.config import Config

from recbole_odrec.data.parquet_manifest import parquet_folder
from recbole_odrec.errors import UserError


def known_items(config: Config) -> list[str]:
    """Tokens of ids 1, 2 .. as the checkpoint in `update_from` has them; none without.

    Raises:
        UserError: it cannot be read, or the data is a Parquet folder, whose items have ids of their own.
    """
    path = config["update_from"]
    if path is None:
        return []
    if parquet_folder(config) is not None:
        raise UserError(
            f"update_from={path!r}: items of a Parquet folder have ids already; give files of sessions or interactions."
        )
    from recbole_odrec.trainer.checkpoint import item_tokens  # late: who updates nothing reads no checkpoint

    return item_tokens(Path(path))
