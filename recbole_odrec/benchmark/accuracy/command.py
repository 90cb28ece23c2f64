"""`recbole-odrec benchmark accuracy`: runs what is missing, then writes tables and plots from the runs there are."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.accuracy.rows import SEEDS, Row, read_rows
from recbole_odrec.errors import UserError, did_you_mean


def command(words: Sequence[str]) -> None:
    """Runs the benchmark as asked on the command line."""
    parser = CommandParser("benchmark accuracy", "Students, teachers, neighbourhood models and RecBole's, compared.")
    parser.add_argument("--datasets", nargs="+", help="default: all that have rows")
    parser.add_argument("--rows", nargs="+", help="names of their files, without .yaml (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="of the rows in bold (default 1 2 3)")
    parser.add_argument("--data_path", default="dataset", help="folder of the data sets (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("saved/accuracy"), help="checkpoints (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results"), help="tables and plots (default: %(default)s)")
    parser.add_argument(
        "--tables_only", action="store_true", help="run nothing: tables and plots of the runs there are"
    )
    parser.add_argument("--no_progress", action="store_true", help="no progress bars")
    asked = parser.parse_args(words)
    runs = asked.output / "accuracy"
    rows = read_rows(runs / "rows")
    if not rows:
        raise UserError(
            f"no row under {runs / 'rows'}: a checkout has them as results/accuracy/rows; give its results folder "
            "as --output, or write one there."
        )
    from recbole_odrec.benchmark.accuracy.report import write_report

    chosen = _chosen(asked, rows)
    if not asked.tables_only:
        _run(asked, chosen, rows, runs)
    for path in write_report(rows, runs, asked.output):
        sys.stdout.write(f"{path}\n")


def _chosen(asked: Namespace, rows: Mapping[str, Mapping[str, Row]]) -> list[Row]:
    """The rows asked for, on the data sets asked for."""
    names = {name: None for of_one in rows.values() for name in of_one}
    for what, asked_names, known in (("row", asked.rows, names), ("data set", asked.datasets, rows)):
        for name in asked_names or ():
            if name not in known:
                raise UserError(f"no {what} `{name}`{did_you_mean(name, known)}: {', '.join(known)}.")
    chosen = [
        row
        for dataset in asked.datasets or rows
        for name, row in rows[dataset].items()
        if not asked.rows or name in asked.rows
    ]
    if not chosen:
        raise UserError(f"no row `{' '.join(asked.rows)}` of {' '.join(asked.datasets)}: {', '.join(names)}.")
    return chosen


def _run(asked: Namespace, chosen: Sequence[Row], rows: Mapping[str, Mapping[str, Row]], runs: Path) -> None:
    from recbole_odrec.benchmark.accuracy.meaning import meaning
    from recbole_odrec.benchmark.accuracy.runs import Runner, plan_jobs

    for row in chosen:  # a wrong setting is refused before hours are spent on the rows before
        for name in (row.name, *row.names_of_teachers):
            meaning(rows[row.dataset][name])
    for dataset, of_sessions in {row.dataset: row.of_sessions for row in chosen}.items():
        folder = Path(asked.data_path) / dataset
        if not folder.is_dir() and dataset != "ml-100k":  # that one comes with RecBole
            write = f"write it with `recbole-odrec convert --name {dataset} --output {asked.data_path} ..`"
            put = f"put {dataset}.inter into it, users with their items in time, or give another --data_path"
            raise UserError(f"{folder} does not exist: {write if of_sessions else put}.")
    runner = Runner(rows, runs, asked.work, asked.data_path, not asked.no_progress)
    jobs = list(plan_jobs(chosen, asked.seeds))
    for number, job in enumerate(jobs, start=1):
        done = runner.is_done(job)
        state = "there already" if done else "running"
        sys.stderr.write(f"[{number}/{len(jobs)}] {job.row.dataset} {job.name}: {state}\n")
        if not done:
            runner.carry_out(job)
