"""Two pictures of the accuracy table: what a byte of the item table buys, and who gains, head or tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import mean, stdev

import matplotlib

from recbole_odrec.benchmark.accuracy.tested import Tested
from recbole_odrec.files import write_atomically

matplotlib.use("Agg")  # pictures in files: no screen needed
from matplotlib import pyplot as plt  # after the choice of where it draws

_GREY = "#7f7f7f"
_COLORS = {"RecBole": _GREY, "teacher": "#1f4e79", "student": "#c8501e"}
_STYLE = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25, "font.size": 9}


def plot_size(tested: Mapping[str, Mapping[str, Tested]], path: Path) -> None:
    """NDCG@20 against the bytes of the item table, a panel a data set; bars are the standard deviation over seeds.

    Rows that are asides are pale dots without a name.
    """
    with plt.rc_context(_STYLE):
        figure, panels = plt.subplots(1, len(tested), figsize=(7 * len(tested), 4.2), squeeze=False)
        for panel, (dataset, rows) in zip(panels[0], tested.items(), strict=True):
            points = []
            for row in rows.values():
                values = row.percent("all", "ndcg@20")
                size, ndcg = row.sizes["item_table_bytes"] / 1e6, mean(values)
                spread = stdev(values) if len(values) > 1 else None
                marker = {"fmt": "o", "markersize": 8 if row.row.is_bold else 5, "capsize": 3}
                alpha = 0.25 if row.row.is_aside else 1.0
                panel.errorbar(size, ndcg, spread, color=_COLORS[row.row.kind], alpha=alpha, **marker)
                if not row.row.is_aside:
                    points.append((ndcg, size, row.row.title))
            panel.set(xscale="log", xlabel="item table, MB (log)", ylabel="test NDCG@20, %", title=dataset)
            panel.margins(x=0.1, y=0.12)
            _label(panel, sorted(points))
        _save(figure, path)


def plot_head_tail(tested: Mapping[str, Mapping[str, Tested]], path: Path) -> None:
    """Recall@20 of head and tail targets side by side, a panel a data set, the main rows."""
    main = {name: [row for row in rows.values() if not row.row.is_aside] for name, rows in tested.items()}
    with plt.rc_context(_STYLE):
        height = 1.2 + 0.42 * max(len(rows) for rows in main.values())
        figure, panels = plt.subplots(1, len(main), figsize=(6.5 * len(main), height), squeeze=False)
        for panel, (dataset, rows) in zip(panels[0], main.items(), strict=True):
            names = [row.row.title for row in rows]
            for shift, group, alpha in ((-0.2, "head", 1.0), (0.2, "tail", 0.5)):
                places = [place + shift for place in range(len(names))]
                values = [mean(row.percent(group, "recall@20")) for row in rows]
                colors = [_COLORS[row.row.kind] for row in rows]
                bars = panel.barh(places, values, height=0.38, color=colors, alpha=alpha)
                panel.bar_label(bars, [f"{group} {value:.1f}" for value in values], padding=3, fontsize=7)
            panel.set_yticks(range(len(names)), names)
            panel.invert_yaxis()
            panel.set(xlabel="test recall@20, %", title=dataset)
            panel.margins(x=0.18)
        _save(figure, path)


def _label(panel: plt.Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Names of points (height, x, name), lowest first, in a column beside the panel, each joined to its point."""
    low, high = panel.get_ylim()
    gap = min(0.06, 1 / len(points))
    heights = [(ndcg - low) / (high - low) for ndcg, _, _ in points]
    for i in range(1, len(heights)):  # upwards until none touches the one below
        heights[i] = max(heights[i], heights[i - 1] + gap)
    for i in reversed(range(len(heights))):  # and back down where that left the panel
        heights[i] = min(heights[i], 1 - gap * (len(heights) - 1 - i))
    line = {"arrowstyle": "-", "color": _GREY, "linewidth": 0.4, "relpos": (0, 0.5)}
    for height, (ndcg, size, name) in zip(heights, points, strict=True):
        place = {"xytext": (1.03, height), "textcoords": "axes fraction", "va": "center", "fontsize": 7.5}
        panel.annotate(name, (size, ndcg), arrowprops=line, **place)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout(w_pad=3)
    picture = BytesIO()
    without_version = {"Software": None}  # the same numbers, the same file
    figure.savefig(picture, format="png", dpi=130, bbox_inches="tight", metadata=without_version)
    plt.close(figure)
    write_atomically(path, lambda file: file.write(picture.getvalue()))
