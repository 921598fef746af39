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


def test_a_line_between_two_options_belongs_to_the_first() -> None:
    assert taken_apart("What?\nA. one\nand more\nB. two") == ("What?", ("one\nand more", "two"))


@pytest.mark.parametrize("text", ["What?", "What?\nA. one", "What?\nB. one\nC. two", "What?\nA. one\nB. two\nand more"])
def test_what_is_in_doubt_is_none(text: str) -> None:
    assert taken_apart(text) is None
