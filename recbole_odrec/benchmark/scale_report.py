"""Table, fitted law, arithmetic and picture of `benchmark scale`, from its JSON alone."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from scipy.optimize import nnls

from recbole_odrec.benchmark.scale import DENSE, MODELS
from recbole_odrec.benchmark.scale_arithmetic import arithmetic
from recbole_odrec.files import write_atomically

matplotlib.use("Agg")  # pictures in files: no screen needed
from matplotlib import pyplot as plt  # after the choice of where it draws

Rows = list[dict[str, Any]]
_COLORS = dict(zip(MODELS, ("#1f4e79", "#3f8f5a", "#8fbf9f", "#c8501e", "#e8a98c"), strict=True))


def markdown(result: dict[str, Any]) -> str:
    """One row a measurement, smallest catalogue first."""
    rows = sorted(result["rows"], key=_order)
    dense = {_run(row): row for row in _of_one(rows) if row["model"] == DENSE}
    header = ["items", "model", "processes", "item table, numbers", "scores", "peak memory", "of dense"]
    header += ["ms a step", "of dense"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        peer = dense.get(_run(row))
        lines.append(
            [
                f"{row['items']:,}",
                row["model"],
                f"{row['processes']}{', rows split' if row.get('split') else ''}",
                f"{row['stored']:,}",
                f"tiles, {row['score_memory']:g} GB" if row["tiled"] else "whole",
                f"{row['peak_bytes'] / 1e6:,.0f} MB",
                *([f"{row['peak_bytes'] / peer['peak_bytes']:.2f}"] if peer else ["-"]),
                f"{row['step_ms']:,.0f}",
                *([f"{row['step_ms'] / peer['step_ms']:.2f}"] if peer else ["-"]),
            ]
        )
    machine, batches = result["machine"], sorted({row["batch_size"] for row in rows})
    laws = [
        f"| {name} | {memory[0] / 1e6:,.0f} MB + {memory[1]:,.2f} bytes an item | {time[0]:,.0f} ms + "
        f"{1000 * time[1]:,.2f} us an item |"
        for name, memory, time in laws_of(rows)
    ]
    return "\n".join(
        [
            "# Many items: what a training step takes",
            "",
            "Written by `recbole-odrec benchmark scale`; do not edit. `--processes 2` makes the rows of two.",
            f"{machine['processor']}, {machine['cpus']} cores: ratios say more than times.",
            f"Batches of {', '.join(map(str, batches))} cases of 20 items, D = 128, one layer, Adam, random weights.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
            "",
            "- Peak memory: of a process of its own, above what it held before the model was made. Time: the median of",
            "  steps after one that is not counted, or of the first alone where that takes over 10 s.",
            "- dense: SASRecTeacher. tensor train: of rank 60, cores grow with the square root of the items. codes: 16",
            "  bytes an item. taught: soft targets of a frozen full table of float32, which is 512 bytes an item.",
            "- codes that move (`move_codes_every`) follow a full table that trains along: Adam's state, gradient and",
            "  weights of it are 16 bytes a number, as a dense table has; of several processes its rows may be split.",
            "  `move_codes_every=0` trains without.",
            "- processes: of several, the largest peak of any; each has its share of the batch, and full tables,",
            "  trained or frozen, are whole in each or their rows split. Compared with dense in one process.",
            "  They share the cores with each other, and whatever else ran: their memory counts, their times little.",
            "- scores: whole matrices, or by tiles where they would take more than `score_memory`.",
            "",
            "## The law",
            "",
            "Least squares of relative errors over the sizes of one batch and `score_memory`. A tile is as large for",
            "every catalogue, so what grows with it is the table alone.",
            "",
            "| model | peak memory | step |",
            "| --- | --- | --- |",
            *laws,
            "",
            *arithmetic(),
        ]
    )


def laws_of(rows: Rows) -> list[tuple[str, tuple[float, float], tuple[float, float]]]:
    """Of each model measured at two sizes or more: constant and slope of peak bytes and of milliseconds over items."""
    found = []
    for name in MODELS:
        of_model = [row for row in _alike(_of_one(rows)) if row["model"] == name]
        if len(of_model) > 1:
            items = np.array([row["items"] for row in of_model], float)
            found.append((name, *(_line(items, [row[key] for row in of_model]) for key in ("peak_bytes", "step_ms"))))
    return found


def _line(items: np.ndarray, values: list[float]) -> tuple[float, float]:
    weights = 1 / np.array(values, float)  # nothing costs less than 0 an item, hence nnls
    (constant, slope), _ = nnls(np.stack([weights, items * weights], 1), np.ones(len(items)))
    return float(constant), float(slope)


def _run(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("items", "batch_size", "score_memory", "device"))


def _of_one(rows: Rows) -> Rows:
    """Those of one process."""
    return [row for row in rows if row["processes"] == 1]


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    place = [*MODELS].index(row["model"])
    return row["items"], -row["score_memory"], row["processes"] > 1, place, row["processes"], row.get("split", False)


def _alike(rows: Rows) -> Rows:
    """Those of the batch size, budget and device that most rows have."""
    most, _ = Counter(_run(row)[1:] for row in rows).most_common(1)[0]
    return [row for row in rows if _run(row)[1:] == most]


def plot(result: dict[str, Any], path: Path) -> None:
    """Peak memory and time of a step against the number of items, a line a model."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 4))
    rows = sorted(_alike(_of_one(result["rows"])), key=lambda row: row["items"])
    for panel, (key, scale, label) in zip(
        panels, (("peak_bytes", 1e6, "peak memory of a step, MB"), ("step_ms", 1, "ms a step")), strict=True
    ):
        for name, color in _COLORS.items():
            of_model = [row for row in rows if row["model"] == name]
            places, values = [row["items"] for row in of_model], [row[key] / scale for row in of_model]
            panel.plot(places, values, "o-", color=color, label=name)
        panel.set(xscale="log", yscale="log", xlabel="items", ylabel=label)
        panel.grid(alpha=0.25)
    panels[0].legend(frameon=False, fontsize=8)
    figure.tight_layout(w_pad=3)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=130, metadata={"Software": None})  # the same numbers, the same file
    plt.close(figure)
    write_atomically(path, lambda file: file.write(picture.getvalue()))
