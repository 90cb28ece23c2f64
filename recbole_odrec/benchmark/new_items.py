"""`recbole-odrec benchmark new-items`: how well `add-items` places items that training has never seen.

Items that occur often are taken out of the training sessions; then a file has the first 1, 5 or 20 sessions of each.
Cases of the newest sessions, which no training has seen, tell what a device recommends with the delta. With an item
file each row comes once more with what it says of items, and beside no session at all stand items that get the mean of
known rows.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.benchmark.updates import answered, read, trained
from recbole_odrec.bundle import Recommender
from recbole_odrec.bundle.add_items import add_items
from recbole_odrec.data.table_reader import Header, read_columns
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json, write_text
from recbole_odrec.result import versions

_SEEN = (1, 5, 20)
_OFTEN = 30  # occurrences of an item that is taken out
_PAST = 0.9  # of the sessions


def command(words: Sequence[str]) -> None:
    """Trains the student where it is not there yet; writes the numbers and a table of them."""
    parser = CommandParser("benchmark new-items", "Items that training never saw, with 0, 1, 5 and 20 sessions seen.")
    sessions_help = "a session a line, items apart by blanks, or with RecBole's header, in time"
    parser.add_argument("--sessions", type=Path, required=True, help=sessions_help)
    parser.add_argument("--newest", type=int, default=25_000, help="sessions of these that are taken (default 25000)")
    parser.add_argument("--items", type=int, default=120, help="how many are taken out (default 120)")
    parser.add_argument("--item_file", type=Path, help="atomic file that says something of items (.item)")
    parser.add_argument("--exclude_seen", action="store_true", help="leave a session's items out of its answers")
    parser.add_argument("--folder", type=Path, default=Path("new-items"), help="for the run; not run again if there")
    parser.add_argument("--output", type=Path, default=Path("results/new-items.json"), help="other data's rows stay")
    asked = parser.parse_args(words)
    others = _other_runs(asked.output, asked.sessions.stem)
    sessions = read(asked.sessions, asked.newest, 5)
    items, counts = np.unique([item for session in sessions for item in session], return_counts=True)
    new = set(np.random.default_rng(0).choice(items[counts >= _OFTEN], asked.items, replace=False).tolist())
    n_past = int(_PAST * len(sessions))
    past = sessions[:n_past]
    known = [[item for item in session if item not in new] for session in past]
    bundle = trained([[session for session in known if len(session) > 1]], asked.folder) / "bundle"
    measured = partial(accuracy, sessions=sessions[n_past:], new=new, exclude_seen=asked.exclude_seen)
    rows: list[dict[str, Any]] = [{"sessions seen": 0, "by": "", "bytes": 0, **measured(bundle)}]
    with tempfile.TemporaryDirectory() as work:
        ways = [(count, "sessions", None) for count in _SEEN]
        if asked.item_file is not None:
            mean, said = _item_files(Path(work), asked.item_file, {*items.tolist()})
            both = ((count, "item file and sessions", said) for count in _SEEN)
            ways = [(0, "mean row", mean), (0, "item file", said), *sorted([*ways, *both], key=lambda way: way[0])]
        for count, by, file in ways:
            seen = Path(work) / "sessions" if count else None
            if seen is not None:
                seen.write_text("".join(f"{' '.join(one)}\n" for one in first_sessions(past, new, count)))
            rows.append({"sessions seen": count, "by": by, **_added(bundle, seen, file, measured)})
            say(f"{rows[-1]}")
    told = {"data": asked.sessions.stem, "command": " ".join(["recbole-odrec", "benchmark", "new-items", *words])}
    told |= {"machine": machine(), "versions": versions(), "items": len(items), "new items": len(new), "rows": rows}
    runs = [*others, told]
    write_json(asked.output, {"runs": runs})
    write_text(asked.output.with_suffix(".md"), page(runs))
    sys.stdout.write(f"{table(rows)}{asked.output}\n")


def say(line: str) -> None:
    """On stderr."""
    sys.stderr.write(f"{line}\n")


def _other_runs(path: Path, data: str) -> list[dict[str, Any]]:
    """What the output holds of other data."""
    if not path.exists():
        return []
    try:
        return [run for run in json.loads(path.read_text(encoding="utf-8"))["runs"] if run["data"] != data]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no runs of this command: give another --output, or remove it.") from error


def _item_files(work: Path, path: Path, items: set[str]) -> tuple[Path, Path]:
    """Two item files of these items: they are all alike, and what the file given says of them."""
    header = Header.read(path, "\t")
    header.require({"item_id": "token"})
    columns = read_columns(path, "\t", None, [*header.kinds])
    kept = [row for item, *row in zip(columns["item_id"], *columns.values(), strict=True) if item in items]
    names = "\t".join(f"{name}:{kind}" for name, kind in header.kinds.items())
    mean, said = work / "mean.item", work / "said.item"
    mean.write_text("item_id:token\tis:token\n" + "".join(f"{item}\tsold\n" for item in sorted(items)))
    said.write_text("".join(f"{line}\n" for line in [names, *map("\t".join, kept)]))
    return mean, said


def first_sessions(past: Sequence[list[str]], new: set[str], count: int) -> list[list[str]]:
    """Sessions in which a new item is among its first so many; those of items that have had theirs are left out."""
    left = dict.fromkeys(new, count)
    seen = []
    for session in past:
        found = {item for item in session if left.get(item)}
        if found:
            seen.append(session)
            left.update({item: left[item] - 1 for item in found})
    return seen


def _added(bundle: Path, sessions: Path | None, file: Path | None, measured: Callable[[Path], dict]) -> dict[str, Any]:
    """What a device recommends that has got the items by these files."""
    with tempfile.TemporaryDirectory() as work:
        delta, device = Path(work) / "delta", Path(work) / "bundle"
        add_items(bundle, sessions, delta, file)
        shutil.copytree(bundle, device)
        Recommender(device).update(delta)
        return {"bytes": delta.stat().st_size, **measured(device)}


def accuracy(
    bundle: Path, sessions: Sequence[list[str]], new: set[str], exclude_seen: bool = False
) -> dict[str, float]:
    """Recall@20 of cases whose target is new, NDCG@20 of all others, and of all."""
    cases, gains = answered(bundle, sessions, exclude_seen)
    is_new = np.array([item in new for item in cases])
    return {
        "recall@20 of new": float((gains[is_new] > 0).mean()),
        "new cases": int(is_new.sum()),
        "ndcg@20 of others": float(gains[~is_new].mean()),
        "other cases": int((~is_new).sum()),
        "ndcg@20 of all": float(gains.mean()),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown; what others lose is counted from the first row."""
    before = rows[0]["ndcg@20 of others"]
    head = (
        "| sessions seen | placed by | delta | recall@20, target new | cases | ndcg@20, others | lost | ndcg@20, all |"
    )
    lines = [head, "|" + " --- |" * 8]
    for row in rows:
        by = row.get("by", "sessions" if row["sessions seen"] else "")
        cells = [row["sessions seen"], by, f"{row['bytes']:,}", f"{100 * row['recall@20 of new']:.1f}"]
        others, of_all = row["ndcg@20 of others"], row.get("ndcg@20 of all")
        cells += [f"{row['new cases']:,}", f"{100 * others:.2f}", f"{100 * (1 - others / before):.2f} %"]
        lines.append(f"| {' | '.join(map(str, cells))} | {'' if of_all is None else f'{100 * of_all:.2f}'} |")
    return "\n".join(lines) + "\n"


def page(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown, a section a data set."""
    parts = [f"\n## {run['data']}\n\n`{run['command']}`\n\n{table(run['rows'])}" for run in runs]
    return "\n".join(["# New items without training", *parts])
