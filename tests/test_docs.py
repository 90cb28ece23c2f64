"""What the documentation says is there, current, and no longer than a reader has time for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recbole_odrec.keys import reference

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_at_most_12_kb() -> None:
    assert len(README.encode()) <= 12_000


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'<img src="([^"]+)"', text)
    for target in (target for target in targets if not target.startswith("http")):
        assert (page.parent / target).exists(), target


def test_the_reference_of_keys_is_current() -> None:
    """`recbole-odrec keys > docs/keys.md` writes it."""
    assert (ROOT / "docs" / "keys.md").read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize(
    "row",
    [
        "| `kd_weight` | `0.8` | Weight of the soft targets against the next-item cross-entropy, 0 to 1. |",  # a part's
        "| `topk` | `[5, 10, 20]` | Cut-offs of the metrics. |",  # a property file's
    ],
)
def test_a_key_has_its_default_and_meaning(row: str) -> None:
    assert row in reference().splitlines()


@pytest.mark.parametrize("source", ["ml-100k.md", "device.md"])
def test_the_readmes_tables_are_those_of_the_results(source: str) -> None:
    rows = {line for line in (ROOT / "results" / source).read_text(encoding="utf-8").splitlines() if line[:1] == "|"}
    first = "ml-100k" if source == "ml-100k.md" else "1,000,000"
    shown = [line for line in README.splitlines() if line.startswith(f"| {first} |")]
    assert len(shown) >= 3
    assert set(shown) <= rows


def test_what_a_scan_takes_is_what_the_results_say() -> None:
    text = (ROOT / "docs" / "device.md").read_text(encoding="utf-8")
    said = re.findall(r"(?:8 codes at (a million) items take|(Ten million) items take|; (a million)) ([\d.]+)", text)
    results = (ROOT / "results" / "device.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (1,000,000|10,000,000) \| (student int8|codes int8) \|[^|]*\|[^|]*\| ([\d.]+) ", results, re.M
    )
    p50 = {row[:2]: row[2] for row in rows}
    assert [value for *_, value in said] == [
        p50["1,000,000", "codes int8"],
        p50["10,000,000", "student int8"],
        p50["1,000,000", "student int8"],
    ]
