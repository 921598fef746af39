"""The options of a question: their letters, and which of them is the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.sources.conversations import turns_of
from liteframe.data.sources.manifest import read_manifest
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
        (["a cat", "a dog"], "A bird, the best option.", "A bird, the best option."),
        (["a cat", "a dog"], "OK", "OK"),
        (["A, B", "B, A"], "B, A", "B, A"),
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


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "A, C",
            "AC",
            "(B) and (C)",
            "[B]",
            "**B**",
            "B. a bird",
            "(b) a bird",
            "B\nIt barks.",
            "option 2",
            "Option 2.",
        ),
        *(
            "<think>It barks.</think><answer>B</answer>",
            "It barks: \\boxed{B}",
            "So the answer is (B).",
            "Answer: A, B",
        ),
    ],
)
def test_an_answer_that_goes_by_letters_of_options_which_are_not_shown_is_named(answer: str) -> None:
    asked = {"question": "What is it?", "options": ["a cat", "a dog", "a cow"], "answer": answer}
    with pytest.raises(ManifestError, match=r"field answer: .* is none of the options .* does not show them"):
        turns_of(asked)
    shown = "What is it? A. a cat B. a dog C. a cow"
    assert turns_of({**asked, "question": shown}) == [(shown, answer)]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"options": ["a cat", "a dog"]}, "options"),
        ({"options": {"A": "a cat", "B": "a dog"}}, "options"),
        ({"candidates": ["a cat", "a dog"]}, "candidates"),
        ({"A": "a cat", "B": "a dog"}, "A"),
    ],
)
def test_a_conversation_that_answers_by_letter_shows_the_options(fields: dict[str, Any], name: str) -> None:
    def talk(question: str, answer: str) -> dict[str, Any]:
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        return {"path": "a.mp4", "id": "x", "conversations": turns, **fields}

    for answer in ("B", "(B)", "Answer: B"):
        with pytest.raises(ManifestError, match=rf"^a\.mp4 \(id x\): field conversations: .* of the row's '{name}'"):
            turns_of(talk("What is it?", answer))
    assert turns_of(talk("What is it?", "a dog")) == [("What is it?", "a dog")]
    if name != "A":
        assert turns_of(talk("A. a cat\nB. a dog", "B")) == [("A. a cat\nB. a dog", "B")]
    assert turns_of({**talk("Which letter?", "B"), **dict.fromkeys(fields)}) == [("Which letter?", "B")]


def test_a_number_that_counts_options_is_not_told_to_be_put_in_quotes(tmp_path: Path) -> None:
    """In quotes it would be the text of an option, of 1 to 4 another one than it counts."""
    path = tmp_path / "x.jsonl"
    asked = {"path": "a.mp4", "question": "How many?", "answer": 2}
    path.write_text(json.dumps({**asked, "options": ["1", "2", "3", "4"]}))
    with pytest.raises(ManifestError, match=r"x\.jsonl:1: field 'answer': 2 may count the options from 0 or from 1"):
        read_manifest(path)
    path.write_text(json.dumps(asked))
    with pytest.raises(ManifestError, match="field 'answer': a string is needed, not 2; put it in quotes"):
        read_manifest(path)
