"""`recbole-odrec benchmark new-items`: how well `add-items` places items that training has never seen.

Items that occur often are taken out of the training sessions; then a file has the first 1, 5 or 20 sessions of each.
Cases of the newest sessions, which no training has seen, tell what a device recommends with the delta.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.benchmark.updates import answered, read, trained
from recbole_odrec.bundle import Recommender
from recbole_odrec.bundle.add_items import add_items
from recbole_odrec.files import write_json, write_text
from recbole_odrec.result import versions

_SEEN = (1, 5, 20)
_OFTEN = 30  # occurrences of an item that is taken out
_PAST = 0.9  # of the sessions


def command(words: Sequence[str]) -> None:
    """Trains the student where it is not there yet; writes the numbers and a table of them."""
    parser = CommandParser("benchmark new-items", "Items that training never saw, with 1, 5 and 20 sessions seen.")
    parser.add_argument("--sessions", type=Path, required=True, help="a session a line, items apart by blanks, in time")
    parser.add_argument("--newest", type=int, default=25_000, help="sessions of these that are taken (default 25000)")
    parser.add_argument("--items", type=int, default=120, help="how many are taken out (default 120)")
    parser.add_argument("--folder", type=Path, default=Path("new-items"), help="for the run; not run again if there")
    parser.add_argument("--output", type=Path, default=Path("results/new-items.json"))
    asked = parser.parse_args(words)
    sessions = read(asked.sessions, asked.newest, 5)
    items, counts = np.unique([item for session in sessions for item in session], return_counts=True)
    new = set(np.random.default_rng(0).choice(items[counts >= _OFTEN], asked.items, replace=False).tolist())
    n_past = int(_PAST * len(sessions))
    known = [[item for item in session if item not in new] for session in sessions[:n_past]]
    bundle = trained([[session for session in known if len(session) > 1]], asked.folder) / "bundle"
    rows = [{"sessions seen": 0, "bytes": 0, **accuracy(bundle, sessions[n_past:], new)}]
    for count in _SEEN:
        rows.append(_added(bundle, sessions[:n_past], sessions[n_past:], new, count))
        sys.stderr.write(f"{rows[-1]}\n")
    told = {"command": " ".join(["recbole-odrec", "benchmark", "new-items", *words]), "machine": machine()}
    write_json(asked.output, {**told, "versions": versions(), "items": len(items), "new items": len(new), "rows": rows})
    text = table(rows)
    write_text(asked.output.with_suffix(".md"), f"# New items without training\n\n`{told['command']}`\n\n{text}")
    sys.stdout.write(f"{text}{asked.output}\n")


def _added(
    bundle: Path, past: Sequence[list[str]], later: Sequence[list[str]], new: set[str], count: int
) -> dict[str, Any]:
    """What a device recommends that has got the items from so many sessions of each."""
    left = dict.fromkeys(new, count)
    seen = []
    for session in past:
        found = {item for item in session if left.get(item)}
        if found:
            seen.append(session)
            left.update({item: left[item] - 1 for item in found})
    with tempfile.TemporaryDirectory() as work:
        file, delta, device = (Path(work) / name for name in ("sessions", "delta", "bundle"))
        # New items that have had their sessions are not in this one.
        file.write_text("".join(f"{' '.join(session)}\n" for session in seen))
        add_items(bundle, file, delta)
        shutil.copytree(bundle, device)
        Recommender(device).update(delta)
        found = accuracy(device, later, new)
        return {"sessions seen": count, "bytes": delta.stat().st_size, **found}


def accuracy(bundle: Path, sessions: Sequence[list[str]], new: set[str]) -> dict[str, float]:
    """Recall@20 of cases whose target is new, NDCG@20 of all others."""
    cases, gains = answered(bundle, sessions)
    is_new = np.array([item in new for item in cases])
    return {
        "recall@20 of new": float((gains[is_new] > 0).mean()),
        "new cases": int(is_new.sum()),
        "ndcg@20 of others": float(gains[~is_new].mean()),
        "other cases": int((~is_new).sum()),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown; what others lose is counted from the first row."""
    before = rows[0]["ndcg@20 of others"]
    head = "| sessions seen | delta | recall@20, target new | cases | ndcg@20, others | lost |"
    lines = [head, "|" + " --- |" * 6]
    for row in rows:
        cells = [row["sessions seen"], f"{row['bytes']:,}", f"{100 * row['recall@20 of new']:.1f}", row["new cases"]]
        others = row["ndcg@20 of others"]
        lines.append(f"| {' | '.join(map(str, cells))} | {100 * others:.2f} | {100 * (1 - others / before):.2f} % |")
    return "\n".join(lines) + "\n"
