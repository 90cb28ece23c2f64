"""Tables of the runs there are, and their plots, all made of the JSON files.

`README.md` is one leaderboard over all data sets; `accuracy.md` has every row and metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

from recbole_odrec.benchmark.accuracy.leaderboard import leaderboard, line, n_bytes, seeds, sizes_text, spread
from recbole_odrec.benchmark.accuracy.ranks import METRICS
from recbole_odrec.benchmark.accuracy.rows import TEACHER, Row
from recbole_odrec.benchmark.accuracy.tested import TARGETS, Tested, differences, read_runs
from recbole_odrec.errors import UserError
from recbole_odrec.evaluation import LENGTHS
from recbole_odrec.files import write_text


def write_report(rows: Mapping[str, Mapping[str, Row]], runs: Path, output: Path) -> list[Path]:
    """Writes `README.md`, `accuracy.md`, `accuracy-size.png` and `head-tail.png` into `output`; returns their paths.

    The pictures show data sets with students of several sizes; without one they are left out.

    Raises:
        UserError: no tested run yet, or one that is none of its row any more.
    """
    tested = read_runs(rows, runs)
    if not tested:
        raise UserError(f"no tested run under {runs}: run `recbole-odrec benchmark accuracy` first.")
    from recbole_odrec.benchmark.accuracy.plots import plot_head_tail, plot_size

    drawn = {dataset: of_one for dataset, of_one in tested.items() if len(_student_sizes(of_one)) > 1}
    pages = {"README.md": leaderboard(tested, bool(drawn)), "accuracy.md": _markdown(tested)}
    for name, lines in pages.items():
        write_text(output / name, "\n".join(lines) + "\n")
    plots = {"accuracy-size.png": plot_size, "head-tail.png": plot_head_tail} if drawn else {}
    for name, plot in plots.items():
        plot(drawn, output / name)
    return [output / name for name in (*pages, *plots)]


def _student_sizes(rows: Mapping[str, Tested]) -> set[int]:
    return {row.sizes["item_table_bytes"] for row in rows.values() if row.row.kind == "student"}


# ---------------------------------------------------------------------- every row and metric


def _markdown(tested: dict[str, dict[str, Tested]]) -> Iterator[str]:
    yield "# Every row of the accuracy benchmark\n"
    yield "Written by `recbole-odrec benchmark accuracy` from `accuracy/*/*.json`; do not edit. [README.md](README.md)"
    yield "has the main rows, and says how they were measured."
    for dataset, rows in tested.items():
        yield f"\n## {dataset}\n"
        yield sizes_text(rows) + "\n"
        yield "\n".join(_main_table(rows))
        yield _LENGTHS
        yield "\n".join(_length_table(rows))
        yield from _differences_text(rows)
        yield f"\n```bash\nrecbole-odrec benchmark accuracy --datasets {dataset}\n```"


_LENGTHS = """
Recall@20 by items of the history, then of targets that stand in the history already (repeated) and of the others (new),
and the epochs that validation chose, of those it could choose from: RecBole's models, whose learning rate does not fall
to the last of them, might have gone on there.
"""

_GROUPS = (("head", "recall@20"), ("tail", "recall@20"))


def _main_table(rows: dict[str, Tested]) -> Iterator[str]:
    """All metrics of one data set."""
    metrics = [f"{name}@{k}" for k in (5, 10, 20) for name in ("recall", "mrr", "ndcg")]
    columns = [*(("all", metric) for metric in metrics), *_GROUPS]
    yield line(["model", "item table", "bytes", *metrics, "head recall@20", "tail recall@20", "seeds"])
    yield line(["---"] * (len(columns) + 4))
    for row in rows.values():
        sizes = row.sizes
        full = rows[TEACHER].sizes["item_table_bytes"] if TEACHER in rows else 0  # what a narrow model is small against
        rate = max(4 * sizes["item_table_dense"], full) / sizes["item_table_bytes"]
        stored = "-" if row.row.kind == "counting" else "1x" if rate == 1 else f"{rate:.1f}x"
        cells = [spread(row.percent(*column)) for column in columns]
        title = f"**{row.row.title}**" if row.row.is_bold else row.row.title
        yield line([title, stored, n_bytes(sizes["item_table_bytes"]), *cells, seeds(row)])


def _length_table(rows: dict[str, Tested]) -> Iterator[str]:
    groups = [*LENGTHS, *TARGETS]
    yield line(["model", *groups, "epochs"])
    yield line(["---"] * (len(groups) + 2))
    for row in rows.values():
        cells = [spread(row.percent(group, "recall@20")) for group in groups]
        yield line([row.row.title, *cells, _epochs(row)])


def _epochs(row: Tested) -> str:
    if row.row.kind == "counting":
        return "-"
    run, of_sessions = row.runs[0], row.row.of_sessions
    chosen = run["config"]["refit_epochs"] if of_sessions else run["best_epoch"] + 1
    return f"{chosen} of {run['config']['epochs']}"


def _differences_text(rows: dict[str, Tested]) -> Iterator[str]:
    """Students beside the full teacher and all that taught them; then beside the best of RecBole's and of counting."""
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
    ours = [row for name, row in rows.items() if name == TEACHER or row in students]
    for kind, what in (("RecBole", "RecBole's models"), ("counting", "the models that count")):
        others = [row for row in rows.values() if row.row.kind == kind]
        if others:
            best = max(others, key=lambda row: mean(row.percent("all", "ndcg@20")))
            yield from _beside(f"{best.row.title}, the best of {what} here", best, ours)


def _beside(what: str, other: Tested, rows: Sequence[Tested]) -> Iterator[str]:
    """Ratio and differences to another row, of those that share a seed with it."""
    rows = [row for row in rows if set(row.seeds) & set(other.seeds)]
    if not rows:
        return
    yield (
        f"\nBeside {what}: ratio of the NDCG@20 above, and differences in points over the seeds of both, with the\n"
        "95 % interval of 10,000 draws of test sessions or users (it says nothing about other seeds):\n"
    )
    yield line(["model", "ratio", *METRICS])
    yield line(["---"] * (len(METRICS) + 2))
    for row in rows:
        ratio = mean(row.percent("all", "ndcg@20")) / mean(other.percent("all", "ndcg@20"))
        cells = [f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" for d in differences(row, other).values()]
        yield line([row.row.title, f"{ratio:.3f}", *cells])
