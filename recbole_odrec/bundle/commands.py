"""`recbole-odrec export`, `recommend`, `delta`, `add-items`, `withdraw`: a bundle, what it is for, the next one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_odrec.arguments import CommandParser
from recbole_odrec.bundle.recommender import Recommender
from recbole_odrec.bundle.user_state import read_state
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_atomically


def export(words: Sequence[str]) -> None:
    """Prints what was checked, and sizes."""
    parser = CommandParser("export", "Writes a bundle: a folder that recommends with ONNX Runtime alone.")
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="best.pth of a run, ours or RecBole's")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--precision", default="fp32", help="fp32 (default), fp16 or int8: how weights are stored")
    parser.add_argument("--topk", type=int, default=20, help="the most items an answer can have (default 20)")
    parser.add_argument("--data_path", metavar="FOLDER", help="holds the data set's folder, if it has moved")
    loss = "share of the test NDCG that fp16 or int8 may cost (default 0.01)"
    parser.add_argument("--max_ndcg_loss", type=float, default=0.01, help=loss)
    parser.add_argument("--executorch", action="store_true", help="write model.pte for ExecuTorch too, in fp32")
    state = "learn how much earlier sessions count; they end after a pause (30m, 6h, 1d) or a number of items (3)"
    parser.add_argument("--user_state", metavar="SESSION", help=state)
    part = "a part of your own that the checkpoint names; importing it runs its code"
    parser.add_argument("--part", action="append", default=[], dest="parts", metavar="MODULE:CLASS", help=part)
    options = vars(parser.parse_args(words))
    from recbole_odrec.bundle.export import export_bundle  # late: a device has no PyTorch
    from recbole_odrec.bundle.summary import summarize_export

    sys.stdout.write(f"{summarize_export(export_bundle(**options), options['output'])}\n")


def recommend(words: Sequence[str]) -> None:
    """Prints items, best first."""
    parser = CommandParser("recommend", "Recommends from a bundle: item, score and title, best first.")
    parser.add_argument("--bundle", required=True, metavar="DIR", help="folder that `export` has written")
    parser.add_argument("history", nargs="*", metavar="ITEM", help="item tokens of the session, oldest first")
    update = "make the bundle the one that this delta leads to, first; items may be left out then"
    parser.add_argument("--update", metavar="FILE", help=update)
    parser.add_argument("--k", type=int, default=20, help="how many items (default 20)")
    parser.add_argument("--exclude_seen", action="store_true", help="leave the items of the session out")
    state = "go by what this file knows of the user, and keep this session in it (4 KB at most; made where missing)"
    parser.add_argument("--state", type=Path, metavar="FILE", help=state)
    options: Any = parser.parse_args(words)
    wrong = [word for word in options.history if not word or word.encode(errors="replace").decode() != word]
    if wrong:
        raise UserError(f"ITEM {wrong[0]!a:.60}, expected an item's token, such as 50, in UTF-8.")
    if not options.history and options.update is None:
        raise UserError("no ITEM, expected those of a session, oldest first, or --update FILE.")
    recommender = Recommender(options.bundle)
    if options.update is not None:
        recommender.update(options.update)
        sys.stderr.write(f"recbole_odrec: {options.bundle} is up to date\n")
    if not options.history:
        return
    state = None if options.state is None else read_state(options.state, recommender.state)
    answer = recommender.recommend(options.history, options.k, options.exclude_seen, state)
    if state is not None and options.state is not None:
        state.add(options.history)
        write_atomically(options.state, lambda file: file.write(state.to_bytes()))
    if answer.unknown:
        sys.stderr.write(f"recbole_odrec: unknown items, skipped: {_shown(' '.join(answer.unknown))}\n")
    for item, score, title in answer:
        sys.stdout.write("\t".join([_shown(item), f"{score:.4f}", *([_shown(title)] if title else [])]) + "\n")


def delta(words: Sequence[str]) -> None:
    """Prints the bytes of each file."""
    from recbole_odrec.bundle.delta_maker import (
        items_lost,
        summarize_delta,
        write_delta,
    )  # needs ONNX, which `withdraw` does not

    parser = CommandParser("delta", "Writes what has to travel so that a device with one bundle has another one.")
    parser.add_argument("old", metavar="OLD", help="the bundle on the device")
    parser.add_argument("new", metavar="NEW", help="the bundle that it shall have")
    parser.add_argument("--output", required=True, metavar="FILE", help="file to write")
    sell_again = "items that OLD leaves out and NEW does not are for sale again"
    parser.add_argument("--sell_again", action="store_true", help=sell_again)
    options = vars(parser.parse_args(words))
    sys.stdout.write(f"{summarize_delta(write_delta(**options), options['output'])}\n")
    if lost := items_lost(Path(options["old"]), Path(options["new"])):
        shown = _shown(" ".join(lost))
        sys.stderr.write(
            f"recbole_odrec: {options['new']} does not know {len(lost):,} items of {options['old']} ({shown:.60}): "
            "add-items gives them to it, too.\n"
        )


def withdraw(words: Sequence[str]) -> None:
    """Prints how many items are left out, and the folder."""
    from recbole_odrec.bundle.withdraw import withdraw

    parser = CommandParser("withdraw", "Writes a bundle that never recommends some items; a delta carries it.")
    parser.add_argument("--bundle", required=True, type=Path, metavar="DIR", help="folder that `export` has written")
    parser.add_argument("items", nargs="*", metavar="ITEM", help="tokens of items that are not for sale any more")
    parser.add_argument("--as_in", type=Path, metavar="DIR", help="leave out what this bundle leaves out, too")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to make")
    options = vars(parser.parse_args(words))
    manifest = withdraw(**options)
    n_out = len(manifest["withdrawn"])
    sys.stdout.write(f"{n_out:,} of {manifest['n_items']:,} items withdrawn\n{options['output']}\n")


def add_items(words: Sequence[str]) -> None:
    """Prints how many items are new, and the bytes of each file."""
    from recbole_odrec.bundle.add_items import add_items
    from recbole_odrec.bundle.delta_maker import summarize_delta

    parser = CommandParser("add-items", "Writes the delta to a bundle that knows new items too; nothing is trained.")
    parser.add_argument("--bundle", required=True, type=Path, metavar="DIR", help="the bundle on the device")
    sessions = "sessions that new items have appeared in, a line each, items apart by blanks, oldest first"
    parser.add_argument("--items", type=Path, metavar="FILE", help=sessions)
    said = "atomic file (.item) that says something of known and new items: words, categories, numbers"
    parser.add_argument("--item_file", type=Path, metavar="FILE", help=said)
    parser.add_argument("--item_field", default="item_id", metavar="NAME", help="its item column (default %(default)s)")
    parser.add_argument("--fields", nargs="+", default=[], metavar="NAME", help="its columns that count (default: all)")
    parser.add_argument("--output", type=Path, default=Path("items.delta"), metavar="FILE", help="default: %(default)s")
    options = vars(parser.parse_args(words))
    header, new = add_items(**options)
    sys.stdout.write(f"{len(new):,} new items\n{summarize_delta(header, options['output'])}\n")


def _shown(text: str) -> str:
    """Text of a bundle or a user as a terminal may have it: no control characters, nothing it has no letters for."""
    text = "".join(ascii(letter)[1:-1] if letter < " " or "\x7f" <= letter < "\xa0" else letter for letter in text)
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
