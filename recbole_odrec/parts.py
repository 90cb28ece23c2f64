"""Parts by name: one of ours, or a user's own as `module:Class`.

A kind of part (tables, objectives, encoders, read-outs) is a dictionary from names to classes, `{"codes": ..}`; adding
a part is one file and one line in it. Nothing else is listed anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TypeVar

from recbole_odrec.errors import UserError, did_you_mean

Base = TypeVar("Base")

# What the name of a model says already; the rest is the configuration's.
FIXED_PARTS: dict[str, dict[str, str]] = {
    "ODRec": {},
    "SASRecTeacher": {"table": "dense", "encoder": "sasrec"},
    "GRU4RecTeacher": {"table": "dense", "encoder": "gru"},
}

# Models that count in place of training, each with keys of its own -> the module of `neighbours` that holds it.
NEIGHBOURS = {
    "AR": "association_rules",
    "SR": "sequential_rules",
    "ItemTransitions": "item_transitions",
    "SLIT": "slit",
    "VSKNN": "vsknn",
    "VSTAN": "vstan",
}


def find_part(key: str, name: object, known: Mapping[str, type[Base]], base: type[Base]) -> type[Base]:
    """The class that a configuration names.

    Args:
        key: the configuration's key, for messages.
        name: its value: a name in `known`, or `module:Class`.
        known: names -> classes.
        base: what a user's own class must be derived from.

    Raises:
        UserError: no such part, a module that cannot be imported, or a class of another kind.
    """
    if not isinstance(name, str):
        raise UserError(f"{key}={name!r}, expected a word: one of {', '.join(known)}, or module:Class.")
    if name in known:
        return known[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        hint, names = did_you_mean(name, known), ", ".join(known)
        raise UserError(f"{key}={name!r}{hint}, expected one of {names}, or module:Class.")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"{key}={name!r} cannot be imported ({' '.join(str(error).split())}); is its folder on PYTHONPATH?"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        needed = f"{base.__module__}.{base.__name__}"
        raise UserError(f"{key}={name!r} is no {base.__name__}: derive the class from {needed}.")
    return found
