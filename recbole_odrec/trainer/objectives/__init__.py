"""What training minimises: the paper's objectives, each on by its weight, and those that a configuration names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recbole_odrec.errors import UserError
from recbole_odrec.parsing import parse, require
from recbole_odrec.parts import find_part
from recbole_odrec.trainer.objectives.catalogue import Catalogue
from recbole_odrec.trainer.objectives.contrastive import Contrastive
from recbole_odrec.trainer.objectives.objective import Objective, Pair, Step
from recbole_odrec.trainer.objectives.predictive import Predictive

OBJECTIVES: dict[str, type[Objective]] = {kind.name: kind for kind in (Catalogue, Contrastive, Predictive)}


def chosen_objectives(config: Mapping[str, Any]) -> list[type[Objective]]:
    """All of ours, then the configuration's own (`objectives`).

    Raises:
        UserError: one that does not exist, or is none.
    """
    own = config["objectives"]
    require(isinstance(own, (list, tuple)), "objectives", own, "a list such as ['my_module:MyObjective']")
    found = [find_part("objectives", name, OBJECTIVES, Objective) for name in own]
    return list(dict.fromkeys([*OBJECTIVES.values(), *found]))


def active_objectives(config: Mapping[str, Any]) -> dict[type[Objective], Any]:
    """The objectives that weigh more than 0, with their settings, in the order in which their parts are added.

    Raises:
        UserError: as `chosen_objectives`; a setting or weight out of range, or two of one name.
    """
    active, taken = {}, set()
    for kind in chosen_objectives(config):
        settings = parse(kind.Settings, config)
        weights = kind.weights(settings)
        for name, weight in weights.items():
            require(0 <= weight < math.inf, f"{name}_weight", weight, "a number of at least 0")
        if twice := taken & {kind.name, *weights}:
            raise UserError(f"objectives: {kind.__name__} has the name of another part, {', '.join(twice)}: rename it.")
        taken |= {kind.name, *weights}
        if any(weights.values()):
            active[kind] = settings
    return active


def needs_teacher(config: Mapping[str, Any]) -> bool:
    """Whether there is a teacher at all, if only to start from."""
    active = active_objectives(config)
    return config["init_from_teacher"] or any(kind.needs_teacher(settings) for kind, settings in active.items())


def splits_teacher(config: Mapping[str, Any]) -> bool:
    """Whether all active objectives do with a teacher of which each process has some rows."""
    return all(kind.splits_teacher for kind in active_objectives(config))


def check_embeddings(config: Mapping[str, Any], is_given: bool) -> None:
    """Refuses objectives that look at a teacher's embeddings where no teacher has any.

    Raises:
        UserError: which objectives, and what to set.
    """
    active = active_objectives(config)
    without = [] if is_given else [kind.name for kind, settings in active.items() if kind.needs_embeddings(settings)]
    if without:
        off = " ".join(f"{name}_weight=0" for name in without)
        raise UserError(
            f"objectives {', '.join(without)} look at the teacher's item embeddings, and no teacher here has any: put "
            f"one that has into the list, or set {off}."
        )


__all__ = [
    "OBJECTIVES",
    "Objective",
    "Pair",
    "Step",
    "active_objectives",
    "check_embeddings",
    "chosen_objectives",
    "needs_teacher",
    "splits_teacher",
]
