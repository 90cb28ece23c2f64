"""What `export` tells on the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def summarize_export(manifest: dict[str, Any], output: str | Path) -> str:
    """Parity with PyTorch, sizes, and last the folder.

    Args:
        manifest: content of `manifest.json`.
        output: the bundle's folder.
    """
    lines = [f"{manifest['model']} on {manifest['dataset']}, {manifest['n_items']} items, {manifest['precision']}"]
    for precision, parity in manifest["parity"].items():
        agreed = parity["identical_lists"] + parity["tied_lists"]
        lines.append(
            f"{precision} against PyTorch on {parity['cases']} test cases: {agreed} lists equal "
            f"({parity['tied_lists']} up to ties), overlap@{parity['k']} {parity['overlap']:.4f}, largest score "
            f"difference {parity['largest_score_difference']:.1e}, NDCG@{min(10, parity['k'])} "
            f"{parity['ndcg_pytorch']:.4f} -> {parity['ndcg_bundle']:.4f}"
        )
    if user := manifest.get("user_state"):
        before, after = (user["valid"][name] for name in ("ndcg@20", "ndcg@20_with_state"))
        lines.append(
            f"user state, sessions by {user['sessions']}: vector_weight {user['vector_weight']:g}, decay "
            f"{user['decay']:g}, seen_weight {user['seen_weight']:g}; NDCG@20 {before:.4f} -> {after:.4f} on "
            f"{user['valid']['cases']} validation cases with an earlier session"
        )
    sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    lines.append(f"{sum(sizes.values()):,} bytes beside the manifest: {listed}")
    return "\n".join([*lines, str(output)])
