"""Frozen settings out of a configuration: each part of a model declares its keys, their types, defaults and meaning.

    @dataclass(frozen=True)
    class Settings:
        n_codes: int = key(16, "Codebooks, a divisor of hidden_size.")

        def __post_init__(self) -> None:
            require(self.n_codes >= 1, "n_codes", self.n_codes, "a whole number from 1")

    settings = parse(Settings, {"n_codes": 8})

Neither RecBole nor PyTorch in here: the lowest layers read their settings with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from recbole_odrec.errors import UserError

Part = TypeVar("Part")

TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a word"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "True or False"),
    "list": ((list, tuple), "a list"),
    "dict": ((dict,), "a dictionary"),
    "None": ((type(None),), "None"),
}


# Settings that change where a run writes or what it shows, never its numbers.
VOLATILE = {
    *("data_path", "checkpoint_dir", "show_progress", "state", "gpu_id", "device", "log_wandb", "wandb_project"),
    *("save_step", "worker", "save_dataset", "save_dataloaders", "dataset_save_path", "dataloaders_save_path"),
    *("teacher_cache", "recipe", "config_files", "use_gpu", "eval_batch_size", "score_memory", "split_table"),
}


@dataclass(frozen=True)
class NoSettings:
    """Of a part that has no keys."""


def key(default: Any, meaning: str) -> Any:
    """A key of a settings class: its default and, in a sentence, what it means (`docs/keys.md` is made from it)."""
    metadata = {"meaning": meaning}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def defaults(part: type) -> dict[str, Any]:
    """Keys of a settings class that have a default, with it."""
    made = {field.name: field.default_factory() for field in fields(part) if field.default_factory is not MISSING}
    return {**{field.name: field.default for field in fields(part) if field.default is not MISSING}, **made}


def require(holds: bool, key: str, value: object, expected: str) -> None:
    """Raises a UserError that names the key, its value and what was expected, unless the condition holds."""
    if not holds:
        raise UserError(f"{key}={value!r}, expected {expected}.")


def parse(part: type[Part], config: Mapping[str, Any], **given: object) -> Part:
    """Reads one typed part out of a configuration.

    Args:
        part: the dataclass to fill; its annotations are the types allowed, its defaults stand for absent keys.
        config: plain values, or a RecBole configuration.
        given: values that go over the configuration's.

    Raises:
        UserError: a value of the wrong type or out of range.
    """
    values, default = {}, defaults(part)
    for field in fields(part):  # type: ignore[arg-type]  # a dataclass
        name = field.name
        # RecBole's Config has no `get`, and answers None for what it does not hold.
        value = given[name] if name in given else config[name] if name in config else default.get(name)
        # A class, where its module does not postpone annotations.
        written = field.type.__name__ if isinstance(field.type, type) else str(field.type)
        kinds = [kind.split("[")[0].strip() for kind in written.split("|")]
        allowed = [kind for kind_name in kinds for kind in TYPES[kind_name][0]]
        is_misplaced_bool = isinstance(value, bool) and bool not in allowed
        if not isinstance(value, tuple(allowed)) or is_misplaced_bool:
            expected = " or ".join(TYPES[kind_name][1] for kind_name in kinds)
            raise UserError(f"{name}={value!r}, expected {expected}.")
        values[name] = value
    return part(**values)
