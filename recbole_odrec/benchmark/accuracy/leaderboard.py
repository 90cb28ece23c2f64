"""One leaderboard over all data sets: the main rows side by side, as `results/README.md` and README show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev

from recbole_odrec.benchmark.accuracy.tested import Tested

_SETTING = """\
Full ranking over the catalogue, one target a case; metrics in percent, recall is the hit rate (P@K of the papers).
What is chosen is chosen on validation (NDCG@10), for every row alike:

- Sessions: every prefix of a test session is a case. Epochs are chosen on the last 10 % of training sessions in time,
  seed 1; then the model is trained anew on training and validation sessions for so many epochs and meets the test set
  once.
- Users with their items in time: the last item of each is the test, the last but one validation. The run that chooses
  its epochs meets the test set once; nothing is trained anew.

Means over the seeds named, ± sample standard deviation. "95 %" is half of the interval of NDCG@20 over test sessions or
users drawn anew; it says nothing about other seeds. Item table in bytes as it ships: float32, or a student's 4-bit
columns or codes with followers, which are what was evaluated; of a model that counts, all that it keeps. Seconds are of
training, a student's without its teachers', on the machine that each file names, beside whatever else ran there. Head:
the 20 % most frequent items. Settings of a row stand in `accuracy/rows/<data set>/<row>.yaml`.
[accuracy.md](accuracy.md) has every row and metric, and differences with their intervals; [data.md](../docs/data.md)
says where the data sets come from."""

_COLUMNS = (
    *(("all", metric) for metric in ("recall@10", "ndcg@10", "recall@20", "ndcg@20")),
    *((group, "recall@20") for group in ("head", "tail")),
)


def leaderboard(tested: Mapping[str, Mapping[str, Tested]], has_pictures: bool) -> Iterator[str]:
    """The page, as lines.

    Args:
        tested: tested rows by data set and name.
        has_pictures: `accuracy-size.png` and `head-tail.png` stand beside it.
    """
    yield "# Accuracy\n"
    yield "Written by `recbole-odrec benchmark accuracy` from `accuracy/*/*.json`; do not edit.\n"
    yield _SETTING
    for dataset, rows in tested.items():
        yield f"\n## {dataset}\n"
        yield sizes_text(rows) + "\n"
        yield "\n".join(main_rows(dataset, rows))
        yield f"\n```bash\nrecbole-odrec benchmark accuracy --datasets {dataset}\n```"
    if has_pictures:
        yield "\n![Accuracy against bytes of the item table](accuracy-size.png)\n"
        yield "![Recall of head and tail targets](head-tail.png)"


def main_rows(dataset: str, rows: Mapping[str, Tested]) -> Iterator[str]:
    """The main rows of a data set, as Markdown lines: what the project's own README shows some of."""
    columns = [metric if group == "all" else f"{group} {metric}" for group, metric in _COLUMNS]
    place = columns.index("ndcg@20") + 1
    header = ["data", "model", "item table", "s", *columns[:place], "95 %", *columns[place:], "seeds"]
    yield line(header)
    yield line(["---"] * len(header))
    for row in (row for row in rows.values() if not row.row.is_aside):
        cells = [spread(row.percent(*column)) for column in _COLUMNS]
        cells.insert(place, f"± {row.half_width('ndcg@20'):.2f}")
        seconds = mean(run["seconds"] for run in row.runs)
        time = f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"
        first = [dataset, row.row.title, n_bytes(row.sizes["item_table_bytes"]), time]
        yield line([*first, *cells, seeds(row)])


def sizes_text(rows: Mapping[str, Tested]) -> str:
    """How many items, sessions or users, and cases a data set has, in a line."""
    data = next(iter(rows.values())).runs[0]["data"]
    unit = "sessions" if "sessions" in data else "users"
    parts = zip(data[unit], data["cases"], strict=True)
    train, valid, test = (f"{number:,} {unit}, {n_cases:,} cases" for number, n_cases in parts)
    if unit == "users":
        return f"{data['items']:,} items. Training: {train}; validation: {valid}; test: {test}."
    return f"{data['items']:,} items. Trained on {train}, of them {valid} at first for validation; test: {test}."


# ---------------------------------------------------------------------- cells


def line(cells: Sequence[str]) -> str:
    """Of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    if not values:
        return "-"
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def seeds(row: Tested) -> str:
    """Which seeds were run."""
    return ", ".join(map(str, row.seeds))


def n_bytes(number: int) -> str:
    """A size in MB."""
    return f"{number / 1e6:.2f} MB"
