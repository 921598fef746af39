"""The options of a question: their letters, and which of them is the answer."""

from __future__ import annotations

from typing import Any

import pytest

from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.options import without_letters
from liteframe.errors import ManifestError


def test_letters_of_a_list_are_taken_off_only_if_all_bring_theirs() -> None:
    assert without_letters(["A. one", "B. two.", "C. A. three"]) == ["one", "two.", "A. three"]
    assert without_letters(["A. one", "C. two"]) is None
    assert without_letters(["A man", "B vitamins"]) is None


@pytest.mark.parametrize(
    ("options", "answer", "learnt"),
    [
        (["a cat", "a dog"], "B", "a dog"),
        (["a cat", "a dog"], "(b)", "a dog"),
        (["a cat", "a dog"], "B. a dog", "a dog"),
        (["A. a cat", "B. a dog"], "B", "a dog"),
        (["A. a cat", "B. a dog"], "B. a dog", "a dog"),
        (["a cat", "a dog"], "A dog.", "A dog."),
        (["a cat", "a dog"], "a dog", "a dog"),
        (["a cat", "a dog"], "It is a bird.", "It is a bird."),
        (["1", "2", "3"], "2", "2"),
        (["A", "B"], "B", "B"),
        (None, "B", "B"),
        ([], "B", "B"),
    ],
)
def test_a_letter_is_learnt_as_the_option_it_stands_for(options: Any, answer: str, learnt: str) -> None:
    """The options are not shown in training, and nothing could be learnt of their letters."""
    asked = {"question": "What is it?", "options": options, "answer": answer}
    assert turns_of(asked) == [("What is it?", learnt)] == turns_of({"questions": [asked]})


def test_a_letter_stays_where_the_question_shows_the_options() -> None:
    shown = "What is it?\nA. a cat\nB. a dog"
    for options in (["a cat", "a dog"], ["A. a cat", "B. a dog"]):
        assert turns_of({"question": shown, "options": options, "answer": "B"}) == [(shown, "B")]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"candidates": ["a cat", "a dog"], "answer": "B"}, "field candidates: the answer 'B' stands for an option"),
        ({"choices": {"A": "a cat", "B": "a dog"}, "answer": "(B)"}, "field choices"),
        ({"option0": "a cat", "option1": "a dog", "answer": "B"}, "field option0"),
        ({"A": "a cat", "B": "a dog", "answer": "B"}, "field A"),
        ({"a0": "a cat", "a1": "a dog", "num_option": 2, "answer": "1"}, "field a0"),
        ({"options": ["a cat", "a dog"], "answer": "1"}, "field answer: '1' is none of the options"),
        ({"options": ["a cat", "a dog"], "answer": "E"}, "field answer: 'E' is none of the options"),
    ],
)
def test_an_answer_that_stands_for_no_option_that_is_read_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=r"^a\.mp4 \(id x\): field ") as error:
        turns_of({"path": "a.mp4", "id": "x", "question": "What is it?", **fields})
    assert named in str(error.value)
    with pytest.raises(ManifestError, match=r"\(item 1\)"):
        turns_of({"path": "a.mp4", "id": "x", "questions": [{"question": "What is it?", **fields}]})


def test_fields_beside_an_answer_in_words_are_the_lists_own() -> None:
    asked = {"question": "What is it?", "answer": "a dog"}
    for own in ({"candidates": ["a cat", "a dog"]}, {"A": "x", "B": "y"}, {"choices": 4}):
        assert turns_of({**asked, **own}) == [("What is it?", "a dog")]
    assert turns_of({"question": "Which letter?", "answer": "B", "A": "x"}) == [("Which letter?", "B")]
