"""Ten million items and a billion interactions on eight GPUs, by arithmetic: what a rank holds, sends and waits for.

Nothing here is measured. Every number that is assumed is a field below, with its reason, and stands in the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap


@dataclass(frozen=True)
class Assumed:
    """The job and the machine.

    Attributes:
        items, interactions, width: N, clicks, D.
        session: clicks a session, as in Tmall's training sessions; each but the first is a case.
        gpus, cases: GPUs, and cases a step on each of them.
        number, frozen: bytes of a number that trains (itself, its gradient, Adam's two averages, `average_decay`'s) and
            of a teacher's that does not (float32 where it is looked up, bfloat16 where it scores).
        followed: of a number of the table that moving codes follow, which has no average.
        cores, codes: numbers of a tensor train of rank 60 at N; bytes an item of codes.
        steps_a_move: after so many, codes move.
        network: numbers of encoder and read-out.
        tile: scores of a tile; `tiles`: how many of that size are alive at once.
        flops: multiply-adds count twice; what a current GPU sustains in bfloat16, a tenth to a third of its data sheet.
        memory_bytes, wire_bytes: bytes a second of its memory, and between GPUs of one machine, sustained.
        passes: times that a score is read or written, four bytes each, by the two passes of the loss.
    """

    items: int = 10_000_000
    interactions: int = 1_000_000_000
    width: int = 128
    session: float = 6.4
    gpus: int = 8
    cases: int = 512
    number: int = 20
    frozen: int = 6
    followed: int = 16
    cores: int = 3_384_000
    codes: int = 16
    steps_a_move: int = 20
    network: int = 140_000
    tile: int = 1 << 25
    tiles: int = 6
    flops: float = 200e12
    memory_bytes: float = 2e12
    wire_bytes: float = 100e9
    passes: int = 30


def arithmetic(given: Assumed | None = None) -> list[str]:
    """A section of Markdown, by lines."""
    a = given or Assumed()
    n_cases, global_batch = a.interactions * (1 - 1 / a.session), a.gpus * a.cases
    steps, ids = n_cases / global_batch, a.cases * a.session
    rows = a.items / a.gpus
    scores = 4 * a.tile * a.tiles
    product = 2 * global_batch * rows * a.width / a.flops  # all cases of a step with a rank's rows, once
    traffic = 4 * a.passes * global_batch * rows / a.memory_bytes
    query, books = 4 * global_batch * a.width, 256 * a.width
    wire_rows = 2 * query + 2 * 4 * ids * a.width + 4 * 3 * global_batch + 8 * a.network
    # Numbers of a teacher's full table on a rank, and bytes that travel beside gradients of tables.
    split, whole = (a.width * rows, wire_rows), (a.width * a.items, 8 * a.network)
    teacher, student = 4 * product + traffic, 6 * product + 2 * traffic
    codes = 2 * a.codes * a.items + a.number * books  # and once more in the average
    kinds = {}
    for name, (numbers, wire) in {"whole on each rank": whole, "rows split": split}.items():
        dense = 8 * numbers if name.startswith("whole") else 0  # its gradient is summed
        kinds[f"teacher, {name}"] = (a.number * numbers, wire + dense, teacher)
        kinds[f"tensor train, teacher {name}"] = (a.number * a.cores + a.frozen * numbers, wire + 8 * a.cores, student)
        kinds[f"codes, teacher {name}"] = (codes + a.frozen * numbers, wire + 8 * books, student)
        moving = dense or 2 * 4 * ids * a.width + a.codes * a.items / a.steps_a_move
        held = codes + (a.frozen + a.followed) * numbers
        kinds[f"codes that move, teacher {name}"] = (held, wire + 8 * books + moving, student)
    text = f"""Assumed: sessions of {a.session} clicks, as Tmall's, so {n_cases / 1e9:.2f} billion cases; {a.cases}
        cases a step and rank, {global_batch:,} in all, so {steps:,.0f} steps an epoch; D = {a.width}, Adam in
        float32 with `average_decay` ({a.number} bytes a number that trains, {a.frozen} of a frozen teacher's: float32
        where it is looked up, bfloat16 where it scores). A teacher's full table is whole on each rank, and each rank
        scores its own cases; or its rows are split (`split_table`), {rows / 1e6:.2f} million a rank: then each rank
        scores every case of the step in the columns of its rows, so that no score travels: queries are
        gathered and their gradients go back, rows of the sessions' items and their gradients go all-to-all,
        three numbers a case are reduced (maximum, sum, target). Codes that move follow a table of {a.followed} bytes
        a number, split as the teacher's: its rows and gradients go all-to-all too, and every {a.steps_a_move} steps all
        get all codes. Gradients of what is whole
        everywhere are all-reduced (8 bytes a number). A GPU sustains {a.flops / 1e12:.0f} TFLOPS in bfloat16,
        {a.memory_bytes / 1e12:.0f} TB/s of its memory and {a.wire_bytes / 1e9:.0f} GB/s between GPUs of one
        machine; the loss reads or writes each score of a network {a.passes} times; products: two forward and two
        backward for what trains, two forward for what teaches; nothing overlaps. {a.tiles} tiles of
        {a.tile / 1e6:.0f} million scores are alive. Encoder and data are left out: they do not grow with items."""
    lines = [
        f"## {a.items:,} items, {a.interactions:,} interactions, {a.gpus} GPUs: arithmetic",
        "",
        *wrap(" ".join(text.split()), 118, break_on_hyphens=False),
        "",
        "| | tables a rank | tiles a rank | over the wire a step | s a step | hours an epoch |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, (held, wire, seconds) in kinds.items():
        seconds += wire / a.wire_bytes
        lines.append(
            f"| {name} | {held / 1e9:.2f} GB | {scores / 1e9:.1f} GB | {wire / 1e6:.0f} MB | {seconds:.3f} | "
            f"{steps * seconds / 3600:.0f} ({steps * seconds:,.0f} s) |"
        )
    text = f"""Whole score matrices would be {4 * global_batch * rows / 1e9:.0f} GB a rank and network. A full table
        on one GPU is {a.number * a.width * a.items / 1e9:.0f} GB with its gradient, Adam's state and average; codes
        that move have nearly as much beside them, or a rank's part of it; codes that stay
        (`move_codes_every=0`) nothing. Without a teacher a
        student's table and all that trains it is {a.number * a.cores / 1e6:.0f} MB (tensor train) or
        {codes / 1e6:.0f} MB (codes)."""
    return [*lines, "", *wrap(" ".join(text.split()), 118, break_on_hyphens=False), ""]
