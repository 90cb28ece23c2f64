"""How much a model's followers count: chosen on validation, since training cases were counted in them."""

from __future__ import annotations

from typing import Any

from recbole.config import Config
from recbole.utils import calculate_valid_score

from recbole_odrec.errors import UserError
from recbole_odrec.nn.tables.split import whole_rows
from recbole_odrec.trainer import checkpoint

# What is tried, until two in a row are worse than the best before them.
GAINS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 16.0)


def chooses_gain(config: Config) -> bool:
    """Whether the run has followers whose gain is not given: an update's is that of the student out there."""
    return bool(config["n_followers"]) and config["follower_gain"] == "auto" and not config["update_from"]


def check_gain(config: Config, valid_data: Any) -> None:
    """Refuses to choose where there is nothing to choose on.

    Raises:
        UserError: followers without a gain, and no validation cases.
    """
    if chooses_gain(config) and (config["refit_epochs"] or not valid_data):
        raise UserError(
            "follower_gain=auto is chosen on validation cases, which this run has none of: give a number, such as the "
            "follower_gain in the result.json of a run with them."
        )


def choose_gain(trainer: Any, valid_data: Any, show_progress: bool = False) -> None:
    """Gives the best epoch's weights the gain that validates best, 0 for no use of followers; its file too.

    Args:
        trainer: of our own models, after its last epoch; its score and metrics become those of the gain.
        valid_data: the run's validation cases.
        show_progress: progress bars.
    """
    trainer.load_best()
    model, without = trainer.model, trainer.best_valid_score
    best, n_worse = 0.0, 0
    for gain in GAINS:
        model.followers.gain.fill_(gain)
        result = trainer.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
        score = calculate_valid_score(result, trainer.valid_metric)
        if score > trainer.best_valid_score if trainer.valid_metric_bigger else score < trainer.best_valid_score:
            trainer.best_valid_score, trainer.best_valid_result, best, n_worse = score, result, gain, 0
        else:
            n_worse += 1
        if n_worse == 2:
            break
    model.followers.gain.fill_(best)
    state = checkpoint.load(trainer.best_file)
    checkpoint.save(trainer.best_file, {**state, "state_dict": whole_rows(model)})
    reason = (
        f"{best:g}, chosen on validation: {trainer.valid_metric} {float(without):.4f} without followers, "
        f"{float(trainer.best_valid_score):.4f} with them"
    )
    model.decided["follower_gain"] = reason
    trainer.logger.info(f"{trainer.phase}: follower_gain {reason}")
