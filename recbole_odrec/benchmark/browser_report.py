"""Table of `benchmark browser`, from its JSON alone."""

from __future__ import annotations

from typing import Any


def markdown(result: dict[str, Any]) -> str:
    """One row a bundle."""
    header = ["items", "model", "model file", "bundle", "load, cold", "ms an answer, p50", "p95"]
    lines = [header, ["---"] * len(header)]
    for row in result["rows"]:
        lines.append(
            [
                f"{row['n_items']:,}",
                f"{row['model']} {row['precision']}, {row['dataset'] or 'random weights'}",
                *(_size(row[key]) for key in ("model_bytes", "bundle_bytes")),
                f"{row['load_ms'] / 1000:.2f} s",
                *(f"{row[key]:.2f}" for key in ("p50_ms", "p95_ms")),
            ]
        )
    machine, versions, row = result["machine"], result["versions"], result["rows"][0]
    runtime, packed, page = (_size(row[key]) for key in ("runtime_bytes", "runtime_gzip_bytes", "page_bytes"))
    return "\n".join(
        [
            "# In the browser: student beside teacher",
            "",
            "Written by `recbole-odrec benchmark browser`; do not edit.",
            f"{machine['processor']}, {machine['cpus']} cores, headless Chromium {versions['chromium']},",
            f"onnxruntime-web {versions['onnxruntime-web']}, WebAssembly on one thread, a history of 20 items, top-20.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
            "",
            f"- The runtime, for every model: {runtime}, {packed} where the host compresses; the page: {page}.",
            "- load, cold: from the address to the first possible answer, nothing cached, files from the same machine,",
            "  every one checked against its SHA-256; median.",
            "- Random weights: D = 128, one layer, soft-attention read-out, student tt_ranks=60, stp_factor=2.",
            "",
        ]
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.2f} MB"
