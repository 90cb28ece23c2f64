"""Several runs in one table: mean and spread over seeds, from their `result.json` files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from recbole_odrec.errors import UserError

# Split, group of cases, metric.
_COLUMNS = (
    ("valid", "all", "ndcg@10"),
    *(("test", "all", metric) for metric in ("ndcg@10", "recall@10", "recall@20")),
    *(("test", group, "ndcg@10") for group in ("head", "tail")),
)


def summarize(paths: Iterable[str | Path]) -> str:
    """A Markdown table of metrics: a row for each data set, phase, model and compression rate.

    Runs that differ in their seed alone share a row; a teacher that served several runs of one seed counts once.

    Args:
        paths: `result.json` files.

    Returns:
        The table; metrics in percent, as mean ± sample standard deviation over seeds.

    Raises:
        UserError: a file that is not a result.
    """
    rows: dict[tuple[str, str, str, str], dict[int, dict[str, Any]]] = defaultdict(dict)
    for path in paths:
        result = _read(Path(path))
        asked = result["config"].get("compression_rate")
        for name, phase in result["phases"].items():
            rate = f"{asked:g}x asked" if name == "student" and asked else "-"
            rows[result["dataset"], name, phase["model"], rate][result["seed"]] = phase
    names = [" ".join(column).replace(" all", "") for column in _COLUMNS]
    header = ["data", "model", "rate", "item table", *names, "training s", "seeds"]
    lines = [header, ["---"] * len(header)]
    for (dataset, name, model, rate), phases in sorted(rows.items(), key=lambda row: _order(row[0], row[1])):
        reports = list(phases.values())
        sizes = reports[0]["parameters"]
        stored = f"{sizes['compression_rate']:.1f}x ({rate})" if rate != "-" else "1x"
        cells = [_spread([100 * r[split][group][metric] for r in reports]) for split, group, metric in _COLUMNS]
        seconds = f"{mean(r['seconds'] for r in reports):.0f}"
        seeds = ", ".join(map(str, sorted(phases)))
        lines.append([dataset, f"{name} ({model})", stored, f"{sizes['item_table']:,}", *cells, seconds, seeds])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        reported = [phase[s][g][m] for phase in result["phases"].values() for s, g, m in _COLUMNS]
        if result["seed"] is None or not reported:
            raise KeyError("seed")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not the result.json of a run with head and tail metrics at 10.") from error
    return result


def _order(row: tuple[str, str, str, str], phases: dict[int, dict[str, Any]]) -> tuple[str, bool, float]:
    """Teachers first, then students from large to small."""
    size = next(iter(phases.values()))["parameters"].get("item_table", 0)
    return row[0], row[1] == "student", -size


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
