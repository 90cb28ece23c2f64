"""Two pictures of the accuracy table: what a byte of the item table buys, and who gains, head or tail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import matplotlib

from recbole_odrec.benchmark.accuracy.rows import TEACHER, Row
from recbole_odrec.benchmark.accuracy.tested import Tested
from recbole_odrec.files import write_atomically

matplotlib.use("Agg")  # pictures in files: no screen needed
from matplotlib import pyplot as plt  # after the choice of where it draws
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_GREY = "#7f7f7f"
_COLORS = {"RecBole": _GREY, "counting": "#7b5ea7", "teacher": "#1f4e79", "student": "#c8501e"}
_ANOTHER = "student, another table"
_KINDS = {
    "RecBole": _COLORS["RecBole"],
    "counting": _COLORS["counting"],
    "teacher": _COLORS["teacher"],
    "student, tensor train": "#3f8f5a",
    "student, codes": "#b3567f",
    "student, rounded": _COLORS["student"],
    _ANOTHER: "#b8963e",
}
_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
}


class _Point(NamedTuple):
    """A row in the picture: its kind, one of `_KINDS`, MB of its item table, mean NDCG@20 in percent."""

    row: Row
    kind: str
    size: float
    ndcg: float

    @classmethod
    def of(cls, tested: Tested) -> _Point:
        kind, config = tested.row.kind, tested.runs[0]["config"]
        if kind == "student":
            named = f"student, {config['table'].replace('_', ' ')}"
            kind = named if named in _KINDS else _ANOTHER
        size, ndcg = tested.sizes["item_table_bytes"] / 1e6, mean(tested.percent("all", "ndcg@20"))
        return cls(tested.row, kind, size, ndcg)


def plot_size(tested: Mapping[str, Mapping[str, Tested]], path: Path) -> None:
    """NDCG@20 against the bytes of the item table, a panel a data set.

    Of each of our kinds a line joins the models that no smaller one of it equals. Students that nothing of their size
    or smaller equals have their names left of them, full tables in a column beside the panel. Bold rows are large
    dots, asides pale ones without a name.
    """
    points = {dataset: [_Point.of(row) for row in rows.values()] for dataset, rows in tested.items()}
    sizes = [point.size for of_one in points.values() for point in of_one]
    with plt.rc_context(_STYLE):
        figure, panels = plt.subplots(len(points), 1, figsize=(9.5, 4.2 * len(points)), squeeze=False)
        for panel, (dataset, of_one) in zip(panels[:, 0], points.items(), strict=True):
            panel.set(title=dataset, xlabel="item table, MB (log)", ylabel="test NDCG@20, %", xscale="log")
            panel.set_xlim(min(sizes) / 40, max(sizes) * 1.5)  # names stand left of their points
            panel.margins(y=0.12)
            _draw(panel, of_one)
        marks = [Line2D([], [], color=color, marker="o", linewidth=0) for color in _KINDS.values()]
        figure.legend(marks, _KINDS, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=len(marks), frameon=False)
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


def _draw(panel: Axes, points: Sequence[_Point]) -> None:
    """Points, lines and names of one data set."""
    for row, kind, size, ndcg in points:
        marker = {"markersize": 8 if row.is_bold else 5, "alpha": 0.3 if row.is_aside else 1.0}
        panel.plot(size, ndcg, "o", color=_KINDS[kind], **marker)
    for kind in (kind for kind in _KINDS if kind.startswith(("teacher", "student"))):
        best = _unequalled(point for point in points if point.kind == kind)
        panel.plot([p.size for p in best], [p.ndcg for p in best], color=_KINDS[kind], linewidth=1, alpha=0.5)
    of_full_width = max((point.size for point in points if point.row.name == TEACHER), default=0.0)
    named = [point for point in points if point.row.kind != "student" and not point.row.is_aside]
    _name_beside(panel, [point for point in named if point.size >= of_full_width])
    for row, _, size, ndcg in (point for point in named if point.size < of_full_width):
        below = {"xytext": (0, -9), "textcoords": "offset points", "ha": "center"}
        panel.annotate(row.title, (size, ndcg), **{**_NAME, **below})
    best = _unequalled(points)
    _name_above(panel, [point for point in best if point.row.kind == "student" and not point.row.is_aside])


def _unequalled(points: Iterable[_Point]) -> list[_Point]:
    """Points above all that are as small or smaller, the smallest first."""
    found: list[_Point] = []
    for point in sorted(points, key=lambda point: (point.size, -point.ndcg)):
        if not found or point.ndcg > found[-1].ndcg:
            found.append(point)
    return found


_GAP = 0.05  # between names, in heights of the panel
_NAME = {"textcoords": "axes fraction", "va": "center", "fontsize": 7.5}
_JOIN = {"arrowstyle": "-", "color": _GREY, "linewidth": 0.4}


def _name_above(panel: Axes, points: Sequence[_Point]) -> None:
    """Names left of and above points that rise to the right, where no point is; a name ends where its point stands."""
    height = 0.0
    for point in points:
        at, above = panel.transAxes.inverted().transform(panel.transData.transform((point.size, point.ndcg)))
        height = max(above, height) + _GAP
        name = point.row.title.removeprefix("ODRec, ")
        join = {**_JOIN, "relpos": (1, 0.5)}
        panel.annotate(name, (point.size, point.ndcg), (at, height), ha="right", arrowprops=join, **_NAME)


def _name_beside(panel: Axes, points: Sequence[_Point]) -> None:
    """Names in a column beside the panel, each joined to its point."""
    points = sorted(points, key=lambda point: point.ndcg)
    low, high = panel.get_ylim()
    heights = [(point.ndcg - low) / (high - low) for point in points]
    for i in range(1, len(heights)):  # upwards until none touches the one below
        heights[i] = max(heights[i], heights[i - 1] + _GAP)
    for i in reversed(range(len(heights))):  # and back down where that left the panel
        heights[i] = min(heights[i], 1 - _GAP * (len(heights) - 1 - i))
    for height, point in zip(heights, points, strict=True):
        join = {**_JOIN, "relpos": (0, 0.5)}
        panel.annotate(point.row.title, (point.size, point.ndcg), (1.03, height), arrowprops=join, **_NAME)


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout(w_pad=3)
    picture = BytesIO()
    without_version = {"Software": None}  # the same numbers, the same file
    figure.savefig(picture, format="png", dpi=130, bbox_inches="tight", metadata=without_version)
    plt.close(figure)
    write_atomically(path, lambda file: file.write(picture.getvalue()))
