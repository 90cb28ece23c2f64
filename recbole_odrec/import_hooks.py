"""What `import recbole_odrec` does to RecBole, put off until RecBole itself is imported.

A device imports `recbole_odrec.bundle` and has no RecBole; plain RecBole code imports `recbole_odrec` and expects its
names. Both work because the package only asks Python to be told when certain modules are imported:

- those that today's stack breaks, each with its mend (`compat.MENDS`);
- `recbole.config.configurator`: `Config` reads our property files too (`config_hook`);
- `recbole.model.sequential_recommender.odrec` and its like, where `get_model` looks for a model of that name: ours.

Why not register at once where RecBole is installed? Registering needs our models, and these need PyTorch and RecBole: 7
seconds and 350 MB for a `recbole_odrec.bundle` that takes 0.3 seconds and 37 MB and uses neither. Why not at once when
RecBole is imported? Our own modules import RecBole in their first lines, so our models would be asked for while they
are half imported; and some mends have to stand before RecBole's module runs (`compat.stand_ins`). A finder on
`sys.meta_path` is Python's own way to be told.

This module needs the standard library alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from recbole_odrec.compat import INSTALL_RECBOLE, MENDS, MissingError
from recbole_odrec.parts import FIXED_PARTS, NEIGHBOURS

_MODELS = {f"recbole.model.sequential_recommender.{name.lower()}" for name in (*FIXED_PARTS, *NEIGHBOURS)}


@contextmanager
def _hook_config(module: ModuleType) -> Iterator[None]:
    yield
    from recbole_odrec.config_hook import hook_properties

    hook_properties(module.Config)


_AROUND = {**MENDS, "recbole.config.configurator": _hook_config}  # name of a module -> what is done around its import


class _Around(Loader):
    """A module's own loader, and our part around it."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module looks as if nobody had stood in between (its resources, its reload).
        module.__loader__ = module.__spec__.loader = self.loader  # pyright: ignore[reportOptionalMemberAccess]
        with _AROUND[module.__name__](module):
            self.loader.exec_module(module)


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
        if fullname not in _AROUND:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Around(spec.loader)
                return spec
        if fullname == "recbole":
            raise MissingError(f"RecBole is not installed: {INSTALL_RECBOLE}", name="recbole")
        return None


def install() -> None:
    """Asks to be told; what of RecBole is imported already is served at once. Safe to call more than once."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for name, around in _AROUND.items():
        if name in sys.modules:
            with around(sys.modules[name]):
                pass
