"""A table and an objective of one's own, defined in this file alone: named by a configuration, they do all ours do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recbole_odrec.bundle import Recommender
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.bundle.graph import Graph
from recbole_odrec.bundle.part_graphs import TableGraph, table_graph
from recbole_odrec.bundle.precision import Precision
from recbole_odrec.cli import main
from recbole_odrec.nn import ItemTable
from recbole_odrec.nn.product import ScoreBuffer, product
from recbole_odrec.parsing import key, require
from recbole_odrec.quick_start import run
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.objectives import Objective, Pair, Step


class QuotientRemainder(ItemTable):
    """Row i is the product of two short tables' rows, entry by entry: quotient and remainder of i (Shi et al. 2020)."""

    @dataclass(frozen=True)
    class Settings:
        n_remainders: int = key(32, "Rows of the second table.")

        def __post_init__(self) -> None:
            require(self.n_remainders >= 1, "n_remainders", self.n_remainders, "a whole number of at least 1")

    def __init__(self, n_items: int, embedding_dim: int, n_remainders: int, std: float) -> None:
        super().__init__(n_items, embedding_dim)
        self.n_remainders = n_remainders
        self.quotients = nn.Parameter(std**0.5 * torch.randn(-(-n_items // n_remainders), embedding_dim))
        self.remainders = nn.Parameter(std**0.5 * torch.randn(n_remainders, embedding_dim))

    @classmethod
    def from_settings(
        cls, settings: QuotientRemainder.Settings, n_items: int, embedding_dim: int, std: float
    ) -> QuotientRemainder:
        return cls(n_items, embedding_dim, settings.n_remainders, std)

    def forward(self, ids: Tensor) -> Tensor:
        return self.quotients[ids // self.n_remainders] * self.remainders[ids % self.n_remainders]

    def raw_scores(self, query: Tensor, dtype: torch.dtype | None = None, buffer: ScoreBuffer | None = None) -> Tensor:
        states = query.unsqueeze(1) * self.quotients  # [B, Q, D]
        return product(states.flatten(0, 1), self.remainders, buffer, dtype).view(len(query), -1)  # [B, Q * R]


class QuotientRemainderGraph(TableGraph):
    """Both short tables, and the grid of their products."""

    def __init__(self, table: QuotientRemainder) -> None:
        super().__init__(table.n_items, table.n_bytes)
        self.tables = [values.detach().numpy() for values in (table.quotients, table.remainders)]
        self.shape = (len(self.tables[0]), len(self.tables[1]))

    def store(self, graph: Graph) -> None:
        self.names = [graph.weight(name, values) for name, values in zip("qr", self.tables, strict=True)]

    def rows(self, graph: Graph, item_seq: str) -> str:
        n_remainders = graph.const(self.shape[1])
        places = (graph.op("Div", item_seq, n_remainders), graph.op("Mod", item_seq, n_remainders))
        return graph.op("Mul", *(graph.op("Gather", *pair) for pair in zip(self.names, places, strict=True)))

    def scores(self, graph: Graph, query: str) -> str:
        states = graph.op("Mul", graph.op("Unsqueeze", query, graph.const([1])), self.names[0])  # [B, P, D]
        return graph.op("MatMul", states, graph.op("Transpose", self.names[1], perm=[1, 0]))  # [B, P, Q]


@table_graph.register
def _(table: QuotientRemainder, precision: Precision) -> TableGraph:
    return QuotientRemainderGraph(table)


class Centre(Objective):
    """Items near a centre that trains along with them."""

    name = "centre"

    @dataclass(frozen=True)
    class Settings:
        centre_weight: float = key(0.0, "Weight of the squared distance of a session's items to the centre.")

    def __init__(self, settings: Settings, pair: Pair) -> None:
        super().__init__(settings, pair)
        self.centre = nn.Parameter(torch.ones(pair.student.hidden_size))

    def forward(self, step: Step) -> dict[str, Tensor]:
        distance = (step.cases.item_repr - self.centre).square().sum(-1).mean()
        return {"centre": self.settings.centre_weight * distance}


EPOCHS = 4
TABLE = f"{Path(__file__).stem}:QuotientRemainder"
PARTS = [f"--table={TABLE}", f"--objectives=['{Path(__file__).stem}:Centre']"]
WORDS = [
    *(
        "--recipe=none",
        *PARTS,
        "--n_remainders=40",
        "--centre_weight=0.01",
        "--contrastive_weight=0",
        "--predictive_weight=0",
    ),
    *("--kd_weight=0", f"--epochs={EPOCHS}", "--stopping_step=10", "--hidden_size=16", "--MAX_ITEM_LIST_LENGTH=20"),
    *("--train_batch_size=128", "--show_progress=False", "--metric_decimal_place=10", "--init_from_teacher=False"),
]


@pytest.fixture(scope="module")
def words(small_data: Path) -> list[str]:
    return [*WORDS, f"--data_path={small_data}"]


@pytest.fixture(scope="module")
def reference(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Result of a run never interrupted."""
    folder = tmp_path_factory.mktemp("reference")
    return run("ODRec", "ml-small", arguments=[*words, f"--checkpoint_dir={folder}"])


def test_they_train_with_their_keys_and_are_reported(reference: dict) -> None:
    student = reference["phases"]["student"]
    sizes = student["parameters"]
    n_items = sizes["item_table_dense"] // 16
    assert sizes["item_table"] == (-(-n_items // 40) + 40) * 16
    assert sizes["item_table_bytes"] == 4 * sizes["item_table"]
    assert sizes["compression_rate"] == round(n_items * 16 / sizes["item_table"], 3)
    assert reference["config"]["n_remainders"] == 40
    losses = [epoch["centre"] for epoch in student["losses"]]
    assert len(losses) == EPOCHS
    assert losses[-1] < losses[0]
    state = checkpoint.load(Path(student["checkpoint"]))["state_dict"]
    assert {name for name in state if name.startswith("item_table")} == {
        "item_table.quotients",
        "item_table.remainders",
    }


def test_a_run_killed_and_resumed_ends_as_one_never_killed(reference: dict, words: list[str], tmp_path: Path) -> None:
    root, tests = Path(__file__).parents[1], Path(__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(root), str(tests)])}
    command = [sys.executable, "-m", "recbole_odrec", "--model=ODRec", "--dataset=ml-small", *words]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (found := list(tmp_path.glob("saved/ODRec-*/student/last.pth"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.load(found[0])["epoch"] < EPOCHS - 1, "killed too late to show anything"
    resumed = run("ODRec", "ml-small", arguments=words, resume=True)
    assert Path(resumed["path"]).parent.name == found[0].parents[1].name
    for part in ("valid", "test", "losses", "best_epoch", "parameters"):
        assert resumed["phases"]["student"][part] == reference["phases"]["student"][part], part


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_bundle_recommends_what_pytorch_does(reference: dict, precision: Precision) -> None:
    path = reference["phases"]["student"]["checkpoint"]
    manifest = export_bundle(path, "out", precision, max_ndcg_loss=0.5, parts=[TABLE])
    parity = manifest["parity"]["fp32"]
    assert parity["identical_lists"] + parity["tied_lists"] == parity["cases"] == 120
    assert manifest["parity"][precision]["overlap"] > 0.9
    assert len(Recommender("out").recommend(["50", "172"], k=20)) == 20


@pytest.fixture
def exporter_after_all() -> Iterator[None]:
    """Puts the exporter back that a test has changed."""
    ours = table_graph.registry[QuotientRemainder]
    yield
    table_graph.register(QuotientRemainder, ours)


def test_a_file_alone_gets_no_code_imported(reference: dict, tmp_path: Path, monkeypatch, capsys) -> None:
    """A checkpoint names a module that writes a file when it is imported."""
    (tmp_path / "own_part.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\nclass Table: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    state = checkpoint.load(Path(reference["phases"]["student"]["checkpoint"]))
    checkpoint.save(Path("odd.pth"), {**state, "config": {**state["config"], "table": "own_part:Table"}})
    words = ["export", "--checkpoint=odd.pth", "--output=out"]
    assert main(words) == 2
    assert "if you trust it, name it too, --part=own_part:Table." in capsys.readouterr().err
    assert not Path("pwned").exists()
    assert main([*words, "--part=own_part:Table"]) == 2
    assert "table='own_part:Table' is no ItemTable" in capsys.readouterr().err
    assert Path("pwned").exists()


def test_what_cannot_be_exported_is_refused_by_name(reference: dict, capsys, exporter_after_all: None) -> None:
    """Nobody has a graph for the table, or one that stores it dense, or that stores other than it says."""
    path = reference["phases"]["student"]["checkpoint"]

    def refusal(exporter: Callable) -> str:
        table_graph.register(QuotientRemainder, exporter)
        assert main(["export", f"--checkpoint={path}", "--output=out", f"--part={TABLE}"]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert not Path("out").exists()
        return captured.err

    class Dense(TableGraph):
        def __init__(self, table: ItemTable, precision: Precision) -> None:
            self.weight = table.to_matrix().detach().numpy()
            super().__init__(table.n_items, self.weight.nbytes)

        def store(self, graph: Graph) -> None:
            self.name = graph.weight("dense", self.weight)

        def rows(self, graph: Graph, item_seq: str) -> str:
            return graph.op("Gather", self.name, item_seq)

        def scores(self, graph: Graph, query: str) -> str:
            return graph.reshape(graph.op("Gemm", query, self.name, transB=1), 0, 1, self.n_items)

    class Silent(Dense):
        def __init__(self, table: ItemTable, precision: Precision) -> None:
            super().__init__(table, precision)
            self.n_bytes = table.n_bytes

    assert (
        "no exporter for table QuotientRemainder: register one with @recbole_odrec.bundle.part_graphs.table_graph"
        in (refusal(table_graph.registry[object]))
    )
    assert "the exporter of table QuotientRemainder stores " in refusal(Dense)
    assert "Silent says that it stores " in refusal(Silent)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--n_remainders=0"], "n_remainders=0, expected a whole number of at least 1."),
        (["--n_remainders=many"], "n_remainders='many', expected a whole number"),
        (["--n_remainder=40"], "unknown key `n_remainder` for ODRec (did you mean `n_remainders`?)"),
        (["--item_order=teacher"], "item_order belongs to table=tensor_train"),
    ],
)
def test_their_keys_are_checked_like_ours(words: list[str], message: str, capsys) -> None:
    assert main([*PARTS, *words]) == 2
    assert message in capsys.readouterr().err


def test_rows_and_scores_of_the_example() -> None:
    """The example itself is right: product of short rows, straight into the grid."""
    table = QuotientRemainder(23, 4, 5, 1.0).double()
    rows = np.stack([(table.quotients[i // 5] * table.remainders[i % 5]).detach().numpy() for i in range(23)])
    query = torch.randn(3, 4, dtype=torch.float64)
    np.testing.assert_allclose(table.scores(query).detach().numpy(), query.numpy() @ rows.T, rtol=1e-12)
