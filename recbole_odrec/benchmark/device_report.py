"""Table and plot of `benchmark device`, from its JSON alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from recbole_odrec.benchmark.device_bundles import BITS, N_CODES, N_FOLLOWERS, RATE

_COLORS = {
    "student fp32": "#4c78a8",
    "student int8": "#54a24b",
    "rounded int8": "#f58518",
    "codes int8": "#b279a2",
    "teacher fp32": "#e45756",
}
# What stands across and upwards, and their units.
_PANELS = (
    ("n_items", "p50_ms", "latency p50, ms, against items", 1.0, 1.0),
    ("n_items", "peak_bytes", "peak memory above the runtime, MB, against items", 1.0, 1e-6),
    ("model_bytes", "p50_ms", "latency p50, ms, against MB of the model file", 1e-6, 1.0),
)

_FLOOR = (
    "- What a scan of every item cannot go below: student int8 multiplies P x K with K x Q bytes, 815 x 120 x 1,227 at",
    "  a million items and 2,936 x 120 x 3,406 at ten million, 0.12 and 1.2 billion multiply-adds. On one core of an",
    "  AMD EPYC with AVX-512 VNNI (64 a cycle) ONNX Runtime does 211 billion a second at these shapes and 227",
    "  at the best of others: 0.57 and 5.7 ms, at the most 0.53 and 5.3. Ten million in 5 ms are out of reach there.",
)


def markdown(result: dict[str, Any]) -> str:
    """One row a measurement, then the ratios teacher / student of the same run."""
    header = [
        *("items", "model", "model file", "folder", "p50 ms", "p95 ms", "resident MB", "peak MB"),
        *("with tokens: p50 ms", "resident MB", "start s"),
    ]
    lines = [header, ["---"] * len(header)]
    for row in result["rows"]:
        lines.append(
            [
                f"{row['n_items']:,}",
                _name(row),
                *(_size(row[key]) for key in ("model_bytes", "bundle_bytes")),
                *(f"{row[key]:.3g}" for key in ("p50_ms", "p95_ms")),
                *(f"{row[key] / 1e6:.1f}" for key in ("resident_bytes", "peak_bytes")),
                f"{row['tokens_p50_ms']:.3g}",
                f"{row['tokens_resident_bytes'] / 1e6:.1f}",
                f"{row['first_answer_s']:.2f}",
            ]
        )
    ratios = [["items", "teacher fp32 /", "model file", "folder", "p50", "p95", "resident", "peak"], ["---"] * 8]
    for row in result["rows"]:
        teacher = _teacher(result, row["n_items"])
        if row["model"] != "teacher" and teacher is not None:
            keys = ("model_bytes", "bundle_bytes", "p50_ms", "p95_ms", "resident_bytes", "peak_bytes")
            ratios.append([f"{row['n_items']:,}", _name(row), *(f"{teacher[key] / row[key]:.1f}x" for key in keys)])
    starts = [["items", "first answer of", "warm s", "cold s"], ["---"] * 4]
    for row in result["rows"]:
        if row.get("cold_answer_s") is not None:
            seconds = (f"{row[key]:.2f}" for key in ("first_answer_s", "cold_answer_s"))
            starts.append([f"{row['n_items']:,}", _name(row), *seconds])
    machine, versions = result["machine"], result["versions"]
    return "\n".join(
        [
            "# On a device: student against uncompressed teacher",
            "",
            "Written by `recbole-odrec benchmark device`; do not edit.",
            f"{machine['processor']}, onnxruntime {versions['onnxruntime']}, one thread, batch 1, history of 20 items,",
            "top-20, random weights, D = 128, one layer; student: tt_ranks=60, stp_factor=2, soft-attention read-out;",
            f"rounded: the default recipe's student at {RATE}x, {N_FOLLOWERS} followers an item and as many columns of",
            f"{BITS} bits as that leaves; codes: the same with {N_CODES} codes an item in place of columns.",
            "",
            *_table(lines),
            "",
            *_table(ratios),
            "",
            *([*_table(starts), ""] if len(starts) > 2 else []),
            "![latency and memory against items, latency against the model's bytes](device.svg)",
            "",
            "- model file: all weights and the graph; folder: item tokens and manifest too (the same for both models).",
            "- resident, peak: memory above a process that has served the same graph with 60 items and D = 16:",
            "  resident after the last call, peak the most at any time, loading included.",
            "- with tokens: raw item tokens in and out, their table included (the same for both models).",
            "- every number is the median of a model's turns, each in fresh processes; models of one size take turns.",
            "- start: a fresh process, from its first import to its first answer, files verified (warm). Cold: with",
            "  the bundle's files out of the system's page cache; Python, NumPy and ONNX Runtime are in it, and the",
            "  disk may have a cache of its own. No row where it was not measured.",
            "- Where a teacher is missing its table alone is over 2 GB (10 million items: 5 GB).",
            *_FLOOR,
            "",
        ]
    )


def plot(result: dict[str, Any]) -> str:
    """SVG: latency and memory against items, latency against bytes; a panel each, logarithmic, a line a model."""
    width, height, left, top = 380, 300, 60, 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(_PANELS) * (width + 20)} {height + 60}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (across, upwards, title, *units) in enumerate(_PANELS):
        points = {name: [] for name in _COLORS}
        for row in result["rows"]:
            points[_name(row)].append((row[across] * units[0], max(row[upwards] * units[1], 1e-3)))
        xs, ys = zip(*(point for of_one in points.values() for point in of_one), strict=True)
        x_ticks = sorted(set(xs)) if across == "n_items" else _powers(xs)
        y_ticks = _powers(ys)
        x0, x1 = number * (width + 20) + left, number * (width + 20) + width - 20

        def at(x: float, y: float, frame: tuple = (x0, x1, x_ticks, y_ticks)) -> tuple[float, float]:
            x0, x1, x_ticks, y_ticks = frame
            shares = [
                math.log10(value / ticks[0]) / (math.log10(ticks[-1] / ticks[0]) or 1)
                for value, ticks in ((x, x_ticks), (y, y_ticks))
            ]
            return round(x0 + (x1 - x0) * shares[0], 1), round(height - (height - top) * shares[1], 1)

        parts.append(f'<text x="{x0}" y="{top - 18}" font-weight="bold">{title}</text>')
        for tick in y_ticks:
            _, y = at(x_ticks[0], tick)
            parts.append(f'<line x1="{x0}" y1="{y}" x2="{x1}" y2="{y}" stroke="#ddd"/>')
            parts.append(f'<text x="{x0 - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
        for tick in x_ticks:
            x, _ = at(tick, y_ticks[0])
            parts.append(f'<text x="{x}" y="{height + 18}" text-anchor="middle">{_grouped(tick)}</text>')
        for name, of_one in points.items():
            places = [at(*point) for point in of_one]
            line = " ".join(f"{x},{y}" for x, y in places)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{_COLORS[name]}" stroke-width="2"/>')
            parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{_COLORS[name]}"/>' for x, y in places]
    for number, (name, color) in enumerate(_COLORS.items()):
        x = left + 150 * number
        parts.append(f'<rect x="{x}" y="{height + 36}" width="12" height="12" fill="{color}"/>')
        parts.append(f'<text x="{x + 18}" y="{height + 46}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _powers(values: Sequence[float]) -> list[float]:
    """Powers of ten around the values, two at least."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _grouped(number: float) -> str:
    return f"{number:,.0f}" if number >= 1 else f"{number:g}"


def _name(row: dict[str, Any]) -> str:
    return f"{row['model']} {row['precision']}"


def _teacher(result: dict[str, Any], n_items: int) -> dict[str, Any] | None:
    return next((row for row in result["rows"] if row["model"] == "teacher" and row["n_items"] == n_items), None)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.2f} MB"


def _table(lines: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in lines]
