"""Several runs in one table: mean and spread over seeds, from their `result.json` files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from recbole_odrec.errors import UserError
from recbole_odrec.parsing import VOLATILE
from recbole_odrec.result import models_of

# Split, group of cases, metric.
Column = tuple[str, str, str]
# Data set, phase, model, rate, settings, and which of those that nothing tells apart.
Row = tuple[str, str, str, str, str, int]
_COLUMNS: tuple[Column, ...] = (
    ("valid", "all", "ndcg@10"),
    *(("test", "all", metric) for metric in ("ndcg@10", "recall@10", "recall@20")),
    *(("test", group, "ndcg@10") for group in ("head", "tail")),
)


def summarize(paths: Iterable[str | Path], full: bool = False) -> str:
    """A Markdown table of metrics: a row for each data set, phase, model and configuration.

    Runs that differ in their seed alone share a row; a teacher that served several runs of one seed counts once.

    Args:
        paths: `result.json` files, of this version or an earlier one.
        full: every metric that the runs have, in place of six.

    Returns:
        The table; metrics in percent, as mean ± sample standard deviation over seeds, `-` where a run has none (it has
        met no test set, or has no head and tail).

    Raises:
        UserError: a file that is not a result.
    """
    rows: dict[Row, dict[int, dict[str, Any]]] = defaultdict(dict)
    teachers: dict[Row, Row] = {}  # by what their students' runs were asked for
    for path in paths:
        result = _read(Path(path))
        config, seed = result["config"], result["seed"]
        asked = config.get("compression_rate")
        for name, phase in result["phases"].items():
            is_student = name == "student"
            model = (
                f"{phase['model']}, {config['table']}" if is_student and "table" in config else _models(phase, config)
            )
            rate = f"{asked:g}x asked" if is_student and asked else "-"
            asked_for = (result["dataset"], name, model, rate, _settings(config), 0)
            row = teachers.get(asked_for, asked_for)
            if name == "teacher" and row not in rows:  # the same as one of other students is the same row
                same = (other for other in rows if other[:4] == row[:4] and _is_alike(rows[other].get(seed), phase))
                row = teachers[asked_for] = next(same, row)
            while seed in rows[row] and not _is_alike(rows[row][seed], phase):
                row = (*row[:-1], row[-1] + 1)
            rows[row][seed] = phase
    columns = _all_columns(phase for phases in rows.values() for phase in phases.values()) if full else _COLUMNS
    names = [" ".join(column).replace(" all", "") for column in columns]
    header = ["data", "model", "rate", "item table", *names, "training s", "seeds"]
    lines = [header, ["---"] * len(header)]
    for (dataset, name, model, rate, *_), phases in sorted(rows.items(), key=lambda row: _order(row[0], row[1])):
        reports = list(phases.values())
        sizes = reports[0]["parameters"]
        stored = f"{sizes['compression_rate']:.1f}x ({rate})" if rate != "-" else "1x"
        tables = [report["parameters"].get("item_table", 0) for report in reports]
        table = " to ".join(f"{n_stored:,}" for n_stored in sorted({min(tables), max(tables)}) if n_stored) or "-"
        cells = [_spread([value for r in reports if (value := _value(r, column)) is not None]) for column in columns]
        seconds = [r["seconds"] for r in reports if "seconds" in r]
        seeds = ", ".join(map(str, sorted(phases)))
        time = f"{mean(seconds):.0f}" if seconds else "-"
        lines.append([dataset, f"{name} ({model})", stored, table, *cells, time, seeds])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _models(phase: dict[str, Any], config: dict[str, Any]) -> str:
    """Model of a phase; of teachers, those asked for where the data may have left some out, seed by seed."""
    if "weights" not in phase:
        return models_of(phase)
    return ", ".join(
        f"{entry.get('model', 'a file')}{' where it helps' if entry.get('weight') == 'auto' else ''}"
        for entry in config["teachers"]
    )


def _settings(config: dict[str, Any]) -> str:
    """What a run's numbers depend on beside its seed."""
    kept = {key: value for key, value in config.items() if key not in VOLATILE | {"seed", "decided"}}
    teachers = [{**entry, "checkpoint": "checkpoint" in entry} for entry in config.get("teachers") or []]
    return json.dumps({**kept, "teachers": teachers}, sort_keys=True)


def _is_alike(one: dict[str, Any] | None, other: dict[str, Any]) -> bool:
    """Whether two phases of one seed are one, counted by both runs."""
    return one is not None and all(one.get(split) == other.get(split) for split in ("valid", "test"))


def _read(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        hash((result["dataset"], result["seed"], result["config"].get("compression_rate")))
        if not all(phase["parameters"].keys() and phase["model"] for phase in result["phases"].values()):
            raise KeyError("parameters")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not the result.json of a run.") from error
    return result


def _value(phase: dict[str, Any], column: Column) -> float | None:
    """A metric in percent, if the phase has it."""
    split, group, metric = column
    value = ((phase.get(split) or {}).get(group) or {}).get(metric)
    return None if value is None else 100 * value


def _all_columns(phases: Iterable[dict[str, Any]]) -> list[Column]:
    """Everything that any of them has, in the order of the first that has it."""
    groups = ("all", "head", "tail")
    return list(
        dict.fromkeys(
            (split, group, metric)
            for phase in phases
            for split in ("valid", "test")
            for group in (groups if split == "test" else groups[:1])
            for metric in (phase.get(split) or {}).get(group) or {}
        )
    )


def _order(row: Row, phases: dict[int, dict[str, Any]]) -> tuple[str, bool, float]:
    """Teachers first, then students from large to small."""
    size = next(iter(phases.values()))["parameters"].get("item_table", 0)
    return row[0], row[1] == "student", -size


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
