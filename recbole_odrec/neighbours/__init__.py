"""Neighbourhood models: counted in seconds, scores for all items, sparse on disk."""

from __future__ import annotations

from importlib import import_module

from recbole_odrec.neighbours.model import NeighbourModel
from recbole_odrec.parts import NEIGHBOURS

NEIGHBOUR_MODELS: dict[str, type[NeighbourModel]] = {
    name: getattr(import_module(f"recbole_odrec.neighbours.{module}"), name) for name, module in NEIGHBOURS.items()
}

__all__ = ["NEIGHBOUR_MODELS", "NeighbourModel"]
