"""How much a teacher's scores count beside the others', and whether it teaches: chosen on validation (`weight: auto`).

Above all of a model that counts, which is trained in a second. What it is worth depends on the data: its student gains
3 % on clicks (Yoochoose) and 1 % on purchases (Beauty).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from recbole.config import Config
from recbole.utils import calculate_valid_score, init_seed

from recbole_odrec.data.session_rows import StreamedRows
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.parts import NEIGHBOURS

WEIGHTS = (0.1, 0.2, 0.4, 0.8)  # of the others' together; tried until one is worse than the one before
LEAST_GAIN = 0.01  # of the score without it; less is chance


class Teaching(NamedTuple):
    """A trained teacher.

    Attributes:
        name: of its model.
        model: as distillation uses it.
        weight: how much its scores count, or `auto`.
    """

    name: str
    model: Any
    weight: float | str


def leave_out_undecidable(config: Config, dataset: Any, valid_data: Any) -> None:
    """Takes teachers of `weight: auto` out of the list where nothing can choose their weight, or they cannot count.

    Args:
        config: of the run; changed.
        dataset: its training part.
        valid_data: its validation cases.
    """
    entries: list[dict[str, Any]] = config["teachers"] or []
    chosen, reason = {at for at, entry in enumerate(entries) if entry.get("weight") == "auto"}, ""
    if not valid_data:
        reason = "there are no validation cases to choose its weight on"
    elif isinstance(dataset.inter_feat, StreamedRows):
        chosen = {at for at in chosen if entries[at].get("model") in NEIGHBOURS}
        reason = "training cases are streamed, and counting needs all"
    if chosen and reason:
        names = ", ".join(entries[at].get("model", "a file") for at in sorted(chosen))
        config["decided"] = {**(config["decided"] or {}), "teachers": f"without {names}: {reason}"}
        if isinstance(config["starts_from"], int):
            config["starts_from"] -= sum(at < config["starts_from"] for at in chosen)
        config["teachers"] = [entry for at, entry in enumerate(entries) if at not in chosen]


def choose_weights(
    teachers: Sequence[Teaching], start: int, trainer: Any, valid_data: Any, show_progress: bool = False
) -> tuple[list[float], dict[str, str]]:
    """A weight for each teacher, 0 for one that is left out; and why.

    Args:
        teachers: trained; at least one has a weight that is a number.
        start: place of the one that a student starts from.
        trainer: evaluates what it is given as its model, which it has again afterwards.
        valid_data: the run's validation cases.
        show_progress: progress bars.
    """
    weights = [0.0 if teacher.weight == "auto" else float(teacher.weight) for teacher in teachers]
    if all(weights):
        return weights, {}
    own, decided = trainer.model, dict[str, str]()

    def score(tried: Sequence[float]) -> float:
        init_seed(trainer.config["seed"], trainer.config["reproducibility"])  # sampled candidates are the same ones
        trainer.model = ensemble_of(teachers, tried, start)
        result = trainer.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
        value = float(calculate_valid_score(result, trainer.valid_metric))
        return value if trainer.valid_metric_bigger else -value

    best = score(weights)
    for at, teacher in enumerate(teachers):
        if teacher.weight != "auto":
            continue
        without, total, found = best, sum(weights), []
        for share in WEIGHTS:
            found.append((score([*weights[:at], share * total, *weights[at + 1 :]]), share * total))
            if found[-1][0] < max(without, *(value for value, _ in found)):
                break
        with_it, weight = max(found)
        helps = with_it > without + LEAST_GAIN * abs(without)
        if helps:
            best, weights[at] = with_it, weight
        decided[f"weight of teacher {at + 1}, {teacher.name}"] = (
            f"{weights[at]:g}, chosen on validation: {trainer.valid_metric} {abs(without):.4f} without it, "
            f"{abs(with_it):.4f} with a weight of {weight:g}" + ("" if helps else f", no {LEAST_GAIN:.0%} better")
        )
    trainer.model = own
    for what, reason in decided.items():
        logging.getLogger().info(f"{trainer.phase}: {what} {reason}")
    return weights, decided


def ensemble_of(teachers: Sequence[Teaching], weights: Sequence[float], start: int) -> Any:
    """The teachers that have a weight as one; a single one as it is."""
    kept = [at for at, weight in enumerate(weights) if weight]
    if len(kept) == 1:
        return teachers[kept[0]].model
    return TeacherEnsemble([teachers[at].model for at in kept], [weights[at] for at in kept], kept.index(start))
