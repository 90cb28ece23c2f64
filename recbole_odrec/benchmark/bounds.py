"""`recbole-odrec benchmark bounds`: how many items an exact search could skip, by bounds of their scores.

A search may pass over a group of items whose bound is below the k-th best score. Here that score is known from the
start, which no search has: the shares are the least that each bound leaves to be scored.

Dimension key: D embedding, N items, M codebooks, K entries of each, G groups, P x Q grid, H = A_2 R inner size of a
two-core tensor train.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_odrec.arguments import CommandParser
from recbole_odrec.benchmark.device_bundles import HIDDEN_SIZE, N_CODES, STP_FACTOR, TT_RANKS
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.bundle.source import load_source
from recbole_odrec.errors import UserError
from recbole_odrec.files import write_json, write_text
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.nn import DenseEmbedding, ItemTable, ProductCodesEmbedding, SemiTensorTrainEmbedding
from recbole_odrec.nn.tables.item_order import order_by_similarity
from recbole_odrec.result import versions

_BEST, _QUERIES, _GROUP, _FEWEST = 20, 50, 256, 1000
Shares = Callable[[np.ndarray], dict[str, float]]  # of a query [D]
_HEADER = """# What an exact search could skip

Share of the items (median over sessions) whose bound is not below the 20th best score: the least that a search by this
bound has to score. `needed`: items of the groups that hold one of the 20. A group is a row of the tensor train's first
core, or 256 items of codes that are alike.

- sub-codes: codes in falling order of their products (RecJPQPrune, arXiv 2505.00560): items with a code seen before the
  sum of the next ones is below the score; shared codes: the best that a group has of each codebook, summed;
- lengths: mean of the group (codes) or nothing (tensor train), and the Cauchy-Schwarz bound of the rest; ellipsoid: the
  same in the metric of the last core's columns; half: half of the inner size multiplied out, lengths for the rest.

Runs of these rows, as they are made today (checkpoints of the numbers below were made before, by the same kinds of
students and teachers, so theirs differ a little):

- beauty: `recbole-odrec benchmark accuracy --datasets beauty --rows sasrec-teacher item-transitions odrec --seeds 1`
  writes `saved/accuracy/beauty/odrec.seed-1/*/student/best.pth` and, to be fitted to,
  `saved/accuracy/beauty/sasrec-teacher.seed-1/*/model/best.pth`;
- tmall: the same with `--datasets tmall --rows teacher-no-repeat sasrec-teacher codes-30x-2` and `codes-30x-2.seed-1`;
- ml-100k: a tensor train, `recbole-odrec --model=ODRec --dataset=ml-100k --table=tensor_train`; its rank of 40 was of
  a recipe which ml-100k had of its own.

"""


def command(words: Sequence[str]) -> None:
    """Measures each checkpoint and random tables; prints and writes the table."""
    parser = CommandParser("benchmark bounds", "What share of the items bounds of their scores could spare.")
    told = "best.pth of a student, or of a teacher, whose table is made into codes and into a tensor train"
    parser.add_argument("--checkpoint", action="append", default=[], metavar="FILE", help=told)
    parser.add_argument("--data_path", action="append", default=[], metavar="FOLDER", help="one for each, if moved")
    parser.add_argument("--items", type=int, nargs="*", default=[1_000_000], help="of random tables")
    parser.add_argument("--output", type=Path, default=Path("results/bounds.json"))
    asked = parser.parse_args(words)
    folders = asked.data_path or [None] * len(asked.checkpoint)
    if len(folders) != len(asked.checkpoint):
        raise UserError(f"{len(folders)} --data_path and {len(asked.checkpoint)} --checkpoint, expected as many.")
    if wrong := [items for items in asked.items if items < _FEWEST]:
        raise UserError(f"--items {wrong[0]}, expected numbers of at least {_FEWEST}.")
    if not asked.items and not asked.checkpoint:
        raise UserError("nothing to measure: give a --checkpoint, or numbers to --items.")
    rows = []
    with torch.no_grad():
        for path, folder in zip(asked.checkpoint, folders, strict=True):
            rows += _of_checkpoint(Path(path), folder)
        for n_items in asked.items:
            torch.manual_seed(0)
            queries = torch.randn(_QUERIES, HIDDEN_SIZE)
            codes = ProductCodesEmbedding(n_items + 1, HIDDEN_SIZE, N_CODES)
            train = SemiTensorTrainEmbedding(n_items + 1, HIDDEN_SIZE, tt_ranks=TT_RANKS, stp_factor=STP_FACTOR)
            rows += [{"weights": "random", **measured(table, queries)} for table in (codes, train)]
    text = f"{_HEADER}{markdown(rows)}"
    ran = " ".join(["recbole-odrec", "benchmark", "bounds", *words])
    write_json(asked.output, {"command": ran, "machine": machine(), "versions": versions(), "rows": rows})
    write_text(asked.output.with_suffix(".md"), f"{text}\n`{ran}`\n")
    sys.stdout.write(f"{text}{asked.output}\n")


def _of_checkpoint(path: Path, data_path: str | None) -> list[dict[str, Any]]:
    source = load_source(path, data_path)
    model, name = source.model, f"{source.config['dataset']}, "
    if not isinstance(model, SessionRecommender):
        raise UserError(f"{path}: benchmark bounds takes students and teachers of this package.")
    if model.n_items <= _BEST:
        raise UserError(f"{path}: {model.n_items - 1:,} items, expected at least {_BEST}.")
    some = torch.linspace(0, len(source.test) - 1, _QUERIES).long()
    queries = model(source.test[some][source.test.item_list_field])
    if not isinstance(model.item_table, DenseEmbedding):
        return [{"weights": f"{name}trained", **measured(model.item_table, queries)}]
    rows = model.item_table.to_matrix()
    n_rows, width = rows.shape
    train = SemiTensorTrainEmbedding(
        n_rows, width, tt_ranks=TT_RANKS, stp_factor=STP_FACTOR, item_order=torch.arange(n_rows)
    )
    train.order_rule = "similarity"
    fitted: list[ItemTable] = [ProductCodesEmbedding(n_rows, width, N_CODES), train]
    for table in fitted:
        table.arrange_(rows)
        table.approximate_(rows)
    return [{"weights": f"{name}fitted to a teacher", **measured(table, queries)} for table in fitted]


def measured(table: ItemTable, queries: Tensor) -> dict[str, Any]:
    """Name, items and the median shares of a table for queries [B, D].

    Raises:
        UserError: neither codes nor a tensor train of two cores.
    """
    if isinstance(table, ProductCodesEmbedding):
        name, shares = f"{table.n_codes} codes", _of_codes(table)
    elif isinstance(table, SemiTensorTrainEmbedding) and len(table.tt_cores) == 2:
        name, shares = f"tensor train, rank {table.tt_ranks[1]}", _of_train(table)
    else:
        raise UserError(f"benchmark bounds knows codes and tensor trains of two cores, not {type(table).__name__}.")
    found = [shares(query) for query in queries.numpy()]
    medians = {key: float(np.median([one[key] for one in found])) for key in found[0]}
    return {"table": name, "items": table.n_items - 1, **medians}


def _of_codes(table: ProductCodesEmbedding) -> Shares:
    codes, books = table.codes[1:].numpy().astype(np.int64), table.rounded_codebooks().numpy()
    rows = table.to_matrix()
    group = (order_by_similarity(rows, _GROUP)[1:].numpy() - 1) // _GROUP  # [N]
    rows, which, sizes = rows[1:].numpy(), np.arange(len(books)), np.bincount(group)
    means = np.stack([np.bincount(group, column) for column in rows.T], 1) / sizes[:, None]  # [G, D]
    radius = np.zeros(len(sizes))
    np.maximum.at(radius, group, np.linalg.norm(rows - means[group], axis=1))
    is_there = np.zeros((len(sizes), *books.shape[:2]), bool)  # [G, M, K]
    is_there[group[:, None], which, codes] = True

    def shares(query: np.ndarray) -> dict[str, float]:
        products = np.einsum("mw,mkw->mk", query.reshape(len(books), -1), books)
        scores = products[which, codes].sum(1)
        least = np.partition(scores, -_BEST)[-_BEST]
        falling = np.sort(products, axis=None)[::-1]
        low, high = 0, len(falling)  # the codes with a product above falling[low] are seen
        while low < high:
            middle = (low + high) // 2
            rest = np.where(products <= falling[middle], products, -np.inf).max(1).sum()
            low, high = (low, middle) if rest < least else (middle + 1, high)
        limit = falling[min(low, len(falling) - 1)]
        bounds = np.where(is_there, products, -np.inf).max(2).sum(1)
        lengths = means @ query + radius * np.linalg.norm(query)
        best = np.full(len(sizes), -np.inf)
        np.maximum.at(best, group, scores)
        return {
            "needed": _share(best, least, sizes),
            "sub-codes": float((products[which, codes] > limit).any(1).mean()),
            "shared codes": _share(bounds, least, sizes),
            "lengths": _share(lengths, least, sizes),
        }

    return shares


def _of_train(table: SemiTensorTrainEmbedding) -> Shares:
    first, last = (core.detach().double().numpy() for core in table.tt_cores)  # [1, P, A_1, R], [R, Q, A_2, 1]
    columns = last[..., 0].transpose(2, 0, 1).reshape(-1, last.shape[1])  # [H, Q]
    centre = columns.mean(1, keepdims=True)
    spread = columns - centre
    sizes, axes = np.linalg.eigh(spread @ spread.T)
    kept = sizes > 1e-9 * sizes[-1]
    scaled = np.linalg.norm((axes[:, kept].T @ spread) / np.sqrt(sizes[kept])[:, None], axis=0).max()
    half = axes[:, len(axes) // 2 :]  # of the larger spread
    rest = np.linalg.norm(spread - half @ (half.T @ spread), axis=0).max()
    length = np.linalg.norm(columns, axis=0).max()

    def shares(query: np.ndarray) -> dict[str, float]:
        t, dims = table.plan.stp_factor, table.plan.dim_shape
        state = query.astype(np.float64).reshape(dims[0], -1, t).transpose(1, 0, 2).reshape(dims[1] // t, -1)
        states = np.einsum("ax,pxr->par", state, first[0]).reshape(first.shape[1], -1)  # [P, H]
        grid = states @ columns  # [P, Q]
        grid.reshape(-1)[table.n_items :] = -np.inf
        grid[0, 0] = -np.inf  # padding
        least, middle = np.partition(grid, -_BEST, axis=None)[-_BEST], (states @ centre)[:, 0]
        ones = np.ones(len(grid))
        halves = middle + (states @ half @ (half.T @ spread)).max(1)
        outside = np.linalg.norm(states - states @ half @ half.T, axis=1)
        return {
            "needed": _share(grid.max(1), least, ones),
            "lengths": _share(np.linalg.norm(states, axis=1) * length, least, ones),
            "ellipsoid": _share(
                middle + scaled * np.linalg.norm(states @ axes * np.sqrt(sizes.clip(0)), axis=1), least, ones
            ),
            "half": _share(halves + outside * rest, least, ones),
        }

    return shares


def _share(bounds: np.ndarray, least: float, sizes: np.ndarray) -> float:
    return float(sizes[bounds >= least].sum() / sizes.sum())


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table."""
    keys = ("needed", "sub-codes", "shared codes", "lengths", "ellipsoid", "half")
    lines = [["weights", "table", "items", *keys], ["---"] * (3 + len(keys))]
    for row in rows:
        shares = [f"{100 * row[key]:.1f} %" if key in row else "" for key in keys]
        lines.append([row["weights"], row["table"], f"{row['items']:,}", *shares])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
