"""Which parts a configuration chooses, and so which keys are whose: each part owns those of its `Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from recbole_odrec.neighbours import NEIGHBOUR_MODELS
from recbole_odrec.nn.kinds import KINDS, network_part
from recbole_odrec.parts import FIXED_PARTS
from recbole_odrec.trainer.objectives import OBJECTIVES, chosen_objectives

# Keys that say how weights are trained: a model that counts has no use for them, and refuses them by name.
_OF_TRAINING_WEIGHTS = {
    *("epochs", "stopping_step", "save_step", "learner", "learning_rate", "learning_rate_decay", "weight_decay"),
    *("average_decay", "clip_grad_norm", "loss_type", "train_neg_sample_args", "train_batch_size", "score_dtype"),
    *("item_skip_prob", "session_jump_prob", "enable_amp", "enable_scaler", "require_pow", "transform", "shuffle"),
    *("score_memory", "sampled_items", "split_table", "recipe"),
}


def chosen_parts(values: Mapping[str, Any]) -> list[type]:
    """The parts of one of our models, each with its `Settings`.

    Args:
        values: a configuration, plain or RecBole's, that says `model`, `table` ..

    Raises:
        UserError: no such part.
    """
    if values["model"] in NEIGHBOUR_MODELS:  # which is a part itself
        return [NEIGHBOUR_MODELS[values["model"]]]
    network = [network_part(kind, values, FIXED_PARTS[values["model"]]) for kind in KINDS]
    return [*network, *chosen_objectives(values)] if values["model"] == "ODRec" else network


def owners_of(key: str) -> list[str]:
    """The parts that own a key, as they are chosen: `["table=codes"]`."""
    kinds = {**{kind: known for kind, (known, _) in KINDS.items()}, "model": NEIGHBOUR_MODELS}
    return [f"{kind}={name}" for kind, known in kinds.items() for name, part in known.items() if key in keys_of([part])]


def keys_of(parts: list[type]) -> set[str]:
    """Keys that parts own."""
    return {field.name for part in parts for field in fields(part.Settings)}


def possible_keys(model: str) -> set[str]:
    """Keys of all parts that a configuration of one of our models can choose by name."""
    if model in NEIGHBOUR_MODELS:
        return keys_of([NEIGHBOUR_MODELS[model]])
    fixed = FIXED_PARTS[model]
    named = [known[fixed[kind]] if kind in fixed else known for kind, (known, _) in KINDS.items()]
    parts = [part for found in named for part in (found.values() if isinstance(found, dict) else [found])]
    return keys_of([*parts, *OBJECTIVES.values()] if model == "ODRec" else parts)


def unused_keys(model: str) -> set[str]:
    """Keys that every model of RecBole has, and this one no use for."""
    return _OF_TRAINING_WEIGHTS if model in NEIGHBOUR_MODELS else set()
