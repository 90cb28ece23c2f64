from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_odrec.bundle import tokens as module
from recbole_odrec.bundle.tokens import TokenTable

# Whatever an atomic file can hold in one field: any text without its line feed.
words = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(words, min_size=1, max_size=40, unique=True), words)
def test_it_is_the_plain_dictionary(known: list[str], other: str) -> None:
    table = TokenTable("".join(f"{word}\n" for word in known).encode())
    plain = {word: number for number, word in enumerate(known, start=1)}
    assert len(table) == len(known)
    assert [table[number] for number in plain.values()] == known
    assert table.find_all([*known, other]) == [*plain.values(), plain.get(other, 0)]


def test_tokens_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MULTIPLIER", module.np.uint32(0))  # every token hashes to 0
    table = TokenTable(b"a\nbb\nccc\n")
    assert table.find_all(["ccc", "a", "bb", "d"]) == [3, 1, 2, 0]


def test_a_token_that_cannot_be_written_is_unknown() -> None:
    assert TokenTable(b"a\n").find("\ud800") == 0


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "not complete"), (b"a\nb", "not complete"), (b"a\n\nb\n", "empty")]
)
def test_a_damaged_list_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TokenTable(content)
