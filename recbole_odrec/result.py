"""What a run leaves behind: `result.json` and the table on the screen."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import nn

from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.neighbours import NeighbourModel

WIDTH = 100  # columns of the table on the screen


def parameter_report(model: Any) -> dict[str, Any]:
    """Numbers stored by a model: total, item table, what a dense one has, the table's bytes, the rate of compression.

    All that the item table stores counts, codes and an item order too.
    """
    total = sum(parameter.numel() for parameter in model.parameters())
    if isinstance(model, TeacherEnsemble):
        reports = [parameter_report(getattr(member, "model", member)) for member in model.members]
        return {**{key: sum(report[key] for report in reports) for key in reports[0]}, "compression_rate": 1.0}
    if isinstance(model, SessionRecommender):
        stored = model.item_table
        table, dense = stored.n_stored, stored.n_items * stored.embedding_dim
        n_bytes, rate = stored.n_bytes, stored.compression_rate
        total += table - sum(parameter.numel() for parameter in stored.parameters())
        if model.followers is not None:
            n_bytes += model.followers.n_bytes
            table, total = table + model.followers.n_stored, total + model.followers.n_stored
            rate = 4 * dense / n_bytes
    elif isinstance(model, NeighbourModel):  # all that it has is of items
        total = table = dense = model.n_stored
        n_bytes, rate = model.n_bytes, 1.0
    elif isinstance(getattr(model, "item_embedding", None), nn.Embedding):
        table = dense = model.item_embedding.weight.numel()
        n_bytes, rate = 4 * table, 1.0
    else:
        return {"total": total}
    return {
        "total": total,
        "item_table": table,
        "item_table_dense": dense,
        "item_table_bytes": n_bytes,
        "compression_rate": round(rate, 3),
    }


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("recbole_odrec", "recbole", "torch", "numpy", "pandas"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "source"
    return found


def models_of(phase: Mapping[str, Any]) -> str:
    """The model of a phase; of several teachers, each."""
    return ", ".join(member["model"] for member in phase.get("members", [phase]))


def table(result: dict[str, Any]) -> str:
    """A title, then one row a phase: as many metrics, sizes and times as fit into `WIDTH` columns.

    Of the test set, or of validation where a run has met no test set; `recbole-odrec summary --full` shows all.
    """
    phases = result["phases"]
    split = "test" if all(phase["test"] for phase in phases.values()) else "valid"
    reports = [(phase[split] or {}, phase["parameters"], phase) for phase in phases.values()]
    metrics = list(reports[0][0].get("all") or {})
    selects = str(result["config"]["valid_metric"]).lower()
    columns = {"": [f"{name} ({models_of(phase)})" for name, phase in phases.items()]}
    for metric in metrics:
        for group in ("all", "head", "tail") if metric == selects else ("all",):
            values = [(metrics_of.get(group) or {}).get(metric) for metrics_of, _, _ in reports]
            columns[metric if group == "all" else f"{group} {metric}"] = [_number(value, "{:.4f}") for value in values]
    for header, key, shape in (
        ("parameters", "total", "{:,}"),
        ("item table", "item_table", "{:,}"),
        ("rate", "compression_rate", "{:.1f}x"),
    ):
        columns[header] = [_number(sizes.get(key), shape) for _, sizes, _ in reports]
    columns["seconds"] = [_number(phase.get("seconds"), "{:.1f}") for _, _, phase in reports]
    by_cutoff = sorted(metrics, key=lambda metric: -int("0" + metric.partition("@")[2]))
    first = ["", selects, "item table", "rate", "seconds", f"tail {selects}", f"head {selects}"]
    shown: dict[str, list[str]] = {}
    for header in (name for name in dict.fromkeys([*first, *by_cutoff, "parameters"]) if name in columns):
        cells = [header, *columns[header]]
        if sum(max(map(len, known)) + 2 for known in [*shown.values(), cells]) <= WIDTH + 2:
            shown[header] = cells
    columns = [shown[header] for header in columns if header in shown]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in zip(*columns, strict=True)
    ]
    name = "test set" if split == "test" else "validation set"
    title = f"{result['model']} on {result['dataset']}, seed {result['seed']}, {name}"
    return "\n".join([title, lines[0], "-" * len(lines[0]), *lines[1:]])


def _number(value: float | None, shape: str) -> str:
    return "-" if value is None else shape.format(value)
