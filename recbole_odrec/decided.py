"""What only the data can decide, where nobody gave the key: once, before a run writes anything, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import Any

from recbole.config import Config

from recbole_odrec.errors import InfeasibleRateError
from recbole_odrec.trainer.student_update import rate_of_checkpoint


def build_student(config: Config, build: Callable[[], Any]) -> Any:
    """The untrained student; where its catalogue is too small for the default rate, at the highest one there is.

    What was decided is noted in `config["decided"]`, key -> reason, and so in `result.json`.

    Args:
        config: of the run; changed.
        build: makes the model that the configuration describes.

    Raises:
        UserError: no such model; also a rate that was asked for and cannot be had.
    """
    config["decided"] = {}
    try:
        student = build()
        rate = rate_of_checkpoint(config, student)
        if rate is None:
            return student
        config["compression_rate"] = rate
        config["decided"] = {"compression_rate": f"{rate:.4g}, with which rows have the codes of update_from"}
        return build()
    except InfeasibleRateError as error:
        if "compression_rate" in config.external_config_dict:
            raise
        asked, highest = config["compression_rate"], floor(10 * error.highest) / 10
        config["compression_rate"] = highest
        reason = f"{highest:g}, the highest that this catalogue can have; {asked:g} is the default"
        config["decided"] = {"compression_rate": reason}
        return build()
