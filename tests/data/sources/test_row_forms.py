"""Rows that ask in two forms, of which training and evaluation read different ones."""

from __future__ import annotations

from typing import Any

import pytest

from liteframe.data.sources.conversations import choices_of, turns_of
from liteframe.errors import ManifestError


def talk(*texts: str) -> list[dict[str, Any]]:
    return [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]


SINGLE = {"question": "What is it?", "answer": "a dog", "options": ["a cat", "a dog"]}
OTHER = {"question": "Where is it?", "answer": "outside", "options": ["inside", "outside"]}


@pytest.mark.parametrize(
    "row",
    [
        {**SINGLE, "questions": [OTHER]},
        {**SINGLE, "questions": [{**SINGLE, "answer": "a cat"}]},
        {**SINGLE, "conversations": talk("<video>\nWhere is it?", "outside")},
        {**SINGLE, "conversations": talk("<video>\nWhat is it?", "a cow")},
        {**SINGLE, "conversations": talk("<video>\nWhat is it? A. a cat B. a dog", "A")},
        {"questions": [SINGLE], "conversations": talk("<video>\nWhere is it?", "outside")},
        {**SINGLE, "options": ["5", "-5"], "answer": "-5", "conversations": talk("What is it?", "5")},
        {**SINGLE, "question": "Is it < 5?", "conversations": talk("Is it > 5?", "a dog")},
        {"questions": [SINGLE, OTHER], "conversations": talk("What is it?", "a cat", "Where is it?", "outside")},
    ],
)
def test_two_forms_that_differ_are_named(row: dict[str, Any]) -> None:
    for read in (turns_of, choices_of):
        with pytest.raises(ManifestError, match=r"^a\.mp4 \(id x\): fields '\w+' and '\w+': ask or answer different"):
            read({"path": "a.mp4", "id": "x", **row})


@pytest.mark.parametrize(
    "row",
    [
        {**SINGLE, "questions": [SINGLE, OTHER]},
        {**SINGLE, "questions": [{**SINGLE, "answer": "B"}]},
        {**SINGLE, "conversations": talk("<video>\nWhat is it?", "A dog.")},
        {**SINGLE, "conversations": talk("<video>\nWhat is it?\nA. a cat\nB. a dog\nAnswer by letter.", "B")},
        {**SINGLE, "conversations": talk("<video>\nWhat is it?", "It is a dog that barks.", "And now?", "It sleeps.")},
        {"questions": [SINGLE, OTHER], "conversations": talk("What is it?", "a dog", "Where is it?", "outside")},
        {**SINGLE, "questions": [SINGLE], "conversations": talk("What is it?", "a dog")},
        {**SINGLE, "conversations": [{"from": "system", "value": "Be short."}, *talk("What is it?", "a dog")]},
        {
            **SINGLE,
            "answer": "B",
            "conversations": talk("What is it? A. a cat B. a dog", "<think>It barks.</think><answer>B</answer>"),
        },
        {**SINGLE, "conversations": talk("What is it? A. a cat B. a dog", "It barks, so the answer is (B).")},
        {"question": "what", "conversations": talk("What is it?", "a dog")},
        {"question": "Describe.", "answer": "", "conversations": talk("What is it?", "a dog")},
        {
            "question": "What?\nOptions:\nA. x cat\nB. y dog",
            "answer": "B",
            "conversations": talk("<video>\nWhat?\n(A) x cat\n(B) y dog", "B"),
        },
        {**SINGLE, "question": "What's it?", "conversations": talk("<image>\nWhat\u2019s it?", "a dog")},
        {**SINGLE, "question": "What's it?", "conversations": talk("What&#39;s it?", "a dog")},
        {"question": "Who?", "answer": "it's Tom", "conversations": talk("Who?", "It\u2019s Tom.")},
        {
            "question": "\u8fd9\u662f\u4ec0\u4e48\uff1f",
            "answer": "x",
            "conversations": talk("\u95ee\uff1a\u8fd9\u662f\u4ec0\u4e48?", "x"),
        },
    ],
)
def test_two_forms_of_the_same_are_read(row: dict[str, Any]) -> None:
    assert turns_of(row)
    if "options" in row or "questions" in row:
        assert choices_of(row)


def test_letters_that_a_question_shows_mean_their_texts() -> None:
    shown = "What is it?\n(A) a cat\n(B) a dog"
    row = {"question": "What is it?", "answer": "a dog", "conversations": talk(shown, "B")}
    assert turns_of(row) == [(shown, "B")]
    assert turns_of({**row, "answer": "B.", "conversations": talk(shown, "<answer>B</answer>")})
    assert turns_of({**row, "conversations": talk(shown, "It barks: \\boxed{B}")})
    with pytest.raises(ManifestError, match="'conversations' and 'question'"):
        turns_of({**row, "conversations": talk(shown, "A")})


ITEMS = [{"question": "Which?", "answer": 7}, {"question": 7, "answer": "a dog"}, {"answer": "no"}]


@pytest.mark.parametrize("item", ITEMS)
def test_an_item_that_is_no_text_is_its_own_readers_to_refuse(item: dict[str, Any]) -> None:
    for read in (turns_of, choices_of):
        with pytest.raises(ManifestError, match="of questions|field questions"):
            read({"path": "a.mp4", **SINGLE, "questions": [item]})
