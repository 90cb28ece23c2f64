"""The page's recommender as an ES module with its bundle, ready for npm: `recbole-odrec demo --export-module`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_odrec import __version__
from recbole_odrec.bundle.manifest import MANIFEST, describe_file, read_manifest
from recbole_odrec.demo.runtime import PAGE, VERSION
from recbole_odrec.demo.site import Site, write_files
from recbole_odrec.errors import UserError
from recbole_odrec.files import cannot_write, folder_beside

MODULE = Path(__file__).parent / "module"
_OF_THE_PAGE = ("bundle.js", "optional_input.js", "problem.js", "recommender.js", "user_state.js")


def write_module(bundle: Mapping[str, Path], output: Path) -> None:
    """Writes the module into a folder that is complete or not there.

    Args:
        bundle: of `site.bundle_files`.
        output: folder to make.

    Raises:
        UserError: the folder is there already, or cannot be written.
    """
    if output.exists():
        raise UserError(f"{output} exists; give a new folder, or remove it first.")
    manifest = read_manifest(bundle[f"bundle/{MANIFEST}"].parent)
    files: Site = {path.name: path for path in sorted(MODULE.iterdir()) if path.name != "README.md"}
    files |= {name: PAGE / name for name in _OF_THE_PAGE} | dict(bundle)
    package = _package(manifest, [*files, "files.js"])
    readme = (MODULE / "README.md").read_text(encoding="utf-8").replace("NAME", package["name"])
    texts = {
        "README.md": readme.replace(f"    # {package['name']}: of package.json; in", "  # in"),
        "package.json": json.dumps(package, indent=2) + "\n",
        "files.js": _file_list(bundle),
    }
    try:
        with folder_beside(output) as work:
            write_files({**files, **{name: text.encode() for name, text in texts.items()}}, work / "module")
            (work / "module").rename(output)
    except OSError as error:
        raise cannot_write(output, error) from error


def _package(manifest: Mapping[str, Any], files: list[str]) -> dict[str, Any]:
    name = re.sub("[^a-z0-9]+", "-", str(manifest.get("dataset", "")).lower()).strip("-")
    runtimes = ("onnxruntime-web", "onnxruntime-node")
    return {
        "name": f"recbole-odrec-{name}".rstrip("-"),
        "version": __version__,
        "description": f"Next-item recommendation on the device: {manifest['n_items']:,} items",
        "license": "MIT",
        "type": "module",
        "exports": {".": {"types": "./index.d.ts", "default": "./index.js"}},
        "files": sorted({file.split("/")[0] for file in files}),
        "engines": {"node": ">=20"},
        "peerDependencies": dict.fromkeys(runtimes, f"^{VERSION.rsplit('.', 1)[0]}.0"),
        "peerDependenciesMeta": {runtime: {"optional": True} for runtime in runtimes},
    }


def _file_list(bundle: Mapping[str, Path]) -> str:
    """Addresses written out, so that bundlers see the files and take them along."""
    lines = [
        f'  "{path}": {{ url: new URL("./{path}", import.meta.url), sha256: "{describe_file(file)["sha256"]}" }},\n'
        for path, file in bundle.items()
    ]
    return f"// Every file of the bundle.\nexport const FILES = {{\n{''.join(lines)}}};\n"
