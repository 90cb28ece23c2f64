"""`recbole-odrec delta` and `recbole-odrec withdraw`: the next bundle of a device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_odrec.arguments import CommandParser


def delta(words: Sequence[str]) -> None:
    """Prints the bytes of each file."""
    from recbole_odrec.bundle.delta_maker import summarize_delta, write_delta  # needs ONNX, which `withdraw` does not

    parser = CommandParser("delta", "Writes what has to travel so that a device with one bundle has another one.")
    parser.add_argument("old", metavar="OLD", help="the bundle on the device")
    parser.add_argument("new", metavar="NEW", help="the bundle that it shall have")
    parser.add_argument("--output", required=True, metavar="FILE", help="file to write")
    options = vars(parser.parse_args(words))
    sys.stdout.write(f"{summarize_delta(write_delta(**options), options['output'])}\n")


def withdraw(words: Sequence[str]) -> None:
    """Prints how many items are left out, and the folder."""
    from recbole_odrec.bundle.withdraw import withdraw

    parser = CommandParser("withdraw", "Writes a bundle that never recommends some items; a delta carries it.")
    parser.add_argument("--bundle", required=True, type=Path, metavar="DIR", help="folder that `export` has written")
    parser.add_argument("items", nargs="+", metavar="ITEM", help="tokens of items that are not for sale any more")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to make")
    options = vars(parser.parse_args(words))
    manifest = withdraw(**options)
    n_out = len(manifest["withdrawn"])
    sys.stdout.write(f"{n_out:,} of {manifest['n_items']:,} items withdrawn\n{options['output']}\n")
