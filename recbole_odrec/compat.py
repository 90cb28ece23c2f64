"""Everything that keeps RecBole 1.2.1 alive on today's stack, each with its reason.

A mend belongs to one module of RecBole, named above it, and stands around the import of that module: what comes before
its `yield` is done before the module runs. Where the module is imported already, all of it is done at once. A mend
changes nothing where nothing is broken, and no number. This module needs the standard library alone.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

from recbole_odrec.errors import UserError

RECBOLE = "1.2.1"
INSTALL_RECBOLE = f"pip install --no-deps recbole=={RECBOLE}"

Mend = Callable[[ModuleType], AbstractContextManager[None]]
MENDS: dict[str, Mend] = {}  # name of a module -> what is done around its import


class MissingError(UserError, ModuleNotFoundError):
    """What RecBole needs is not installed, or not in a release that it works with; the message says what to run."""

    def __init__(self, message: str, name: str) -> None:
        ModuleNotFoundError.__init__(self, message, name=name)


def _around(*modules: str) -> Callable[[Callable[[ModuleType], Iterator[None]]], Mend]:
    def add(mend: Callable[[ModuleType], Iterator[None]]) -> Mend:
        around = contextmanager(mend)
        MENDS.update(dict.fromkeys(modules, around))
        return around

    return add


# ---------------------------------------------------------------------- NumPy, pandas, SciPy

# Names that NumPy 1.24 and 2 took away. RecBole's Config puts most of them back by means of others that are gone too,
# and its data and metrics read them before there is a Config. The values are the Config's.
_NUMPY_NAMES = {
    **{"float": "float64", "float_": "float64", "int": "int_", "long": "int_", "bool": "bool_", "object": "object_"},
    **{"complex": "complex128", "complex_": "complex128", "str": "str_", "unicode": "str_", "unicode_": "str_"},
    **{"string_": "bytes_"},
}


@_around("recbole")
def _numpy_names_and_warnings(module: ModuleType) -> Iterator[None]:
    import numpy as np

    for name, today in _NUMPY_NAMES.items():
        if name not in vars(np):  # hasattr would trip NumPy's own "removed" warnings
            setattr(np, name, getattr(np, today))
    _quiet_known_warnings()
    yield
    if module.__version__ != RECBOLE:
        warnings.warn(f"RecBole {module.__version__} is not what this is written for: {INSTALL_RECBOLE}", stacklevel=2)


def _quiet_known_warnings() -> None:
    """RecBole's own deprecations, which a user of ours can do nothing about; behind what the user asked for."""
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"recbole\.", append=True)
    # pandas and torch name the caller's line, which for these is RecBole's.
    for message, category in (
        (".*torch.cuda.amp.GradScaler.*", FutureWarning),
        (".*A value is trying to be set on a copy.*", FutureWarning),
        (".*pkg_resources is deprecated.*", UserWarning),
    ):
        warnings.filterwarnings("ignore", message=message, category=category, append=True)


@_around("recbole.data.dataset.dataset")
def _pandas_below_3(module: ModuleType) -> Iterator[None]:
    # pandas 3 breaks `token_seq` fields (`Series.agg(len)`) and turns RecBole's chained `fillna(inplace=True)` into a
    # silent no-op, which corrupts padding rows: wrong numbers, no error. There is no mending that from outside.
    installed = version("pandas")
    if int(installed.split(".")[0]) >= 3:
        raise MissingError(f"pandas {installed} corrupts RecBole's data: pip install 'pandas<3'", name="pandas")
    yield


_GRAPH_MODELS = ("general_recommender." + name for name in ("lightgcn", "ngcf", "spectralcf", "gcmc", "ncl"))
_KNOWLEDGE_MODELS = ("knowledge_aware_recommender." + name for name in ("kgin", "mcclk"))


@_around(*(f"recbole.model.{name}" for name in (*_GRAPH_MODELS, *_KNOWLEDGE_MODELS)))
def _dok_matrix_update(module: ModuleType) -> Iterator[None]:
    # SciPy 1.13 took away the unchecked `dict.update` by which seven models fill their graph.
    from scipy.sparse import dok_matrix

    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, entries: self._dict.update(entries)
    yield


# ---------------------------------------------------------------------- PyTorch


@_around("recbole.model.sequential_recommender.sine")
def _anomaly_detection_as_it_was(module: ModuleType) -> Iterator[None]:
    # SINE's module turns autograd's anomaly detection on for the whole process, and importing any sequential model
    # imports it. It looks for NaN after every backward operation: training without it is about twice as fast.
    import torch

    was_on = torch.is_anomaly_enabled()
    yield
    torch.autograd.set_detect_anomaly(was_on)


_PRETRAINED = ("general_recommender." + name for name in ("convncf", "nais", "neumf", "ract"))
_LOADERS = (*_PRETRAINED, "context_aware_recommender.kd_dagfm", "sequential_recommender.s3rec")


@_around("recbole.trainer.trainer", *(f"recbole.model.{name}" for name in _LOADERS))
def _checkpoints_in_trainer_and_models(module: ModuleType) -> Iterator[None]:
    # Since torch 2.6 `torch.load` refuses what RecBole's trainer has just saved: its Config is pickled beside the
    # weights. In these modules, and in no other, it reads RecBole's checkpoints (`recbole_checkpoint` says how safely).
    yield
    from recbole_odrec.recbole_checkpoint import TorchForRecBole

    vars(module)["torch"] = TorchForRecBole()


# ---------------------------------------------------------------------- what is not there


@contextmanager
def stand_ins(modules: dict[str, ModuleType]) -> Iterator[None]:
    """Inside, these modules can be imported; those that cannot be imported for real are the ones given."""
    put = {}
    for name, stand_in in modules.items():
        try:
            import_module(name)
        except Exception:  # ray on today's stack dies of whatever comes first
            put[name] = sys.modules[name] = stand_in
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]


class _NoTune(ModuleType):
    """`ray.tune` for RecBole's quick start, which only reports to it."""

    def report(self, **results: object) -> None:
        """Does nothing, as ray's own does outside a session of Ray Tune: RecBole's HyperTuning works without."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise MissingError("ray cannot be imported on this stack: tune with RecBole's HyperTuning", name="ray")


@_around("recbole.quick_start.quick_start")
def _quick_start_without_ray(module: ModuleType) -> Iterator[None]:
    # ray 2.6.3, the last release that RecBole admits, imports `pkg_resources` (gone from setuptools 81) and `np.bool8`
    # (gone from NumPy 2), and has no wheel for Python 3.12. The quick start alone needs it, to report to Ray Tune.
    ray = ModuleType("ray")
    vars(ray)["tune"] = _NoTune("ray.tune")
    with stand_ins({"ray": ray}):
        yield
    from recbole_odrec.recbole_checkpoint import reading_checkpoints

    original = module.load_data_and_model

    @functools.wraps(original)
    def load_data_and_model(model_file: str) -> tuple:
        with reading_checkpoints():  # it imports torch inside: the module has no `torch` to put another in place of
            return original(model_file)

    vars(module)["load_data_and_model"] = load_data_and_model


@_around("thop.profile")
def _distutils_of_python_3_12(module: ModuleType) -> Iterator[None]:
    # RecBole counts operations by thop, which compares torch's version by means of `distutils`, gone in Python 3.12.
    distutils = ModuleType("distutils.version")
    vars(distutils)["LooseVersion"] = lambda words: [int(word) for word in words.split("+")[0].split(".")[:2]]
    with stand_ins({"distutils": ModuleType("distutils"), "distutils.version": distutils}):
        yield


@_around("hyperopt.atpe")
def _hyperopt_without_pkg_resources(module: ModuleType) -> Iterator[None]:
    # The releases before 0.3, of which RecBole's HyperTuning asks for one, import it for a search that RecBole has not.
    with stand_ins({"pkg_resources": ModuleType("pkg_resources")}):
        yield


# ---------------------------------------------------------------------- RecBole's own


@_around("recbole.evaluator.collector")
def _counts_beside_tensors(module: ModuleType) -> Iterator[None]:
    # Metrics of the whole catalogue (ItemCoverage, GiniIndex, ..) have it collect counters and numbers, and then it
    # asks everything it has collected to come to the CPU, as if all were tensors.
    yield
    kind = module.Collector
    original = kind.get_data_struct

    @functools.wraps(original)
    def get_data_struct(self: Any) -> Any:
        collected = self.data_struct._data_dict
        counts = {key: value for key, value in collected.items() if not hasattr(value, "cpu")}
        for key in counts:
            del collected[key]
        returned = original(self)
        for each in (collected, returned._data_dict):
            each.update(counts)
        return returned

    kind.get_data_struct = get_data_struct


@_around("recbole.model.sequential_recommender.ksr")
def _relations_as_wide_as_weights(module: ModuleType) -> Iterator[None]:
    # KSR keeps its relations in the 64 bits of the file and multiplies them with weights of 32, which PyTorch refuses.
    yield
    kind = module.KSR
    original = kind.__init__

    @functools.wraps(original)
    def __init__(self: Any, *arguments: Any) -> None:  # noqa: N807
        original(self, *arguments)
        self.relation_Matrix = self.relation_Matrix.float()

    kind.__init__ = __init__
