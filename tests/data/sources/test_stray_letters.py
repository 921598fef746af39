"""Options whose letters are not A, B, ... in turn: a letter means the option that bears it."""

from __future__ import annotations

from typing import Any

import pytest

from liteframe.data.sources.conversations import choices_of, turns_of
from liteframe.data.sources.options import options_as_list, right_option, stray_letters
from liteframe.errors import ManifestError

GAP, SHUFFLED = ["A. cat", "C. dog", "D. bird"], ["B. dog", "A. cat"]


def asked(options: Any, answer: str) -> dict[str, Any]:
    return {"question": "What is it?", "options": options, "answer": answer}


@pytest.mark.parametrize(
    ("options", "answer", "text"),
    [
        (GAP, "C", "dog"),
        (GAP, "(D)", "bird"),
        (GAP, "Answer: A", "cat"),
        (["(A) dog", "(C) cat"], "c", "cat"),
        (["A.cat", "C.dog"], "C", "dog"),
        (["a) cat", "c) dog"], "C", "dog"),
        (["[A] cat", "[C] dog"], "C", "dog"),
        (["A\u3001cat", "C\u3001dog"], "C", "dog"),
        (["B: dog", "C: bird", "D: cow"], "D", "cow"),
        ({"A": "cat", "C": "dog"}, "C", "dog"),
        ({"A": "D. Beckham", "B": "A. Iniesta"}, "A", "D. Beckham"),
        ({"A": "A. Lincoln", "B": "C. Darwin"}, "(B)", "C. Darwin"),
        ({"B": "dog", "A": "cat"}, "B", "dog"),
        ({"A": "cat", "B": "dog", "C": None}, "B", "dog"),
    ],
)
def test_a_letter_is_that_of_the_option_which_bears_it(options: Any, answer: str, text: str) -> None:
    row = asked(options, answer)
    assert turns_of(row) == [("What is it?", text)] == turns_of({"questions": [row]})
    (choice,) = choices_of(row)
    place = right_option(choice)
    assert place is not None and choice["options"][place] == text
    if "." not in text:
        assert not any(letter in text for text in choice["options"] for letter in ".:)]\u3001")


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (GAP, "B"),
        (["A. cat", "A. dog", "B. bird"], "A"),
        (SHUFFLED, "A"),
        (["B. dog", "A. cat", "C. bird"], "B"),
        (["D. Beckham", "C. Ronaldo", "B. Charlton", "A. Iniesta"], "A"),
        (["B. Obama", "D. Trump", "H. Clinton", "G. Bush"], "B"),
        (["B. Obama", "D. Trump", "H. Clinton", "G. Bush"], "A"),
        ({"A": "x", "C": "y"}, "B"),
    ],
)
def test_a_letter_that_no_option_bears_or_that_two_do_is_refused(options: Any, answer: str) -> None:
    with pytest.raises(ManifestError, match="is none of the options"):
        turns_of(asked(options, answer))
    with pytest.raises(ManifestError, match="is none of the options"):
        choices_of(asked(options, answer))


def test_an_answer_that_goes_by_a_letter_of_a_dropped_option_is_none_of_words() -> None:
    with pytest.raises(ManifestError, match="is none of the options"):
        turns_of(asked(GAP, "<answer>D</answer>"))


@pytest.mark.parametrize(
    "options",
    [
        ["A. cat", "B. dog", "bird"],
        ["A. cat", "C. dog", "bird"],
        ["A. Lincoln", "G. Washington", "Ulysses Grant", "Robert Lee"],
        ["J. Smith", "R. Jones", "M. Black"],
        ["U.S. troops", "e.g. a cat"],
        ["cat", "A. Lincoln"],
        ["a.m.", "p.m."],
        ["i) cat", "ii) dog", "iii) cow"],
    ],
)
def test_places_are_meant_where_letters_agree_with_them_or_are_no_labels(options: list[str]) -> None:
    assert stray_letters(options) is None
    assert [right_option({"options": options, "answer": letter}) for letter in "AB"] == [0, 1]


@pytest.mark.parametrize("answer", ["A", "D. Beckham", "A. D. Beckham"])
def test_options_that_begin_like_letters_go_by_those_that_they_bring_along(answer: str) -> None:
    row = asked(["A. D. Beckham", "B. C. Ronaldo", "C. B. Charlton", "D. A. Iniesta"], answer)
    assert turns_of(row) == [("What is it?", "D. Beckham")]
    (choice,) = choices_of(row)
    assert right_option(choice) == 0 and choice["options"][0] == "D. Beckham"


def test_shuffled_letters_are_read_where_their_places_or_texts_agree() -> None:
    shuffled = ["B. dog", "A. cat", "C. bird"]
    for answer, place in (("C", 2), ("A. cat", 1), ("(B) dog", 0)):
        assert right_option({"options": shuffled, "answer": answer}) == place


@pytest.mark.parametrize("answer", ["\u212a", "\u0130", "\u0130. kedi"])
def test_letters_that_are_none_but_for_their_case_are_texts(answer: str) -> None:
    assert right_option({"options": ["\u00b0C", answer], "answer": answer}) == 1
    assert right_option({"options": ["\u00b0C", "F"], "answer": answer}) is None
    assert turns_of(asked(["\u00b0C", answer], answer)) == [("What is it?", answer)]


def test_a_reply_to_a_prompt_goes_by_the_letters_that_were_shown() -> None:
    assert right_option({"options": SHUFFLED, "answer": "A"}) is None
    assert right_option({"options": SHUFFLED, "answer": "A"}, by_place=True) == 0


def test_options_of_an_object_without_letters_stay_as_they_are() -> None:
    twice, others = {"A": "x", "a": "z"}, ({"A": True, "B": "y"}, {"2": "x", "5": "y"}, {"0": "x", "2": "y"})
    for options in ({"A": "x"}, {"first": "x", "second": "y"}, twice, *others, ["x"], "x", None):
        assert options_as_list(options) is options


def test_options_of_an_object_of_numbers_or_with_numbers_for_texts_are_read() -> None:
    for options in ({"1": "x", "2": "y"}, {"1": "y", "0": "x"}, {"B": "y", "A": "x"}):
        assert options_as_list(options) == ["x", "y"]
    assert options_as_list({"A": 1, "B": 2.5}) == ["1", "2.5"]
    for answer in ("1", "2"):
        with pytest.raises(ManifestError, match="is none of the options"):
            turns_of(asked({"1": "x", "2": "y"}, answer))


@pytest.mark.parametrize("options", [["C", "A", "B"], ["A. C", "B. A", "C. B"]])
@pytest.mark.parametrize("name", ["options", "candidates"])
def test_a_letter_that_is_the_text_of_one_option_and_the_place_of_another_is_refused(
    options: list[str], name: str
) -> None:
    row = {"question": "Which is written there?", name: options, "answer": "A"}
    with pytest.raises(ManifestError, match="field (answer|candidates): "):
        turns_of(row)
    if name == "options":
        with pytest.raises(ManifestError, match="or it may be two of them"):
            choices_of(row)
    same = {**row, name: ["A", "C", "B"]}
    assert turns_of(same) == [("Which is written there?", "A")], "both mean the first"


def test_a_letter_of_options_that_are_letters_is_refused_in_a_conversation_that_does_not_show_them() -> None:
    talk = [{"from": "human", "value": "Which is written there?"}, {"from": "gpt", "value": "A"}]
    with pytest.raises(ManifestError, match="which no question up to it shows"):
        turns_of({"conversations": talk, "options": ["C", "A", "B"]})
    assert turns_of({"conversations": talk, "options": ["A", "C", "B"]})


def test_what_is_told_to_write_in_place_of_an_answer_that_may_be_two_is_read() -> None:
    options = ["C", "D", "A", "B"]
    for read in (turns_of, choices_of):
        with pytest.raises(ManifestError, match=r"write '\(C\)' or 'C. A' if the option 'A' is meant"):
            read(asked(options, "A"))
        with pytest.raises(ManifestError, match="not in turn; give the text of one$"):
            read(asked(SHUFFLED, "A"))
    for answer in ("(C)", "C. A"):
        assert turns_of(asked(options, answer)) == [("What is it?", "A")]
