"""`recbole-odrec benchmark browser`: what the demo page costs in Chromium, teacher's bundle beside student's.

Each load is cold: a browser context of its own, nothing cached, files served from this machine, so that no network is
in the numbers. Latency is measured in the page, from item ids to the top-20.
"""

from __future__ import annotations

import gzip
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_odrec.benchmark.browser_report import markdown
from recbole_odrec.benchmark.chromium import chromium, make_site, open_page, serve
from recbole_odrec.benchmark.device_bundles import write_random_bundle
from recbole_odrec.benchmark.machine import machine
from recbole_odrec.bundle.manifest import read_manifest
from recbole_odrec.bundle.precision import Precision
from recbole_odrec.demo.runtime import VERSION
from recbole_odrec.files import write_json, write_text

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TMALL_ITEMS = 40_727
_RANDOM: tuple[tuple[str, Precision], ...] = (("student", "fp32"), ("student", "int8"), ("teacher", "fp32"))
LOADS, SAMPLES = 5, 100

# Browsers round their clock to 0.1 ms for pages like this one, so a sample is ten answers. [histories, samples]
_LATENCIES = """async ([histories, samples]) => {
  const { recommender } = await (await import("./main.js")).loaded;
  const taken = [];
  for (let sample = -5; sample < samples; sample++) {
    const before = performance.now();
    for (let i = 0; i < 10; i++) {
      await recommender.recommend(histories[Math.abs(10 * sample + i) % histories.length], 20, false);
    }
    if (sample >= 0) taken.push((performance.now() - before) / 10);
  }
  return taken;
}"""


def benchmark_browser(
    output: Path,
    bundles: Sequence[Path] = (),
    n_items: int = TMALL_ITEMS,
    say: Callable[[str], object] = lambda line: None,
    loads: int = LOADS,
    samples: int = SAMPLES,
) -> dict[str, Any]:
    """Measures, and writes `browser.json` and `browser.md` into a folder.

    Args:
        output: the folder.
        bundles: bundles to measure beside those with random weights.
        n_items: items of those with random weights.
        say: told what is being measured.
        loads: cold loads of each bundle; their median counts.
        samples: of ten answers each.

    Raises:
        UserError: no Chromium, no runtime, or a bundle that does not run.
    """
    with tempfile.TemporaryDirectory(prefix="odrec-browser-") as work, chromium() as browser:
        rows = []
        for bundle in bundles:
            say(f"{bundle}")
            rows.append(_measure(browser, bundle, "trained", loads, samples))
        for model, precision in _RANDOM:
            say(f"{model} {precision}, {n_items:,} items, random weights")
            bundle = Path(work) / f"{model}-{precision}"
            write_random_bundle(bundle, model, n_items, precision)
            rows.append(_measure(browser, bundle, "random", loads, samples))
        result = {
            "rows": rows,
            "machine": machine(),
            "versions": {"chromium": browser.version, "onnxruntime-web": VERSION},
        }
    write_json(output / "browser.json", result)
    write_text(output / "browser.md", markdown(result))
    return result


def _measure(browser: Browser, bundle: Path, weights: str, loads: int, samples: int) -> dict[str, Any]:
    manifest, site = read_manifest(bundle), make_site(bundle)
    sizes = {name: _bytes(source) for name, source in site.items()}
    load_ms = []
    with serve(site) as server:
        for number in range(loads):
            context = browser.new_context()
            page = context.new_page()
            open_page(page, server.url)
            load_ms.append(page.evaluate("performance.getEntriesByName('ready')[0].startTime"))
            if number == loads - 1:
                taken = sorted(page.evaluate(_LATENCIES, [_histories(manifest["n_items"]), samples]))
            context.close()
    runtime = [source for name, source in site.items() if name.startswith("runtime/")]
    return {
        "model": manifest["model"],
        "dataset": manifest.get("dataset"),
        "weights": weights,
        "precision": manifest["precision"],
        "n_items": manifest["n_items"],
        "model_bytes": sizes["bundle/model.onnx"],
        "bundle_bytes": sum(size for name, size in sizes.items() if name.startswith("bundle/")),
        "runtime_bytes": sum(map(_bytes, runtime)),
        "runtime_gzip_bytes": sum(map(_gzip_bytes, runtime)),
        "page_bytes": sum(size for name, size in sizes.items() if "/" not in name),
        "load_ms": statistics.median(load_ms),
        "load_ms_range": [min(load_ms), max(load_ms)],
        "p50_ms": statistics.median(taken),
        "p95_ms": taken[math.ceil(0.95 * len(taken)) - 1],
        "answers": 10 * len(taken),
    }


def _histories(n_items: int) -> list[list[int]]:
    """64 histories of 20 items, the same on every machine."""
    return [[1 + (i * 7919 + j * 104_729) % n_items for j in range(20)] for i in range(64)]


@lru_cache
def _gzip_bytes(path: Path) -> int:
    return len(gzip.compress(path.read_bytes()))


def _bytes(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size
