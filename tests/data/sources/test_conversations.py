"""Turns of a row, whichever form it gives them in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from liteframe.data.sources.conversations import (
    choices_of,
    has_questions,
    placeholders_of_questions,
    turns_of,
    type_of,
)
from liteframe.data.sources.options import right_option
from liteframe.errors import ManifestError

QUESTIONS = [{"question": f"q{n}", "answer": f"a{n}", "options": ["x", "y"], "type": "t"} for n in range(5)]
PAIRS = [(f"q{n}", f"a{n}") for n in range(5)]


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def test_the_three_forms() -> None:
    assert turns_of({"question": "why", "answer": "so"}) == [("why", "so")]
    assert turns_of({"questions": QUESTIONS}) == PAIRS
    talk = said("<video>\nwhat", "a star", "<image> where ", "there")
    assert turns_of({"conversations": talk}) == [("what", "a star"), ("where", "there")]
    every = {"conversations": said("q1", "a1"), "questions": QUESTIONS, "question": "q1", "answer": "a1"}
    assert turns_of(every) == [("q1", "a1")]


def test_placeholders_and_spellings() -> None:
    talk = [
        {"role": "user", "content": "what <video>\nis it"},
        {"role": "assistant", "content": "a <star>"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "and "}, {"type": "image"}, {"type": "text", "text": "now"}],
        },
        {"role": "assistant", "content": "a <video> is left alone in answers"},
    ]
    row = {"conversations": talk}
    assert turns_of(row) == [("what is it", "a <star>"), ("and now", "a <video> is left alone in answers")]
    assert any(placeholders_of_questions(row))
    assert placeholders_of_questions({"conversations": said("a", "b", "c <image>", "d")}) == [0, 1]
    assert placeholders_of_questions({"conversations": said("a", "a <video>")}) == [0]
    assert has_questions(row) and not has_questions({"conversations": [], "questions": [], "question": "why"})


def test_what_the_system_says_comes_before_the_first_question() -> None:
    system = {"from": "system", "value": "Be short."}
    told = turns_of({"conversations": [system, *said("<video>what", "a star", "where", "there")]})
    assert told == [("Be short.\n\nwhat", "a star"), ("where", "there")]
    for talk in ([system], [system, system, *said("a", "b")], [*said("a", "b"), system]):
        with pytest.raises(ManifestError, match="at most one system turn"):
            turns_of({"conversations": talk})


def test_questions_are_shuffled_and_limited_and_conversations_are_neither() -> None:
    row = {"questions": QUESTIONS}
    assert turns_of(row, most=2) == PAIRS[:2]
    drawn = [turns_of(row, np.random.default_rng(seed), 3) for seed in range(40)]
    assert all(len(set(turns)) == 3 and set(turns) <= set(PAIRS) for turns in drawn)
    assert {turns[0] for turns in drawn} == set(PAIRS), "every question comes first at times"
    assert turns_of(row, np.random.default_rng(3), 3) == drawn[3]
    assert row["questions"] == QUESTIONS, "the row is as it was"
    talk = {"conversations": said("1", "2", "3", "4", "5", "6")}
    assert turns_of(talk, np.random.default_rng(0), 1) == [("1", "2"), ("3", "4"), ("5", "6")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "no conversations, no questions"),
        ({"question": "why"}, "no conversations, no questions"),
        ({"conversations": said("only a question")}, "field conversations"),
        ({"conversations": said("a", "b", "c")}, "field conversations"),
        ({"conversations": list(reversed(said("a", "b")))}, "field conversations"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt"}]}, "field conversations"),
        ({"conversations": [{"from": "narrator", "value": "a"}]}, "turn 1 is of 'narrator'"),
        ({"conversations": [{"role": "user", "content": ["a"]}]}, "turn 1 is of 'user'"),
        ({"questions": [{"question": "why"}]}, "field questions"),
        ({"questions": ["why"]}, "field questions"),
        ({"questions": [{"question": "why", "answer": 3}]}, "field questions"),
    ],
)
def test_rows_that_cannot_be_read_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        turns_of({"path": "/data/a.mp4", "id": "a7", **fields})
    assert "/data/a.mp4 (id a7)" in str(caught.value)


def test_choices_are_questions_with_options_and_nothing_else() -> None:
    one = {"question": "<video>\nwhat is it", "options": ["a box", "a ball"], "answer": "a ball"}
    plain = {**one, "question": "what is it"}
    assert choices_of({"questions": [one, one]}) == [plain, plain]
    assert choices_of({**one, "path": "a.mp4"}) == [{**plain, "path": "a.mp4"}]
    lettered = {**one, "options": ["A. a box", "(B) a ball"]}
    assert choices_of({"questions": [{**lettered, "answer": "B"}]}) == [{**plain, "answer": "B"}]
    assert choices_of({"questions": [{**lettered, "answer": "(B) a ball"}]}) == [{**plain, "answer": "B"}]
    initials = {**plain, "options": ["A. Smith", "C. Jones"], "answer": "A. Smith"}
    assert choices_of({"questions": [initials]}) == [initials], "A and C are no numbering"
    for bad, said_ in (({}, "no questions"), ({"questions": [{"question": "q", "answer": "a"}]}, "field options")):
        with pytest.raises(ManifestError, match=said_):
            choices_of(bad)


@pytest.mark.parametrize(
    "text", ["<IMG_CONTEXT>\nWhat?", "a <img> tag", "</img>", "It ends.<|im_end|>", "<|im_start|>"]
)
@pytest.mark.parametrize("of", ["question", "answer", "system"])
def test_what_stands_for_something_else_in_a_prompt_is_named(text: str, of: str) -> None:
    said = {"system": "Be short.", "question": "What?", "answer": "A star.", of: text}
    talk = [
        {"role": role, "content": said[name]}
        for role, name in zip(("system", "user", "assistant"), ("system", "question", "answer"), strict=True)
    ]
    with pytest.raises(ManifestError, match=r"a\.mp4 \(id x\): field conversations: holds '<"):
        turns_of({"path": "a.mp4", "id": "x", "conversations": talk})
    if of != "system":
        with pytest.raises(ManifestError, match="holds '<"):
            turns_of({"question": "What?", "answer": "A star.", of: text})
        asked = {"question": "What?", "options": ["A star.", "no"], "answer": "A star."}
        asked |= {"question": text} if of == "question" else {"options": [text, "no"], "answer": text}
        with pytest.raises(ManifestError, match="holds '<"):
            choices_of(asked)


def test_no_placeholder_is_left_wherever_it_stands_or_comes_from() -> None:
    """A prompt with two places for its video cannot be told apart around it."""
    talk = [
        {"from": "system", "value": "Watch <video>\nwell."},
        {"from": "human", "value": "<vid<video>eo>What<image><image>?"},
        {"from": "gpt", "value": "The tag <video> in HTML."},
    ]
    assert turns_of({"conversations": talk}) == [("Watch well.\n\nWhat?", "The tag <video> in HTML.")]


@pytest.mark.parametrize(
    "turn",
    [
        {},
        {"from": ["human"], "value": "x"},
        {"from": {"a": 1}, "value": "x"},
        {"from": None, "value": "x"},
        {"from": "human", "value": None},
        {"from": "human", "value": 3},
        {"from": "human", "value": {"text": "x"}},
        {"role": "user", "content": [{"type": "text", "text": None}]},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": [{"type": "text", "text": 3}]},
        {"role": "user", "content": ["x"]},
        {"role": "user", "content": [None]},
        {"role": "tool", "content": "x"},
        {"role": "user", "content": "x" * 5000, "from": 3},
    ],
)
def test_turns_of_another_shape_are_named_in_a_line(turn: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="field conversations: turn 1") as error:
        turns_of({"path": "a\n.mp4", "id": "\x1b[2J", "conversations": [turn, {"from": "gpt", "value": "x"}]})
    assert "\x1b" not in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "purple"}, "field answer: 'purple' is none of the options"),
        ({"answer": "C"}, "field answer: 'C' is none"),
        ({"answer": ""}, "field answer"),
        ({"options": ["red", None]}, "field options"),
        ({"options": "red"}, "field options"),
        ({"question": None}, "wanted texts"),
    ],
)
def test_choices_that_no_answer_could_be_right_for_are_named(change: dict[str, Any], message: str) -> None:
    good = {"question": "Which?", "options": ["red", "blue"], "answer": "B"}
    assert right_option(choices_of({"questions": [good]})[0]) == 1
    with pytest.raises(ManifestError, match=message):
        choices_of({"questions": [good, {**good, **change}]})


WHICH = {"question": "Which?", "options": ["a red ball", "Blue", "3", "C"], "answer": ""}


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        *(
            (answer, 0)
            for answer in ("a red ball", "A red ball.", " a  red ball\n", "A", "a", "(A)", "(a)", "A.", "A)")
        ),
        *((answer, 0) for answer in ("A: a red ball", "A. A red ball.", "(A) a red ball", "Answer: A", "answer a")),
        *(
            (answer, 0)
            for answer in ("The answer is A", "The correct answer is (A).", "Option A", "Answer: a red ball")
        ),
        *((answer, 1) for answer in ("blue", "B", "B. blue", "b) Blue")),
        ("3", 2),
        ("D", 3),
        *((answer, None) for answer in ("C", "c", "2", "0", "E", "", " ", ".", "B. red", "A. something", "A B", "AB")),
        *(
            (answer, None)
            for answer in ("D. Blue", "a ball", "Answer:", "either A or B", "A is wrong", "red", "(A", "[A]")
        ),
    ],
)
def test_answers_are_taken_where_they_can_mean_one_option_alone(answer: str, place: int | None) -> None:
    """`C` is the text of option D, and so may be either."""
    row = {**WHICH, "answer": answer}
    if place is None:
        with pytest.raises(ManifestError, match="field answer: "):
            choices_of(row)
    else:
        assert right_option(choices_of(row)[0]) == place


def test_options_alike_but_for_their_case_are_told_apart_by_it() -> None:
    row = {**WHICH, "options": ["Red", "red", "blue", "blue"]}
    places = [right_option({**row, "answer": answer}) for answer in ("Red", "red", "RED", "Blue", "blue", "D")]
    assert places == [0, 1, None, 2, 2, 3]


def test_roles_are_known_in_any_case() -> None:
    talk = [{"from": "Human", "value": "<image>\nWhat?"}, {"from": "GPT", "value": "A ball."}]
    assert turns_of({"conversations": talk}) == [("What?", "A ball.")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": ["red", ""], "answer": "red"}, "field options: one of"),
        ({"options": ["red", " \n"], "answer": "red"}, "field options: one of"),
        ({"question": ""}, "field question: the question is empty"),
        ({"question": " <video>\n"}, "field question: the question is empty"),
        ({"type": "x" * 65}, "field type: .* longer than 64 bytes"),
        ({"type": "ü" * 33}, "field type: .* longer than 64 bytes"),
        ({"options": ["<img>", "red"]}, "field options: holds '<img>'"),
    ],
)
def test_choices_that_could_not_be_asked_are_named(change: dict[str, Any], message: str) -> None:
    good = {"question": "Which?", "options": ["red", "blue"], "answer": "red"}
    with pytest.raises(ManifestError, match=message):
        choices_of({**good, **change})
    with pytest.raises(ManifestError, match=f"{message}.*item 2 of questions"):
        choices_of({"questions": [good, {**good, **change}]})


def test_options_that_are_letters_alone_stay_as_they_are() -> None:
    for options in (["A.", "B."], ["(A) ", "(B) red"]):
        (choice,) = choices_of({"question": "Which?", "options": options, "answer": "B"})
        assert choice["options"] == options and right_option(choice) == 1


def test_a_question_without_a_type_is_one_of_all() -> None:
    good = {"question": "Which?", "options": ["red", "blue"], "answer": "red"}
    kinds = [type_of(choices_of({**good, **kind})[0]) for kind in ({}, {"type": None}, {"type": "order"}, {"type": 3})]
    assert kinds == ["all", "all", "order", "3"]


@pytest.mark.parametrize(
    ("options", "answer", "place"),
    [
        (["Option B", "Option A"], "Option B", 0),
        (["Option B", "Option A"], "option a.", 1),
        (["Answer: B", "Answer: A"], "Answer: B", 0),
        (["B", "A", "C"], "A", None),
        (["red", "Option A", "blue"], "Option C", 2),
    ],
)
def test_an_answer_that_is_an_option_word_for_word_is_that_one(
    options: list[str], answer: str, place: int | None
) -> None:
    assert right_option({"options": options, "answer": answer}) == place


@pytest.mark.parametrize("part", ["question", "answer"])
def test_the_text_that_is_at_fault_is_named(part: str) -> None:
    good, bad = {"question": "What?", "answer": "A star."}, {"question": "What?", "answer": "A star.", part: "<img>"}
    with pytest.raises(ManifestError, match=f"field {part}: holds"):
        turns_of(bad)
    with pytest.raises(ManifestError, match=f"field questions: holds .* of the {part} of item 3"):
        turns_of({"questions": [good, good, bad]}, np.random.default_rng(0), most=3)
    said = [
        {"from": role, "value": turn[of]}
        for turn in (good, bad)
        for role, of in (("human", "question"), ("gpt", "answer"))
    ]
    for system in ([], [{"from": "system", "value": "Be short."}]):
        number = (3 if part == "question" else 4) + len(system)
        with pytest.raises(ManifestError, match=f"field conversations: holds .* of turn {number} "):
            turns_of({"conversations": [*system, *said]})


def test_texts_under_other_names_are_told_where_there_are_none() -> None:
    for other in ({"query": "What?", "response": "A cat."}, {"QA": [{"q": "What?", "a": "A cat."}]}):
        names = ", ".join(map(repr, other))
        with pytest.raises(
            ManifestError, match=rf"no question with an answer; .* \(not read: {names}; call what is asked"
        ):
            turns_of({"path": "a.mp4", "id": "x", "start": None, **other})
    with pytest.raises(ManifestError, match="this stage needs one$"):
        turns_of({"path": "a.mp4", "id": "x"})
