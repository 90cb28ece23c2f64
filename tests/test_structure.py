"""What design.md promises of the package's shape: imports point down one list and form no circle, files stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import recbole_odrec

PACKAGE = Path(recbole_odrec.__file__).parent

# Lowest first. A module belongs to the longest name it begins with, and imports from its own row and from those above
# it on this page. What it imports inside a function may stand lower, as long as there is no circle.
LAYERS = (
    ("errors",),
    ("parsing", "parts", "files", "four_bits", "arguments", "screen", "compat", "recbole_checkpoint"),
    ("processes",),
    ("nn",),
    ("losses",),
    ("data", "settings", "registry"),
    ("model",),
    ("neighbours",),
    ("trainer.objectives", "trainer.checkpoint"),
    ("chosen_parts",),
    ("config",),
    ("trainer", "run_folder", "evaluation", "result", "summary", "keys", "decided"),
    ("registration", "config_hook"),
    ("import_hooks",),
    ("preflight", "phases"),
    ("baseline",),
    ("quick_start",),
    ("bundle",),
    ("demo",),
    ("benchmark", "tune"),
    ("cli",),
    ("__main__",),
)
EVERYWHERE = "__init__"  # `recbole_odrec` itself: names that are imported when they are asked for

# Packages that these modules must not need. `bundle` alone is what a device imports.
WITHOUT = {
    ("nn", "losses"): {"recbole", "pandas"},
    ("parsing", "parts", "errors", "arguments", "import_hooks", "compat", "processes.launch"): {
        "recbole",
        "torch",
        "numpy",
        "pandas",
    },
}


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name below it, a package by that of its folder."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imports(node: ast.AST, late: bool = False) -> Iterator[tuple[str, bool]]:
    """Dotted names that a module imports, and whether inside a function; what only type checkers see is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"a relative import in line {child.lineno}"
            yield from ((f"{child.module}.{alias.name}", late) for alias in child.names)
        yield from imports(child, late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def ours(name: str) -> set[str]:
    """The modules of the package that run when this name is imported: itself and the packages around it."""
    if not name.startswith("recbole_odrec."):
        return set()
    parts = name.split(".")[1:]
    return {below for end in range(1, len(parts) + 1) if (below := ".".join(parts[:end])) in MODULES}


def layer(module: str) -> int:
    """The row of `LAYERS` that a module belongs to."""
    fits = [
        (len(name), row)
        for row, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    assert fits, f"{module} stands in no row of LAYERS: what may it import, and who may import it?"
    return max(fits)[1]


# Module -> what it imports of ours, and whether late.
NEEDS = {
    module: {(used, late) for name, late in imports(tree) for used in ours(name) if used != module}
    for module, tree in MODULES.items()
    if module != EVERYWHERE
}
# Folders whose own file imports nothing of ours: no matter who runs it on the way to a module inside.
BARE = {module for module in NEEDS if (PACKAGE / module.replace(".", "/")).is_dir() and not NEEDS[module]}


def test_imports_point_down() -> None:
    upwards = [
        f"{module} imports {used}"
        for module, needs in NEEDS.items()
        for used, late in needs
        if not late and used not in BARE and layer(used) > layer(module)
    ]
    assert not upwards, "\n".join(sorted(upwards))


def test_imports_form_no_circle() -> None:
    """Late imports count too; a folder's own file may import what is in the folder."""
    graph = {
        module: {used for used, _ in needs if not module.startswith(f"{used}.")} for module, needs in NEEDS.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_nobody_imports_a_benchmark_or_the_command_line() -> None:
    found = [
        f"{module} imports {used}"
        for module, needs in NEEDS.items()
        for used, _ in needs
        if used.split(".")[0] in ("benchmark", "cli") and module.split(".")[0] not in ("benchmark", "cli", "__main__")
    ]
    assert not found, "\n".join(found)


def test_what_is_independent_stays_so() -> None:
    """Followed through everything that the modules import of ours."""
    for starts, forbidden in WITHOUT.items():
        todo, seen = [module for module in MODULES if {module, module.split(".")[0]} & set(starts)], set()
        while todo:
            module = todo.pop()
            if module in seen:
                continue
            seen.add(module)
            names = {name.split(".")[0] for name, late in imports(MODULES[module]) if not late}
            assert not names & forbidden, f"{module} imports {sorted(names & forbidden)}, which {starts} must not need"
            todo += [used for used, late in NEEDS[module] if not late]


def test_files_are_short() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in PACKAGE.rglob("*.py")}
    long = [f"{file.relative_to(PACKAGE)}: {lines} lines" for file, lines in lengths.items() if lines > 250]
    assert not long, "\n".join(sorted(long))
