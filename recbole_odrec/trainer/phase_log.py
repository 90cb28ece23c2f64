"""A log file of a phase's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_odrec.files import stop_at_errors
from recbole_odrec.processes.group import is_first


@contextmanager
def phase_log(run_dir: Path, phase: str) -> Iterator[None]:
    """A log file of this phase's own while it lasts.

    RecBole names a trainer's TensorBoard folder after the first log file it finds, so the phase gets that too.
    Of several processes the first one has it.
    """
    if not is_first():
        yield
        return
    logger = logging.getLogger()
    handler = logging.FileHandler(run_dir / f"{run_dir.name}-{phase}.log", encoding="utf-8")
    stop_at_errors(handler)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.handlers.insert(0, handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
