from __future__ import annotations

import pytest

from liteframe.evaluation.benchmarks.options_inside import taken_apart


@pytest.mark.parametrize("form", ["({}) {}", "{}. {}", "{}) {}", "{}: {}", "  {}.  {} "])
@pytest.mark.parametrize("count", [2, 4, 6])
def test_options_are_taken_out_in_every_form(form: str, count: int) -> None:
    options = ["a man", "B. B. King", "(A) plate", "3", "A", "none"][:count]
    lines = [form.format(letter, text) for letter, text in zip("ABCDEF", options, strict=False)]
    assert taken_apart("\n".join(["What is it?", "Look closely.", *lines])) == (
        "What is it?\nLook closely.",
        tuple(options),
    )


def test_letters_in_the_question_are_no_options() -> None:
    text = "Mr\nA. Smith says\nB. is wrong. Who?\nA. he\nB. she\n\nAnswer with the option's letter."
    assert taken_apart(text) == ("Mr\nA. Smith says\nB. is wrong. Who?", ("he", "she"))


@pytest.mark.parametrize(
    "instruction",
    [
        "Answer with the option's letter from the given choices directly.",
        "Please answer directly with only the letter of the correct option and nothing else.",
        "Respond with only the letter (A, B, C, or D) of the correct option.",
        "(Select the best answer.)",
        "The best answer is:",
        "Answer:\n",
        "Give one letter.\n\nYour answer:",
    ],
)
def test_an_instruction_behind_the_options_is_left_out(instruction: str) -> None:
    assert taken_apart(f"What?\nA. one\nB. two\n{instruction}") == ("What?", ("one", "two"))


def test_a_line_between_two_options_belongs_to_the_first() -> None:
    assert taken_apart("What?\nA. one\nand more\nB. two") == ("What?", ("one\nand more", "two"))


UNSURE = [
    f"What?\nC. no\nA. the first\nB. the last\n{line}"
    for line in (
        "letter of the sign",
        "option of the two",
        "Letter boxes",
        "choice and letters",
        "answer: none",
        "Option",
    )
]


@pytest.mark.parametrize(
    "text", [*UNSURE, "What?", "What?\nA. one", "What?\nB. one\nC. two", "What?\nA. 1\nB. 2\nand more"]
)
def test_what_is_in_doubt_is_none(text: str) -> None:
    assert taken_apart(text) is None
