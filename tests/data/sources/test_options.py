"""The options of a question: their letters, and which of them is the answer."""

from __future__ import annotations

from liteframe.data.sources.options import without_letters


def test_letters_of_a_list_are_taken_off_only_if_all_bring_theirs() -> None:
    assert without_letters(["A. one", "B. two.", "C. A. three"]) == ["one", "two.", "A. three"]
    assert without_letters(["A. one", "C. two"]) is None
    assert without_letters(["A man", "B vitamins"]) is None
