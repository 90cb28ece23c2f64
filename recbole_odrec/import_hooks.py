"""What `import recbole_odrec` does to RecBole, put off until RecBole itself is imported.

A device imports `recbole_odrec.bundle` and has no RecBole; plain RecBole code imports `recbole_odrec` and expects its
names. Both work because the package only asks Python to be told when three places of RecBole are imported:

- `recbole`: the shims that keep it alive on today's stack (`compat.apply`);
- `recbole.config.configurator`: `Config` reads our property files too (`config.hook_properties`);
- `recbole.model.sequential_recommender.odrec` and its like, where `get_model` looks for a model of that name: ours.

This module needs the standard library alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_MODELS = {f"recbole.model.sequential_recommender.{name}" for name in ("odrec", "sasrecteacher", "gru4recteacher")}


def _mend(module: ModuleType) -> None:
    from recbole_odrec import compat

    compat.apply()


def _hook_config(module: ModuleType) -> None:
    from recbole_odrec.config_hook import hook_properties

    hook_properties(module.Config)


_AFTER_IMPORT = {"recbole": _mend, "recbole.config.configurator": _hook_config}


class _ThenRun(Loader):
    """A module's own loader, and our part after it."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module looks as if nobody had stood in between (its resources, its reload).
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        _AFTER_IMPORT[module.__name__](module)


class _OurModel(Loader):
    """The module that RecBole expects to hold one of our models; importing it registers all of them."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from recbole_odrec.registration import OUR_CLASSES, register

        register()
        model = OUR_CLASSES[module.__name__.rpartition(".")[2]]
        module.__doc__ = model.__doc__
        setattr(module, model.__name__, model)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _MODELS:
            return ModuleSpec(fullname, _OurModel(), origin="recbole_odrec")
        if fullname not in _AFTER_IMPORT:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _ThenRun(spec.loader)
                return spec
        return None


def install() -> None:
    """Asks to be told; what of RecBole is imported already is served at once. Safe to call more than once."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for name, act in _AFTER_IMPORT.items():
        if name in sys.modules:
            act(sys.modules[name])
