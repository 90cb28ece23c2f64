"""`recbole-odrec benchmark updates`: a shop over time, whose devices get deltas: bytes against accuracy.

Sessions are cut in time. A base student is trained on the first part and goes to the devices; after each further slice
a teacher and a student are trained on all sessions so far, and every bundle answers the cases of the slice behind. The
numbers of one file of sessions stand beside those of others.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.bundle import Recommender
from recbole_odrec.bundle.add_items import read_sessions
from recbole_odrec.bundle.delta_maker import write_delta
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.config.reading import read_word
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json, write_text
from recbole_odrec.quick_start import run
from recbole_odrec.result import versions

_NAME, _K, _AT_ONCE = "slices", 20, 512
_CHECKED = 1000  # sessions that validation and export look at
# The recipe's first teacher alone, and narrow: a run of minutes on a core. Its epochs stand in its own entry: it would
# have no more than an update's student otherwise, and an update would learn from another teacher than a retraining.
_TEACHER = {
    **{"model": "SASRecTeacher", "epochs": 5},
    **{"repeat_scores": False, "normalize_items": True, "table_dropout_prob": 0.2},
}
_SETTINGS = {"recipe": "retailrocket", "hidden_size": 64, "compression_rate": 14, "teachers": [_TEACHER]}
_OF_UPDATES = {"epochs": 1, "learning_rate": 0.004}  # whole numbers alone move, from where they are


def command(words: Sequence[str]) -> None:
    """Trains what is not there yet; writes the numbers and a table of them."""
    parser = CommandParser("benchmark updates", "Bytes and accuracy of updates over time.")
    parser.add_argument("--sessions", type=Path, required=True, help="a session a line, items apart by blanks, in time")
    parser.add_argument("--newest", type=int, default=25_000, help="sessions of these that are taken (default 25000)")
    parser.add_argument("--occurrences", type=int, default=5, help="of an item that is kept (default 5)")
    parser.add_argument("--base", type=float, default=0.8, help="share before the first update (default 0.8)")
    parser.add_argument("--updates", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.1, 0.05], help="shares of the bundle's bytes")
    parser.add_argument("--keys", nargs="+", default=[], metavar="KEY=VALUE", help="of students, such as table=rounded")
    parser.add_argument("--folder", type=Path, default=Path("updates"), help="for runs; what is there is not run again")
    parser.add_argument("--output", type=Path, default=Path("results/updates.json"))
    asked = parser.parse_args(words)
    if not (0 < asked.base < 1 and asked.updates >= 1 and all(0 < budget < 1 for budget in asked.budgets)):
        raise UserError("--base and --budgets are shares between 0 and 1, --updates at least 1.")
    keys = {key: read_word(value) for key, _, value in (word.partition("=") for word in asked.keys)}
    slices = cut(read(asked.sessions, asked.newest, asked.occurrences), asked.base, asked.updates)
    told = {"command": " ".join(["recbole-odrec", "benchmark", "updates", *words]), "machine": machine()}
    told |= {"versions": versions(), "sessions": [len(part) for part in slices]}
    results, rows = _results(asked.output), []
    _claim(asked.folder, [slices, keys] if keys else slices)
    name = " ".join([asked.sessions.name.split(".")[0], *asked.keys])
    for of_update in measure(slices, asked.budgets, asked.folder, keys):
        rows += of_update  # written update by update: a run takes long
        results[name] = {**told, "rows": rows}
        write_json(asked.output, results)
        write_text(asked.output.with_suffix(".md"), page(results))
    sys.stdout.write(f"{table(rows)}{asked.output}\n")


def _results(path: Path) -> dict[str, Any]:
    """What the file says of each file of sessions and choice of keys; nothing where there is none yet."""
    try:
        results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        page(results)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no result of `benchmark updates`: remove it, or give another --output.") from error
    return results


def _claim(folder: Path, told: Sequence[Any]) -> None:
    """A folder's students are of one cut of sessions and one choice of keys: others would be taken for its own."""
    of_these, mark = hashlib.sha256(json.dumps(told).encode()).hexdigest(), folder / "sessions.sha256"
    if mark.exists() and mark.read_text(encoding="utf-8") != of_these:
        raise UserError(f"--folder {folder} has students of other sessions, keys or cuts: give another folder.")
    write_text(mark, of_these)


# ---------------------------------------------------------------------- data


def read(path: Path, newest: int, occurrences: int) -> list[list[str]]:
    """The newest sessions of a file, of items that occur often enough in them."""
    sessions = [*read_sessions(path)][-newest:]
    items, counts = np.unique([item for session in sessions for item in session], return_counts=True)
    kept = set(items[counts >= occurrences].tolist())
    sessions = [[item for item in session if item in kept] for session in sessions]
    return [session for session in sessions if len(session) > 1]


def cut(sessions: list[list[str]], base: float, updates: int) -> list[list[list[str]]]:
    """The base, a slice for each update, and one to test the last of them on."""
    ends = np.linspace(base * len(sessions), len(sessions), updates + 2).round().astype(int).tolist()
    parts = [sessions[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    if not all(parts):
        raise UserError(f"{len(sessions):,} sessions are too few for {updates} updates: give more, or fewer updates.")
    return parts


def _write_data(folder: Path, sessions: list[list[str]], newest: list[list[str]]) -> None:
    """Training sessions; the newest of them once more for validation and test, which choose nothing here."""
    (folder / _NAME).mkdir(parents=True, exist_ok=True)
    for part, lines in (("train", sessions), ("valid", newest), ("test", newest)):
        rows = [f"{number}\t{' '.join(session)}\n" for number, session in enumerate(lines)]
        content = "session_id:token\titem_id_list:token_seq\n" + "".join(rows)
        (folder / _NAME / f"{_NAME}.{part}.inter").write_text(content, encoding="utf-8")


# ---------------------------------------------------------------------- students and what they cost


def measure(
    slices: Sequence[list[list[str]]], budgets: Sequence[float], folder: Path, keys: Mapping[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """For each update, a row for each way to make it: bytes of bundle and delta, NDCG@20 on the next slice."""
    base, shares = trained(slices[:1], folder, differs=keys), {_named(budget): budget for budget in budgets}
    before = dict.fromkeys(("retrained", *shares), base)
    whole = sum(path.stat().st_size for path in (base / "bundle").iterdir())
    for update in range(1, len(slices) - 1):
        cases = slices[update + 1]
        rows = [{"update": update, "way": "stale", "bytes": 0, **_accuracy(base / "bundle", cases, slices, update)}]
        for name, last in before.items():
            given: dict[str, Any] = {}
            if name in shares:
                given = {**_OF_UPDATES, "update_budget": int(shares[name] * whole)}
                given["update_from"] = str(last / "best.pth")
            student = trained(slices[: update + 1], folder, name, {**keys, **given})
            header = write_delta(last / "bundle", student / "bundle", student / "delta")
            row = {"update": update, "way": name, "bytes": (student / "delta").stat().st_size}
            row["bundle_bytes"] = sum(entry["bytes"] for entry in header["files"].values())
            row["teacher_table_bytes"] = int((student / "teacher_bytes").read_text())
            rows.append({**row, **_accuracy(student / "bundle", cases, slices, update)})
            before[name] = student
        yield rows


def _named(budget: float) -> str:
    return f"budget {100 * budget:g} %"


def trained(
    slices: Sequence[list[list[str]]], folder: Path, name: str = "base", differs: Mapping[str, Any] | None = None
) -> Path:
    """Folder with checkpoint and int8 bundle of a student of these sessions; trained where it is not there."""
    update = len(slices) - 1
    place, data = folder / f"{update}-{name.replace(' ', '-')}", folder / f"data-{update}"
    if (place / "bundle").exists():
        return place
    _write_data(data, [session for part in slices for session in part], slices[-1][-_CHECKED:])
    values = {
        **{"data_path": str(data), "benchmark_filename": ["train", "valid", "test"], "USER_ID_FIELD": "session_id"},
        **{"MAX_ITEM_LIST_LENGTH": 50, "checkpoint_dir": str(folder / "saved"), "show_progress": False},
        **{**_SETTINGS, **(differs or {})},
    }
    result = run("ODRec", _NAME, config_dict=values)
    phases = result["phases"]
    place.mkdir(parents=True, exist_ok=True)
    checkpoint = Path(phases["student"]["checkpoint"])
    (place / "best.pth").write_bytes(checkpoint.read_bytes())
    (place / "teacher_bytes").write_text(str(phases["teacher"]["parameters"]["item_table_bytes"]))
    export_bundle(checkpoint, place / "bundle", "int8", _K, max_ndcg_loss=1.0)
    return place


def answered(bundle: Path, sessions: Sequence[list[str]], exclude_seen: bool = False) -> tuple[list[str], np.ndarray]:
    """Every case's target and what it adds to NDCG@20, items of its session left out of the answers where asked for.

    A target that a bundle does not know is missed, and so is a case of a history that it does not know at all.
    """
    recommender = Recommender(bundle)
    cases = []
    for session in sessions:
        found = recommender.tokens.find_all(session)
        cases += [([item for item in found[:end] if item], found[end], session[end]) for end in range(1, len(found))]
    gains = np.zeros(len(cases))
    asked = [place for place, (history, target, _) in enumerate(cases) if target and history]
    for start in range(0, len(asked), _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        found, _ = recommender.recommend_ids([cases[place][0] for place in part], _K, exclude_seen)
        hits = found == np.array([cases[place][1] for place in part])[:, None]
        gains[part] = (hits / np.log2(np.arange(2, _K + 2))).sum(1)
    return [item for _, _, item in cases], gains


def _accuracy(bundle: Path, sessions: list[list[str]], slices: Sequence, update: int) -> dict[str, float]:
    """NDCG@20 over the cases of a slice, and over those whose target came with the newest update alone."""
    targets, gains = answered(bundle, sessions)
    old = set().union(*(set(session) for part in slices[:update] for session in part))
    is_new = np.array([item not in old for item in targets])
    return {
        "ndcg@20": float(gains.mean()),
        "ndcg@20 of new targets": float(gains[is_new].mean()) if is_new.any() else 0.0,
        "cases": len(targets),
        "share of new targets": float(is_new.mean()),
    }


# ---------------------------------------------------------------------- the table


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a section a file of sessions, with its command."""
    sections = [
        f"## {name}\n\n{' + '.join(f'{size:,}' for size in told['sessions'])} sessions.\n\n"
        f"`{told['command']}`\n\n{table(told['rows'])}"
        for name, told in sorted(results.items())
    ]
    return "\n".join(["# Updates over time\n", *sections])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown; bytes beside the bundle's and those of the teacher's table, accuracy beside that of retraining."""
    full = {row["update"]: row for row in rows if row["way"] == "retrained"}
    header = "| update | way | delta | of the bundle | teacher's table | ndcg@20 | of retraining | on new targets |"
    lines = [header, "|" + " --- |" * 8]
    for row in rows:
        whole, best = full[row["update"]]["bundle_bytes"], full[row["update"]]["ndcg@20"]
        times = f"{row['teacher_table_bytes'] / row['bytes']:.0f}x" if row["bytes"] else "-"
        cells = [row["update"], row["way"], f"{row['bytes']:,}", f"{100 * row['bytes'] / whole:.1f} %", times]
        cells += [f"{100 * row['ndcg@20']:.2f}", f"{row['ndcg@20'] / best:.3f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {100 * row['ndcg@20 of new targets']:.2f} |")
    return "\n".join(lines) + "\n"
