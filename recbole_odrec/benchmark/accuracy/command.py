"""`recbole-odrec benchmark accuracy`: runs what is missing, then writes tables and plots from the runs there are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.accuracy.rows import ROWS, SEEDS
from recbole_odrec.errors import UserError, did_you_mean

DATASETS = ("tmall", "retailrocket")


def command(words: Sequence[str]) -> None:
    """Runs the benchmark as asked on the command line."""
    parser = CommandParser("benchmark accuracy", "Students, teachers and RecBole's models on session benchmarks.")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), help="default: tmall retailrocket")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help=f"default: all of {', '.join(ROWS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="of the rows in bold (default 1 2 3)")
    parser.add_argument("--data_path", default="dataset", help="folder of `convert`'s files (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("saved/accuracy"), help="checkpoints (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results"), help="tables and plots (default: %(default)s)")
    parser.add_argument(
        "--tables_only", action="store_true", help="run nothing: tables and plots of the runs there are"
    )
    parser.add_argument("--no_progress", action="store_true", help="no progress bars")
    asked = parser.parse_args(words)
    for name in asked.rows:
        if name not in ROWS:
            raise UserError(f"no row `{name}`{did_you_mean(name, ROWS)}: {', '.join(ROWS)}.")
    from recbole_odrec.benchmark.accuracy.report import write_report

    runs = asked.output / "accuracy"
    if not asked.tables_only:
        _run(asked, runs)
    for path in write_report(runs, asked.output):
        sys.stdout.write(f"{path}\n")


def _run(asked: object, runs: Path) -> None:
    from recbole_odrec.benchmark.accuracy.runs import Runner, plan_jobs

    for dataset in asked.datasets:
        if not (Path(asked.data_path) / dataset).is_dir():
            raise UserError(
                f"{Path(asked.data_path) / dataset} does not exist: write it with `recbole-odrec convert --name "
                f"{dataset} --output {asked.data_path} ..`."
            )
    runner = Runner(runs, asked.work, asked.data_path, not asked.no_progress)
    jobs = list(plan_jobs(asked.datasets, asked.rows, asked.seeds))
    for number, job in enumerate(jobs, start=1):
        done = runner.is_done(job)
        state = "there already" if done else "running"
        sys.stderr.write(f"[{number}/{len(jobs)}] {job.dataset} {job.name}: {state}\n")
        if not done:
            runner.carry_out(job)
