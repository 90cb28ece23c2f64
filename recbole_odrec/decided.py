"""What only the data can decide, where nobody gave the key: once, before a run writes anything, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from pathlib import Path
from typing import Any

from recbole.config import Config

from recbole_odrec.chosen_parts import keys_of
from recbole_odrec.data.session_rows import StreamedRows
from recbole_odrec.data.window_length import KEY
from recbole_odrec.errors import InfeasibleRateError, UserError
from recbole_odrec.nn.kinds import network_part
from recbole_odrec.parts import NEIGHBOURS
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.follower_gain import check_gain, chooses_gain
from recbole_odrec.trainer.updated import n_followers_of, rate_of_checkpoint


def take_window(config: Config) -> None:
    """Where the data would decide how long windows are: as long as the networks can read that are given as files.

    Args:
        config: of the run; changed.

    Raises:
        UserError: a file that is no trained model.
    """
    config["decided"] = {}
    if config[KEY] != "auto":
        return
    files = [config["update_from"], *(entry.get("checkpoint") for entry in config["teachers"] or ())]
    states = [checkpoint.load_model(Path(file)) for file in files if file]
    lengths = [state["config"][KEY] for state in states if state["model"] not in NEIGHBOURS]
    if lengths:
        config[KEY] = min(lengths)
        config["decided"] = {KEY: f"{config[KEY]}, as many as the networks that are given as files read"}


def decide_followers(config: Config, dataset: Any, valid_data: Any) -> None:
    """No followers where nobody asked for them and they cannot be counted, or their gain not chosen.

    Args:
        config: of the run; changed.
        dataset: its training part.
        valid_data: its validation cases.

    Raises:
        UserError: an update with a gain of its own; `follower_gain=auto`, and no validation cases to choose it on.
    """
    decided = config["decided"]
    is_asked = "n_followers" in config.external_config_dict
    if config["update_from"] and config["follower_gain"] != "auto":
        raise UserError(f"follower_gain={config['follower_gain']}: an update keeps that of update_from: leave it out.")
    if config["update_from"] and not is_asked:
        n_followers = n_followers_of(checkpoint.load_model(Path(config["update_from"]))["state_dict"])
        if n_followers != config["n_followers"]:
            decided["n_followers"] = f"{n_followers}, as many as update_from has"
            config["n_followers"] = n_followers
        return
    if not config["n_followers"]:
        return
    reason = ""
    if isinstance(dataset.inter_feat, StreamedRows):
        reason = "training cases are streamed, and counting them needs all"
    elif not valid_data and not config["refit_epochs"] and chooses_gain(config):
        reason = "there are no validation cases to choose follower_gain on"
    elif config["model"] == "ODRec" and "n_followers" not in keys_of([network_part("table", config, {})]):
        reason = f"the rate of table={config['table']} has no room for them"
    if isinstance(dataset.inter_feat, StreamedRows) and is_asked:
        raise dataset.inter_feat.refusal("counting followers", "--n_followers=0")
    if reason and not is_asked:
        decided["n_followers"] = f"0, not {config['n_followers']}: {reason}"
        config["n_followers"] = 0
    check_gain(config, valid_data)


def build_student(config: Config, build: Callable[[], Any]) -> Any:
    """The untrained student; where its catalogue is too small for the default rate, at the highest one there is.

    What was decided is noted in `config["decided"]`, key -> reason, and so in `result.json`.

    Args:
        config: of the run; changed.
        build: makes the model that the configuration describes.

    Raises:
        UserError: no such model; also a rate that was asked for and cannot be had.
    """
    decided, reason = config["decided"] or {}, ""
    try:
        student = build()
    except InfeasibleRateError as error:
        if "compression_rate" in config.external_config_dict:
            raise
        asked, highest = config["compression_rate"], floor(10 * error.highest) / 10
        config["compression_rate"] = highest
        reason = f"{highest:g}, the highest that this catalogue can have; {asked:g} is the default"
        student = build()
    rate = rate_of_checkpoint(config, student)
    if rate is not None:
        config["compression_rate"] = rate
        reason = f"{rate:.4g}, with which rows have as many numbers as those of update_from"
        student = build()
    if reason:
        config["decided"] = {**decided, "compression_rate": reason}
    return student
