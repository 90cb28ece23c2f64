"""What an item file says: facts as they are read, and a ridge that equals its plain formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_odrec.bundle.item_facts import _STRENGTHS, FactsRidge, read_facts
from recbole_odrec.errors import UserError

FILE = """item_id:token\tmovie_title:token_seq\tyear:token\tprice:float\tvector:float_seq
1\tThe thing THE\t1995\t2.5\t1 -2
2\t\t\t\t
"""


def test_words_values_and_numbers() -> None:
    Path("x.item").write_text(FILE)
    first = {("movie_title", "the"): 1, ("movie_title", "thing"): 1, ("year", "1995"): 1}
    numbers = {("price", 0): 2.5, ("vector", 0): 1, ("vector", 1): -2}
    assert read_facts(Path("x.item")) == {"1": {**first, **numbers}, "2": {}}
    assert read_facts(Path("x.item"), fields=["year"]) == {"1": {("year", "1995"): 1}, "2": {}}
    Path("y.item").write_text(FILE.replace("item_id", "film"))
    assert list(read_facts(Path("y.item"), "film", ["year"])) == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "asked", "line"),
    [
        (FILE.replace("item_id", "film"), {}, "no column `item_id`, found `film`, .*--item_field"),
        (FILE, {"fields": ["yaer"]}, "no column `yaer`, found `item_id`, `movie_title`"),
        (FILE, {"item_field": "price"}, "column `price:float`, expected `price:token`"),
        (FILE.replace("2.5", "much"), {}, "line 2: `price` is `much`, expected finite numbers"),
        (FILE + "1\t\t\t\t\n", {}, "line 4: `item_id` is `1`, expected each name once: line 2 has it"),
        (FILE + f"{'a' * 4096}\t\t\t\t\n", {}, "line 4: `item_id` is `a+`, expected a name of fewer than 4,096 bytes"),
        ("item_id:token\n1\n", {}, "no column beside `item_id`, expected one that says something of items"),
        ("item_id:token\n", {}, "no column beside `item_id`"),
        ("a\tb\n", {}, "line 1: column `a`"),
    ],
)
def test_bad_files_are_one_line(content: str, asked: dict, line: str) -> None:
    Path("x.item").write_text(content)
    with pytest.raises(UserError, match=line):
        read_facts(Path("x.item"), **asked)


def test_the_ridge_is_its_plain_formula_and_its_errors_are_those_of_items_left_out() -> None:
    drawn = np.random.default_rng(0)
    x = np.c_[drawn.integers(0, 2, (40, 5)), 50 + 20 * drawn.standard_normal(40)].astype(float)
    rows = x[:, :5] @ drawn.standard_normal((5, 3)) + 0.02 * x[:, 5:] + 0.5 * drawn.standard_normal((40, 3))

    def described(of_one: np.ndarray) -> dict:
        words = {("class", f"w{place}"): 1.0 for place in range(5) if of_one[place]}
        return {**words, ("price", 0): of_one[5]}

    facts = [described(of_one) for of_one in x]
    ridge = FactsRidge(facts, rows)
    assert ridge.strength in _STRENGTHS[1:-1]

    scaled = np.c_[x[:, :5], np.clip((x[:, 5] - x[:, 5].mean()) / x[:, 5].std(), -3, 3)]

    def plain(kept: np.ndarray, asked: np.ndarray | int) -> np.ndarray:
        center = scaled[kept] - scaled[kept].mean(0)
        weights = np.linalg.solve(center.T @ center + ridge.strength * np.eye(6), center.T @ rows[kept])
        return (scaled[asked] - scaled[kept].mean(0)) @ weights + rows[kept].mean(0)

    everything = np.arange(40)
    np.testing.assert_allclose(ridge.rows_of(facts), plain(everything, everything), atol=1e-9)
    for item in (0, 7, 39):
        np.testing.assert_allclose(ridge.left_out[item], plain(np.delete(everything, item), item), atol=1e-9)
    unknown: dict = {("class", "w9"): 1.0}
    assert not ridge.knows(unknown)
    assert ridge.knows(facts[0])


def test_facts_of_one_item_each_say_nothing() -> None:
    with pytest.raises(UserError, match="says nothing of two items of the bundle alike"):
        FactsRidge([{("title", "a"): 1.0}, {("title", "b"): 1.0}], np.eye(2))
