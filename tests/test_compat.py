"""RecBole's own scripts run on today's stack once we are imported, with its own numbers, and run no code of a file."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import Dataset
from recbole.quick_start import load_data_and_model
from recbole.sampler import SeqSampler
from recbole.utils import get_model, get_trainer, init_seed

from recbole_odrec import compat
from recbole_odrec.errors import UserError
from recbole_odrec.recbole_checkpoint import load

TINY = {
    **{"embedding_size": 8, "epochs": 1, "train_batch_size": 512, "show_progress": False, "state": "ERROR"},
    **{"metric_decimal_place": 10, "MAX_ITEM_LIST_LENGTH": 10, "topk": [5], "valid_metric": "MRR@5"},
}
LOADED = {"inter": ["user_id", "item_id", "timestamp"]}


def in_a_process_of_its_own(script: str, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


# ---------------------------------------------------------------------- as RecBole's documentation writes it

SCRIPT = """
import recbole_odrec
import json, sys
data, sys.argv = sys.argv[1], sys.argv[:1]
values = json.loads(VALUES) | {"data_path": data, "metrics": ["MRR", "ItemCoverage", "AveragePopularity", "GiniIndex"]}
from recbole.quick_start import load_data_and_model, run_recbole
result = run_recbole(model="GRU4Rec", dataset="ml-small", config_dict=values | {"train_neg_sample_args": None})
from pathlib import Path
[file] = Path("saved").glob("GRU4Rec-*.pth")
config, model, dataset, train_data, valid_data, test_data = load_data_and_model(str(file))
from recbole.utils import get_trainer
trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
trainer.eval_collector.data_collect(train_data)
assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]
trainer.resume_checkpoint(str(file))
assert trainer.start_epoch == 1
from recbole.utils.case_study import full_sort_scores, full_sort_topk
users = dataset.token2id("user_id", ["3", "7"])
scores, items = full_sort_topk(users, model, test_data, k=5)
assert (full_sort_scores(users, model, test_data).topk(5).indices == items).all()
assert 0 < result["test_result"]["itemcoverage@5"] < 1
"""


def test_recboles_own_scripts_run(small_data: Path) -> None:
    """Quick start without ray, the best model loaded, metrics of the catalogue, resume and case study."""
    in_a_process_of_its_own(f"VALUES = {json.dumps(TINY)!r}\n{SCRIPT}", str(small_data))


# The control mends by hand the one thing without which RecBole cannot make a Config (NumPy 2), and nothing else.
NUMBERS = """
import sys
if sys.argv[2] == "with":
    import recbole_odrec
else:
    import numpy
    vars(numpy).update(float_=numpy.float64, complex_=numpy.complex128, unicode_=numpy.str_, float=numpy.float64)
data, given, sys.argv = sys.argv[1], sys.argv[3], sys.argv[:1]
import json, warnings
warnings.simplefilter("ignore")
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
for model, values in json.loads(given).items():
    config = Config(model=model, dataset="ml-small", config_dict=values | {"data_path": data})
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    network = get_model(model)(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.fit(train_data, valid_data, saved=False, show_progress=False)
    result = trainer.evaluate(test_data, load_best_model=False)
    weights = {name: value.double().sum().item() for name, value in network.state_dict().items()}
    flags = [torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, torch.get_num_threads()]
    values = {key: repr(value) for key, value in config.final_config_dict.items()}
    print(json.dumps([model, values, flags, trainer.train_loss_dict, dict(result), weights], default=float))
"""


def test_importing_us_changes_no_stock_model(small_data: Path) -> None:
    """The same configuration, losses, metrics and weights, to the last bit."""
    given = {
        "BPR": TINY,
        "GRU4Rec": {**TINY, "hidden_size": 8, "loss_type": "BPR", "load_col": LOADED},
        "SASRec": {**TINY, "hidden_size": 8, "train_neg_sample_args": None, "load_col": LOADED},
    }
    runs = [in_a_process_of_its_own(NUMBERS, str(small_data), how, json.dumps(given)) for how in ("with", "without")]
    mine, stock = ([json.loads(line) for line in run.splitlines() if line.startswith("[")] for run in runs)
    assert [model for model, *_ in stock] == list(given)
    assert mine == stock


# ---------------------------------------------------------------------- checkpoints


@pytest.fixture
def trained(small_data: Path) -> Callable[..., tuple]:
    """Trains one of RecBole's models for one epoch; gives its trainer, its checkpoint and its test data."""

    def make(model: str, dataset: str = "ml-small", **given: object) -> tuple:
        config = Config(model=model, dataset=dataset, config_dict={**TINY, "data_path": str(small_data), **given})
        init_seed(1, True)
        train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, get_model(model)(config, train_data._dataset))
        trainer.fit(train_data, valid_data, show_progress=False)
        return trainer, Path(trainer.saved_model_file), test_data

    return make


class Attack:
    """Pickled, it writes a file when it is read."""

    def __init__(self, call: tuple) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call


ATTACKS = {
    "a function": Attack((os.system, ("touch executed",))),
    "a builtin": Attack((eval, ("open('executed', 'w')",))),
    "a Config, which evaluates": Attack((Config, ("BPR", "ml-100k", None, {"x": "open('executed', 'w')"}))),
    "a data set, which reads files": Attack((Dataset, ({},))),
    "one of RecBole's functions": Attack((get_model, ("BPR",))),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_checkpoint_runs_no_code(
    attack: Attack, trained: Callable, in_a_folder_of_its_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv[:1])
    trainer, file, test_data = trained("BPR")
    state = torch.load(file, weights_only=False)
    torch.save({**state, "epoch": attack}, file, pickle_protocol=4)
    for read in (trainer.resume_checkpoint, load_data_and_model, lambda file: trainer.evaluate(test_data)):
        with pytest.raises((UserError, pickle.UnpicklingError), match=r"could run code|may not make one"):
            read(str(file))
    assert not Path("executed").exists()


def test_a_layer_with_the_whole_data_set_is_read(small_data: Path, trained: Callable) -> None:
    """GRU4RecF, SASRecF, FDSA, DIN and DIEN keep one beside their weights."""
    folder = small_data / "ml-films"
    folder.mkdir()
    (folder / "ml-films.inter").write_bytes((small_data / "ml-small" / "ml-small.inter").read_bytes())
    items = sorted({line.split("\t")[1] for line in (folder / "ml-films.inter").read_text().splitlines()[1:]})
    lines = ["item_id:token\tclass:token_seq", *(f"{item}\tA B{int(item) % 7}" for item in items)]
    (folder / "ml-films.item").write_text("\n".join(lines) + "\n")
    columns = {**LOADED, "item": ["item_id", "class"]}
    trainer, file, test_data = trained(
        *("GRU4RecF", "ml-films"), train_neg_sample_args=None, load_col=columns, selected_features=["class"]
    )
    _, model, dataset, *_ = load_data_and_model(str(file))
    layer = model.other_parameter()["feature_embed_layer"]
    assert type(layer.dataset) is type(dataset)
    assert layer.dataset.token2id("class", "B3") == dataset.token2id("class", "B3")
    assert trainer.evaluate(test_data) == trainer.evaluate(test_data, load_best_model=False)


def test_a_sampler_beside_the_data_set_is_read(in_a_folder_of_its_own: Path) -> None:
    """DIEN's data set keeps the sampler of its negative histories."""
    sampler = object.__new__(SeqSampler)
    vars(sampler).update(distribution="uniform", item_num=3)
    torch.save({"sampler": sampler}, "file.pth")
    read = load("file.pth")["sampler"]
    assert type(read) is SeqSampler
    assert read.sample_neg_sequence(np.array([1, 2, 1])).tolist() == [2, 1, 2]


def test_other_loads_are_pytorchs(trained: Callable) -> None:
    """Outside RecBole's modules `torch.load` goes on refusing."""
    _, file, _ = trained("BPR")
    load_data_and_model(str(file))
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6):
        with pytest.raises(pickle.UnpicklingError):
            torch.load(file)


# ---------------------------------------------------------------------- SciPy, NumPy, pandas, ray, distutils


def test_lightgcns_graph(trained: Callable) -> None:
    """SciPy's `dok_matrix` lacks what fills it: the graph is D^-1/2 A D^-1/2."""
    trainer, _, test_data = trained("LightGCN")
    model = trainer.model
    clicks = model.interaction_matrix.toarray() > 0
    users, items = clicks.shape
    graph = np.block([[np.zeros((users, users)), clicks], [clicks.T, np.zeros((items, items))]])
    scale = (graph.sum(axis=1) + 1e-7) ** -0.5
    expected = scale[:, None] * graph * scale
    np.testing.assert_allclose(model.norm_adj_matrix.to_dense().cpu(), expected, rtol=1e-6, atol=1e-9)
    assert trainer.evaluate(test_data)["mrr@5"] > 0


def test_ksr_multiplies_numbers_of_one_width(small_data: Path, trained: Callable) -> None:
    folder = small_data / "ml-graph"
    folder.mkdir()
    lines = (small_data / "ml-small" / "ml-small.inter").read_text().splitlines()
    items = sorted({line.split("\t")[1] for line in lines[1:]})
    for kind, rows in {
        "inter": lines,
        "link": ["item_id:token\tentity_id:token", *(f"{item}\te{item}" for item in items)],
        "kg": ["head_id:token\trelation_id:token\ttail_id:token", *(f"e{item}\tr1\te{items[0]}" for item in items)],
        "ent_feature": ["ent_id:token\tent_vec:float_seq", *(f"e{item}\t0.1 0.2 0.{item}" for item in items)],
        "rel_feature": ["rel_id:token\trel_vec:float_seq", "r1\t0.1 0.2 0.3"],
    }.items():
        (folder / f"ml-graph.{kind}").write_text("\n".join(rows) + "\n")
    ids = {"ent_id": "ent_vec", "rel_id": "rel_vec"}
    columns = {"kg": ["head_id", "relation_id", "tail_id"], "link": ["item_id", "entity_id"]}
    trainer, _, test_data = trained(
        *("KSR", "ml-graph"), train_neg_sample_args=None, kg_embedding_size=3, hidden_size=8, preload_weight=ids,
        load_col={**LOADED, **columns, "ent_feature": ["ent_id", "ent_vec"], "rel_feature": ["rel_id", "rel_vec"]},
        additional_feat_suffix=["ent_feature", "rel_feature"], alias_of_entity_id=["ent_id"],
        alias_of_relation_id=["rel_id"],
        eval_args={"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    )  # fmt: skip
    assert trainer.model.relation_Matrix.dtype == torch.float32
    assert trainer.evaluate(test_data)["mrr@5"] > 0


def test_stand_ins_leave_no_trace() -> None:
    """Only what cannot be imported is stood in for, and only meanwhile."""
    with compat.stand_ins({"no_such_module": ModuleType("no_such_module"), "json": ModuleType("json")}):
        import no_such_module

        assert no_such_module is sys.modules["no_such_module"]
        assert sys.modules["json"] is json
    assert "no_such_module" not in sys.modules


def test_thop_without_distutils(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Python 3.12 and later."""
    for name in ("distutils", "distutils.version", "thop", "thop.profile"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("thop", "thop.profile"):
        monkeypatch.delitem(sys.modules, name)
    from thop.profile import register_hooks

    assert torch.nn.Linear in register_hooks


def test_hyperopt_without_pkg_resources(monkeypatch: pytest.MonkeyPatch, in_a_folder_of_its_own: Path) -> None:
    """As with setuptools 81 and later."""
    Path("hyperopt").mkdir()
    Path("hyperopt/__init__.py").write_text("from hyperopt import atpe")
    Path("hyperopt/atpe.py").write_text("import pkg_resources")
    monkeypatch.syspath_prepend(str(in_a_folder_of_its_own))
    for name in ("hyperopt", "hyperopt.atpe", "pkg_resources"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("hyperopt", "hyperopt.atpe"):
        monkeypatch.delitem(sys.modules, name)
    import hyperopt

    assert hyperopt.atpe.pkg_resources


def test_pandas_3_is_refused_when_recbole_reads_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "version", lambda name: "3.0.1")
    with (
        pytest.raises(UserError, match=r"^pandas 3\.0\.1 corrupts RecBole's data: pip install 'pandas<3'$"),
        compat.MENDS["recbole.data.dataset.dataset"](ModuleType("any")),
    ):
        pass


def test_another_release_of_recbole_is_said() -> None:
    other = ModuleType("recbole")
    other.__version__ = "1.3.0"
    line = r"^RecBole 1\.3\.0 is not what this is written for: pip install --no-deps recbole==1\.2\.1$"
    with pytest.warns(UserWarning, match=line), compat.MENDS["recbole"](other):
        pass


def test_ray_tune_says_what_to_use_instead() -> None:
    tune = compat._NoTune("ray.tune")
    assert tune.report(mrr=0.5) is None
    with pytest.raises(UserError, match=r"^ray cannot be imported on this stack: tune with RecBole's HyperTuning$"):
        tune.run  # noqa: B018


# ---------------------------------------------------------------------- RecBole missing

MISSING = """
import sys
import recbole_odrec
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == 'recbole' else find(name, *rest)
"""
INSTALL = "RecBole is not installed: pip install --no-deps recbole==1.2.1"


def test_without_recbole_python_says_what_to_install() -> None:
    script = f"{MISSING}\ntry:\n    from recbole_odrec import ODRec\nexcept ImportError as error:\n    print(error)"
    assert in_a_process_of_its_own(script) == f"{INSTALL}\n"


def test_without_recbole_the_command_line_says_what_to_install() -> None:
    script = f"{MISSING}\nfrom recbole_odrec.cli import main\nsys.stderr = sys.stdout\nassert main([]) == 2"
    assert in_a_process_of_its_own(script) == f"recbole_odrec: {INSTALL}\n"
