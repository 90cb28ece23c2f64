"""`recbole-odrec benchmark user-state`: what earlier sessions bring on a device, measured on test cases."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.bundle.source import load_source
from recbole_odrec.bundle.user_weights import UserCase, UserWeights, learn_user_weights, ndcg_of, user_cases
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json, write_text
from recbole_odrec.result import versions

_MOST_CASES = 4000
_FIELDS = ("vector_weight", "decay", "seen_weight")
_HEADER = """# What a state of the user brings

NDCG@20 in percent on test cases; the model is shown the session that goes on, those before it are in the state alone.
`off`: without a state; `seen`: what was seen counts, the vector does not; `vector`: the other way round; `on`: both.
Weights are learnt on validation cases. The gain is that of `on` over `off`, with the standard error of its mean.

| data | model | sessions | users | cases | off | seen | vector | on | gain | vector_weight | decay | seen_weight |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def command(words: Sequence[str]) -> None:
    """Learns weights of each checkpoint, measures them, prints and writes the table."""
    parser = CommandParser(
        "benchmark user-state", "NDCG with and without a state of the user, by length of their past."
    )
    parser.add_argument(
        "--checkpoint", action="append", required=True, metavar="FILE", help="best.pth; may be repeated"
    )
    sessions = "where sessions end, one for each checkpoint: 30m, 6h, 1d or a number of items"
    parser.add_argument("--sessions", action="append", required=True, metavar="RULE", help=sessions)
    parser.add_argument("--data_path", metavar="FOLDER", help="holds the data sets' folders, if they have moved")
    made = "the command that made the checkpoints, for the page"
    parser.add_argument("--made_by", action="append", default=[], metavar="COMMAND", help=made)
    parser.add_argument("--output", type=Path, default=Path("results/user-state.json"))
    asked = parser.parse_args(words)
    if len(asked.checkpoint) != len(asked.sessions):
        raise UserError(f"{len(asked.checkpoint)} --checkpoint and {len(asked.sessions)} --sessions, expected as many.")
    rows = []
    for path, rule in zip(asked.checkpoint, asked.sessions, strict=True):
        rows += measured(Path(path), rule, asked.data_path)
    words = [word for word in words if not word.startswith("--made_by=")]
    commands = [*asked.made_by, shlex.join(["recbole-odrec", "benchmark", "user-state", *words])]
    result = {"commands": commands, "machine": machine(), "versions": versions(), "rows": rows}
    write_json(asked.output, result)
    write_text(asked.output.with_suffix(".md"), "\n".join([markdown(rows), "```bash", *commands, "```", ""]))
    sys.stdout.write(f"{markdown(rows)}{asked.output}\n")


def measured(path: Path, rule: str, data_path: str | None = None) -> list[dict[str, Any]]:
    """A row for each group of users: with at least three sessions or ten events, with a past, and new ones."""
    source = load_source(path, data_path, in_seconds=True)
    learnt = learn_user_weights(source, rule)
    vector, decay, seen = (learnt[name] for name in _FIELDS)
    choices = [
        UserWeights(),
        UserWeights(0.0, 1.0, seen),
        UserWeights(vector, decay, 0.0),
        UserWeights(vector, decay, seen),
    ]
    cases = user_cases(source, 2, rule)
    cases = [cases[at] for at in np.sort(np.random.default_rng(0).permutation(len(cases))[:_MOST_CASES])]
    ndcg = 100 * ndcg_of(source, cases, choices)  # [4, cases]
    rows = []
    for users, is_one in _GROUPS.items():
        one = ndcg[:, [is_one(case) for case in cases]]
        row = {"data": source.config["dataset"], "model": type(source.model).__name__, "sessions": rule, "users": users}
        rows.append({**row, "cases": one.shape[1], **{name: learnt[name] for name in _FIELDS}})
        if one.shape[1]:
            gain = one[3] - one[0]
            rows[-1] |= dict(zip(("off", "seen", "vector", "on"), one.mean(1).tolist(), strict=True))
            rows[-1] |= {"gain": float(gain.mean()), "gain_error": float(gain.std() / np.sqrt(len(gain)))}
    return rows


def _is_regular(case: UserCase) -> bool:
    n_events = len(case.session) + sum(map(len, case.past))
    return bool(case.past) and (len(case.past) >= 2 or n_events >= 10)


_GROUPS = {
    "3 sessions or 10 events": _is_regular,
    "any past": lambda case: bool(case.past),
    "new": lambda case: not case.past,
}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table, without rows of no case."""
    lines = []
    for row in rows:
        if row["cases"]:
            share = f"{100 * row['gain'] / row['off']:+.1f} ± {100 * row['gain_error'] / row['off']:.1f} %"
            scores = [f"{row[name]:.2f}" for name in ("off", "seen", "vector", "on")]
            first = [row["data"], row["model"], row["sessions"], row["users"], f"{row['cases']:,}"]
            lines.append(" | ".join([*first, *scores, share, *(f"{row[name]:g}" for name in _FIELDS)]))
    return _HEADER + "".join(f"| {line} |\n" for line in lines)
