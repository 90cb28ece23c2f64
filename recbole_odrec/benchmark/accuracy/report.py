"""Tables of the runs there are, and their plots: `results/README.md` and two pictures, made of the JSON files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from recbole_odrec.benchmark.accuracy.ranks import METRICS
from recbole_odrec.benchmark.accuracy.rows import TEACHER, Row
from recbole_odrec.benchmark.accuracy.tested import TARGETS, Tested, differences, read_runs
from recbole_odrec.errors import UserError
from recbole_odrec.evaluation import LENGTHS
from recbole_odrec.files import write_text


def write_report(rows: Mapping[str, Mapping[str, Row]], runs: Path, output: Path) -> list[Path]:
    """Writes `README.md`, `accuracy-size.png` and `head-tail.png` into `output`; returns their paths.

    Raises:
        UserError: no tested run yet.
    """
    tested = read_runs(rows, runs)
    if not tested:
        raise UserError(f"no tested run under {runs}: run `recbole-odrec benchmark accuracy` first.")
    from recbole_odrec.benchmark.accuracy.plots import plot_head_tail, plot_size

    paths = [output / "README.md", output / "accuracy-size.png", output / "head-tail.png"]
    write_text(paths[0], "\n".join(_markdown(tested)) + "\n")
    plot_size(tested, paths[1])
    plot_head_tail(tested, paths[2])
    return paths


# ---------------------------------------------------------------------- the text


def _markdown(tested: dict[str, dict[str, Tested]]) -> Iterator[str]:
    yield "# Accuracy on session benchmarks\n"
    yield "Written by `recbole-odrec benchmark accuracy` from `accuracy/*/*.json`; do not edit.\n"
    yield _SETTING
    yield "\n## Summary\n"
    yield "\n".join(summary_table(tested))
    for dataset, rows in tested.items():
        data = next(iter(rows.values())).runs[0]["data"]
        parts = zip(data["sessions"], data["cases"], strict=True)
        train, valid, test = (f"{n_sessions:,} sessions, {n_cases:,} cases" for n_sessions, n_cases in parts)
        yield f"\n## {dataset}\n"
        yield f"{data['items']:,} items. Trained on {train}, of them {valid} at first for validation; test: {test}.\n"
        yield "\n".join(_main_table(rows))
        yield _LENGTHS
        yield "\n".join(_length_table(rows))
        yield from _differences_text(rows)
        yield f"\n```bash\nrecbole-odrec benchmark accuracy --datasets {dataset}\n```"
    yield "\n![Accuracy against bytes of the item table](accuracy-size.png)\n"
    yield "![Recall of head and tail targets](head-tail.png)"


_SETTING = """\
Full ranking over the catalogue; every prefix of a test session is a case with one target; metrics in percent, recall is
the hit rate (P@K of the papers). Epochs are chosen on validation (the last 10 % of training sessions in time, NDCG@10,
seed 1); then the model is trained anew on training and validation sessions for so many epochs and meets the test set
once, the same for every row. Means over the seeds named, ± sample standard deviation. Item table in bytes as it ships:
float32, or codes of one byte with 8-bit codebooks, which are what was evaluated. Head: the 20 % most frequent items.
All settings of a row stand in its file, `accuracy/rows/<data set>/<row>.yaml`."""


_LENGTHS = """
Recall@20 by items of the history, then of targets that stand in the history already (repeated) and of the others (new),
and the epochs that validation chose, of those it could choose from: RecBole's models, whose learning rate does not fall
to the last of them, might have gone on there.
"""

_GROUPS = (("head", "recall@20"), ("tail", "recall@20"))
_SUMMARY = (
    *(("all", metric) for metric in ("recall@5", "recall@20", "mrr@20", "ndcg@20")),
    *_GROUPS,
    *((group, "recall@20") for group in TARGETS),
)


def summary_table(tested: dict[str, dict[str, Tested]]) -> Iterator[str]:
    """The main rows of all data sets in a few columns, as Markdown lines: what the project's own README shows."""
    columns = [metric if group == "all" else f"{group} {metric}" for group, metric in _SUMMARY]
    yield _line(["data", "model", "item table", *columns, "seeds"])
    yield _line(["---"] * (len(columns) + 4))
    for dataset, rows in tested.items():
        for row in (row for row in rows.values() if not row.row.is_aside):
            cells = [_spread(row.percent(*column)) for column in _SUMMARY]
            yield _line([dataset, row.row.title, _bytes(row.sizes["item_table_bytes"]), *cells, _seeds(row)])


def _main_table(rows: dict[str, Tested]) -> Iterator[str]:
    """All metrics of one data set."""
    metrics = [f"{name}@{k}" for k in (5, 10, 20) for name in ("recall", "mrr", "ndcg")]
    columns = [*(("all", metric) for metric in metrics), *_GROUPS]
    yield _line(["model", "item table", "bytes", *metrics, "head recall@20", "tail recall@20", "seeds"])
    yield _line(["---"] * (len(columns) + 4))
    for row in rows.values():
        sizes = row.sizes
        full = rows[TEACHER].sizes["item_table_bytes"] if TEACHER in rows else 0  # what a narrow model is small against
        rate = max(4 * sizes["item_table_dense"], full) / sizes["item_table_bytes"]
        stored = "1x" if rate == 1 else f"{rate:.1f}x"
        cells = [_spread(row.percent(*column)) for column in columns]
        title = f"**{row.row.title}**" if row.row.is_bold else row.row.title
        yield _line([title, stored, _bytes(sizes["item_table_bytes"]), *cells, _seeds(row)])


def _length_table(rows: dict[str, Tested]) -> Iterator[str]:
    groups = [*LENGTHS, *TARGETS]
    yield _line(["model", *groups, "epochs"])
    yield _line(["---"] * (len(groups) + 2))
    for row in rows.values():
        cells = [_spread(row.percent(group, "recall@20")) for group in groups]
        config = row.runs[0]["config"]
        yield _line([row.row.title, *cells, f"{config['refit_epochs']} of {config['epochs']}"])


def _differences_text(rows: dict[str, Tested]) -> Iterator[str]:
    """Students beside the full teacher and beside all that taught them; then beside the best of RecBole's."""
    students = [row for row in rows.values() if row.row.teachers]
    for name, teacher in rows.items():
        own = [
            row
            for row in students
            if name in {one.row for one in row.row.teachers} or row.row.name == teacher.row.teaches
        ]
        taught = students if name == TEACHER else own
        if taught:
            yield from _beside(f"{teacher.row.title}, the teacher", teacher, taught)
    baselines = [row for row in rows.values() if row.row.kind == "RecBole"]
    if baselines:
        best = max(baselines, key=lambda row: mean(row.percent("all", "ndcg@20")))
        ours = [row for name, row in rows.items() if name == TEACHER or row in students]
        yield from _beside(f"{best.row.title}, the best of RecBole's models here", best, ours)


def _beside(what: str, other: Tested, rows: Sequence[Tested]) -> Iterator[str]:
    """Ratio and differences to another row, of those that share a seed with it."""
    rows = [row for row in rows if set(row.seeds) & set(other.seeds)]
    if not rows:
        return
    yield (
        f"\nBeside {what}: ratio of the NDCG@20 above, and differences in points over the seeds of both, with the\n"
        "95 % interval of 10,000 draws of test sessions (it says nothing about other seeds):\n"
    )
    yield _line(["model", "ratio", *METRICS])
    yield _line(["---"] * (len(METRICS) + 2))
    for row in rows:
        ratio = mean(row.percent("all", "ndcg@20")) / mean(other.percent("all", "ndcg@20"))
        cells = [f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" for d in differences(row, other).values()]
        yield _line([row.row.title, f"{ratio:.3f}", *cells])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def _seeds(row: Tested) -> str:
    return ", ".join(map(str, row.seeds))


def _bytes(number: int) -> str:
    return f"{number / 1e6:.2f} MB"
