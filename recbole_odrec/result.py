"""What a run leaves behind: `result.json` and the table on the screen."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from texttable import Texttable
from torch import nn

from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.model.session_recommender import SessionRecommender


def parameter_report(model: nn.Module) -> dict[str, Any]:
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


def table(result: dict[str, Any]) -> str:
    """A title, then one row a phase: test metrics, metrics on head and tail targets, sizes, training seconds."""
    phases = result["phases"]
    metrics = list(next(iter(phases.values()))["test"]["all"])
    shown = [name for name in metrics if name.endswith(("@10", "@20"))] or metrics
    widest = shown[-1].split("@")[-1]
    group_metrics = [name for name in metrics if name in (f"recall@{widest}", f"ndcg@{widest}")]
    has_groups = all("tail" in phase["test"] for phase in phases.values())
    groups = [(group, name) for name in group_metrics for group in ("head", "tail")] if has_groups else []
    header = ["", *shown, *(f"{group} {name}" for group, name in groups), "parameters", "item table", "rate", "seconds"]
    drawing = Texttable(max_width=0)
    drawing.set_deco(Texttable.HEADER)
    drawing.set_cols_dtype(["t"] * len(header))
    drawing.set_cols_align(["l", *["r"] * (len(header) - 1)])
    drawing.header(header)
    for name, phase in phases.items():
        test, sizes = phase["test"], phase["parameters"]
        drawing.add_row(
            [
                f"{name} ({phase['model']})",
                *(f"{test['all'][metric]:.4f}" for metric in shown),
                *(f"{(test[group] or {}).get(metric, float('nan')):.4f}" for group, metric in groups),
                f"{sizes['total']:,}",
                f"{sizes['item_table']:,}" if "item_table" in sizes else "-",
                f"{sizes['compression_rate']:.1f}x" if "compression_rate" in sizes else "-",
                f"{phase['seconds']:.1f}",
            ]
        )
    title = f"{result['model']} on {result['dataset']}, seed {result['seed']}, test set"
    return f"{title}\n{drawing.draw()}"
