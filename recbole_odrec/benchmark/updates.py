"""`recbole-odrec benchmark updates`: a shop over time, whose devices get deltas: bytes against accuracy.

Sessions are cut in time. A base student is trained on the first part and goes to the devices; after each further slice
a teacher and a student are trained on all sessions so far, and every bundle answers the cases of the slice behind.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.bundle import Recommender
from recbole_odrec.bundle.delta_maker import write_delta
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_atomically, write_json
from recbole_odrec.quick_start import run
from recbole_odrec.result import versions

_NAME, _K, _AT_ONCE = "slices", 20, 512
_CHECKED = 1000  # sessions that validation and export look at
# The first of the recipe for RetailRocket alone: one kind of teacher takes half the time.
_TEACHER = {"model": "SASRecTeacher", "repeat_scores": False, "normalize_items": True, "table_dropout_prob": 0.2}
_OF_UPDATES = {"epochs": 1, "learning_rate": 0.004}  # codes alone move, from where they are


def command(words: Sequence[str]) -> None:
    """Trains what is not there yet; writes the numbers and a table of them."""
    parser = CommandParser("benchmark updates", "Bytes and accuracy of updates over time.")
    parser.add_argument("--sessions", type=Path, required=True, help="a session a line, items apart by blanks, in time")
    parser.add_argument("--newest", type=int, default=25_000, help="sessions of these that are taken (default 25000)")
    parser.add_argument("--occurrences", type=int, default=5, help="of an item that is kept (default 5)")
    parser.add_argument("--base", type=float, default=0.8, help="share before the first update (default 0.8)")
    parser.add_argument("--updates", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.1, 0.05], help="shares of the bundle's bytes")
    parser.add_argument("--recipe", default="retailrocket")
    parser.add_argument("--hidden_size", type=int, default=64)
    parser.add_argument("--compression_rate", type=float, default=14)
    parser.add_argument("--folder", type=Path, default=Path("updates"), help="for runs; what is there is not run again")
    parser.add_argument("--output", type=Path, default=Path("results/updates.json"))
    asked = parser.parse_args(words)
    if not (0 < asked.base < 1 and asked.updates >= 1 and all(0 < budget < 1 for budget in asked.budgets)):
        raise UserError("--base and --budgets are shares between 0 and 1, --updates at least 1.")
    slices = cut(read(asked.sessions, asked.newest, asked.occurrences), asked.base, asked.updates)
    settings = {"recipe": asked.recipe, "hidden_size": asked.hidden_size, "compression_rate": asked.compression_rate}
    settings["teachers"] = [_TEACHER]
    rows = measure(slices, asked.budgets, settings, asked.folder)
    known = set().union(*slices[0])
    told = {
        "command": " ".join(["recbole-odrec", "benchmark", "updates", *words]),
        **{"machine": machine(), "versions": versions()},
        "sessions": [len(part) for part in slices],
        "items": len(known),
        "rows": rows,
    }
    write_json(asked.output, told)
    text = table(rows)
    write_atomically(asked.output.with_suffix(".md"), lambda file: file.write(_page(told, text).encode()))
    sys.stdout.write(f"{text}{asked.output}\n")


# ---------------------------------------------------------------------- data


def read(path: Path, newest: int, occurrences: int) -> list[list[str]]:
    """The newest sessions of a file, of items that occur often enough in them."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[-newest:]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): give a file with a session a line.") from error
    sessions = [line.split() for line in lines]
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
    slices: list[list[list[str]]], budgets: Sequence[float], settings: Mapping[str, Any], folder: Path
) -> list[dict[str, Any]]:
    """A row for each update and way to make it: bytes of bundle and delta, NDCG@20 on the next slice."""
    rows: list[dict[str, Any]] = []
    base = _student(slices, 0, "base", settings, folder)
    before = dict.fromkeys(("retrained", *map(_named, budgets)), base)
    whole = sum(path.stat().st_size for path in (base / "bundle").iterdir())
    for update in range(1, len(slices) - 1):
        cases = slices[update + 1]
        rows.append({"update": update, "way": "stale", "bytes": 0, **_accuracy(base / "bundle", cases, slices, update)})
        for name in before:
            given = dict(settings)
            if name != "retrained":
                share = budgets[[*map(_named, budgets)].index(name)]
                given |= {
                    **_OF_UPDATES,
                    "update_from": str(before[name] / "best.pth"),
                    "update_budget": int(share * whole),
                }
            student = _student(slices, update, name, given, folder)
            delta = student / "delta"
            header = write_delta(before[name] / "bundle", student / "bundle", delta)
            rows.append(
                {
                    **{"update": update, "way": name, "bytes": delta.stat().st_size},
                    "bundle_bytes": sum(entry["bytes"] for entry in header["files"].values()),
                    "teacher_bytes": int((student / "teacher_bytes").read_text()),
                    **_accuracy(student / "bundle", cases, slices, update),
                }
            )
            before[name] = student
            sys.stderr.write(f"{rows[-1]}\n")
    return rows


def _named(budget: float) -> str:
    return f"budget {100 * budget:g} %"


def _student(slices: list, update: int, name: str, settings: Mapping[str, Any], folder: Path) -> Path:
    """Folder with checkpoint and int8 bundle of a student of all sessions so far; trained where it is not there."""
    place, data = folder / f"{update}-{name.replace(' ', '-')}", folder / f"data-{update}"
    if (place / "bundle").exists():
        return place
    _write_data(data, [session for part in slices[: update + 1] for session in part], slices[update][-_CHECKED:])
    values = {
        **{"data_path": str(data), "benchmark_filename": ["train", "valid", "test"], "USER_ID_FIELD": "session_id"},
        **{"MAX_ITEM_LIST_LENGTH": 50, "checkpoint_dir": str(folder / "saved"), "show_progress": False},
        **settings,
    }
    result = run("ODRec", _NAME, config_dict=values)
    phases = result["phases"]
    place.mkdir(parents=True, exist_ok=True)
    checkpoint = Path(phases["student"]["checkpoint"])
    (place / "best.pth").write_bytes(checkpoint.read_bytes())
    (place / "teacher_bytes").write_text(str(phases["teacher"]["parameters"]["item_table_bytes"]))
    export_bundle(checkpoint, place / "bundle", "int8", _K, max_ndcg_loss=1.0)
    return place


def _accuracy(bundle: Path, sessions: list[list[str]], slices: list, update: int) -> dict[str, float]:
    """NDCG@20 over the cases of a slice, and over those whose target came with the newest update alone.

    A target that a bundle does not know is missed, and so is a case of a history that it does not know at all.
    """
    recommender = Recommender(bundle)
    ids = [recommender.tokens.find_all(session) for session in sessions]
    cases = [(found[:end], found[end], session[end]) for found, session in zip(ids, sessions, strict=True)
             for end in range(1, len(found))]  # fmt: skip
    gains = np.zeros(len(cases))
    asked = [place for place, (history, target, _) in enumerate(cases) if target and any(history)]
    for start in range(0, len(asked), _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        histories = [[item for item in cases[place][0] if item] for place in part]
        found, _ = recommender.recommend_ids(histories, _K)
        hits = found == np.array([cases[place][1] for place in part])[:, None]
        gains[part] = (hits / np.log2(np.arange(2, _K + 2))).sum(1)
    old = set().union(*(set(session) for part in slices[:update] for session in part))
    is_new = np.array([item not in old for _, _, item in cases])
    return {
        "ndcg@20": float(gains.mean()),
        "ndcg@20 of new targets": float(gains[is_new].mean()) if is_new.any() else 0.0,
        "cases": len(cases),
        "share of new targets": float(is_new.mean()),
    }


# ---------------------------------------------------------------------- the table


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown; accuracy beside that of retraining without a bound."""
    full = {row["update"]: row for row in rows if row["way"] == "retrained"}
    lines = ["| update | way | delta | of the bundle | ndcg@20 | of retraining | on new targets |", "|" + " --- |" * 7]
    for row in rows:
        whole, best = full[row["update"]]["bundle_bytes"], full[row["update"]]["ndcg@20"]
        cells = [row["update"], row["way"], f"{row['bytes']:,}", f"{100 * row['bytes'] / whole:.1f} %"]
        cells += [f"{100 * row['ndcg@20']:.2f}", f"{row['ndcg@20'] / best:.3f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {100 * row['ndcg@20 of new targets']:.2f} |")
    return "\n".join(lines) + "\n"


def _page(told: Mapping[str, Any], text: str) -> str:
    return f"# Updates over time\n\n`{told['command']}`\n\n{text}"
