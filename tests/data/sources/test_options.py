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
        ({"option": ["A. a cat", "B. a dog", "C. a cow"], "answer": "2"}, "field option: the answer '2' stands for"),
        ({"answer_choices": ["a cat", "a dog"], "answer": "0"}, "field answer_choices"),
        ({"option 0": "a cat", "option 1": "a dog", "answer": "1"}, "field option 0"),
        ({"mc_options": '["a cat", "a dog"]', "answer": "B"}, "field mc_options"),
        ({"choices": "A. a cat\nB. a dog", "answer": "B"}, "field choices"),
        ({"choices": {"label": ["A", "B"], "text": ["a cat", "a dog"]}, "answer": "B"}, "field choices"),
        ({"candidates": [{"key": "A", "text": "a cat"}, {"key": "B", "text": "a dog"}], "answer": "B"}, "candidates"),
        ({"all_choices": ["A", "B"], "index2ans": {"A": "a cat", "B": "a dog"}, "answer": "B"}, "field index2ans"),
        ({"candidates": ["a cat", "a dog"], "answer": "<answer>B</answer>"}, "field candidates"),
        ({"candidates": ["a cat", "a dog"], "answer": "B. a bird"}, "field candidates"),
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

    for answer in ("B", "(B)", "Answer: B", "<answer>B</answer>", "B. a bird", "AB", "So the answer is (B)."):
        with pytest.raises(ManifestError, match=rf"^a\.mp4 \(id x\): field conversations: .* of the row's '{name}'"):
            turns_of(talk("What is it?", answer))
    assert turns_of(talk("What is it?", "a dog")) == [("What is it?", "a dog")]
    if name != "A":
        assert turns_of(talk("A. a cat\nB. a dog", "B")) == [("A. a cat\nB. a dog", "B")]
    assert turns_of({**talk("Which letter?", "B"), **dict.fromkeys(fields)}) == [("Which letter?", "B")]


def talk(*texts: str, **fields: Any) -> dict[str, Any]:
    turns = [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]
    return {"path": "a.mp4", "id": "x", "conversations": turns, **fields}


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Do they know who closed the eyes?", ["yes", "no"]),
        ("Between 10 s and 20 s, how many?", ["1", "2"]),
        ("Did the cat chase the dog?", ["the cat", "the dog"]),
        ("Is it on an x-ray, an ex-ray?", ["ray", "an ex"]),
    ],
)
def test_words_that_happen_to_be_options_do_not_show_them(question: str, options: list[str]) -> None:
    with pytest.raises(ManifestError, match="which no question up to it shows"):
        turns_of(talk(question, "B", options=options))
    asked = {"question": question, "options": options, "answer": "B"}
    assert turns_of(asked) == [(question, options[1])]


SHOWN = [
    "(A) Cat (B) Dog",
    "A.cat B.dog",
    "A: cat\nB: dog",
    "[A] cat\n[B] dog.",
    "**A.** cat\n**B.** dog",
    "A - cat\nB - dog",
    "A cat\nB dog",
    "- cat\n- dog",
    "1. cat\n2. dog",
    "Options: cat, dog",
    "Choose from ['cat', 'dog'].",
    "A\u3001cat B\u3001dog",
    "A cat B dog",
]


@pytest.mark.parametrize("options", SHOWN)
@pytest.mark.parametrize("listed", [["cat", "dog"], ["Cat.", "Dog."], ["A. cat", "B. dog"]])
def test_options_are_shown_in_many_ways(options: str, listed: list[str]) -> None:
    question = f"Which?\n{options}"
    for fields in ({"options": listed}, {"candidates": listed}):
        assert turns_of(talk(question, "B", **fields)) == [(question, "B")]
        assert turns_of({"question": question, "answer": "B", **fields}) == [(question, "B")]


def test_options_are_shown_in_scripts_without_spaces() -> None:
    question = "\u4ec0\u4e48\uff1fA.\u732bB.\u72d7"
    assert turns_of(talk(question, "B", options=["\u732b", "\u72d7"])) == [(question, "B")]


def test_each_answer_of_a_conversation_is_asked_of_the_questions_up_to_it() -> None:
    shown, options = "Which? A. a cat B. a dog", ["a cat", "a dog"]
    with pytest.raises(ManifestError, match="the answer 'B' stands for one of the row's 'options'"):
        turns_of(talk("What is it?", "B", shown, "A", options=options))
    with pytest.raises(ManifestError, match="the answer '2' stands"):
        turns_of(talk("What?", "a cat", "And?", "2", options=options))
    with pytest.raises(ManifestError, match="the answer '1' stands"):
        turns_of(talk(shown, "1", options=options))
    good = ("How many are there?", "2", shown, "A", "And again?", "B", "What is written there?", "2")
    for listed in (options, ["A. a cat", "B. a dog"]):
        assert [answer for _, answer in turns_of(talk(*good, options=listed))] == ["2", "A", "B", "2"]
    two = talk("Which? A. red B. blue", "A", "Which? A. a cat B. a dog", "B", options=options)
    assert [answer for _, answer in turns_of(two)] == ["A", "B"], "the first shows options of its own"


@pytest.mark.parametrize(
    ("fields", "question", "answer"),
    [
        ({"choices": {"count": 3}}, "How many cats?", "3"),
        ({"candidates": ["2", "3", "4"]}, "How many cats?", "3"),
        ({"candidates": [2, 3, 4]}, "How many cats?", "3"),
        ({"choices": ["A. 2", "B. 3"]}, "How many cats?", "3"),
        ({"options": ["a cat", "a dog"]}, "How many?", "1"),
        ({"candidates": ["a cat", "a dog"]}, "When?", "7"),
        ({"optional_tags": ["cats", "dogs"]}, "Which team?", "B"),
        ({"choice_type": ["single"]}, "Which team?", "B"),
    ],
)
def test_numbers_that_count_something_else_than_options_are_answers(
    fields: dict[str, Any], question: str, answer: str
) -> None:
    assert turns_of(talk(question, answer, **fields)) == [(question, answer)]
    if "options" not in fields:
        assert turns_of({"question": question, "answer": answer, **fields}) == [(question, answer)]


def test_a_letter_stays_beside_options_that_are_not_read_where_the_question_shows_them() -> None:
    shown = "Which? A. a cat B. a dog"
    assert turns_of({"question": shown, "choices": ["a cat", "a dog"], "answer": "B"}) == [(shown, "B")]
    with pytest.raises(ManifestError, match="field option: the answer '1'"):
        turns_of({"question": shown, "option": ["a cat", "a dog"], "answer": "1"})
    with pytest.raises(ManifestError, match="'1' is none of the options .* the question shows them by letters"):
        turns_of({"question": shown, "options": ["a cat", "a dog"], "answer": "1"})
