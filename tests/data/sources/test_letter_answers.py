"""Answers that stand for options in fields that are not read, and answers that are not published."""

from __future__ import annotations

from typing import Any

import pytest

from liteframe.data.sources.conversations import EmptyAnswer, choices_of, has_questions, turns_of
from liteframe.errors import ManifestError

NEXT_QA = {f"a{n}": text for n, text in enumerate(("to get water", "to stretch", "to rest", "celebrate", "to fight"))}
"""As NExT-QA has them."""
DRAWN = {"a0": "two", "a1": "three", "a2": "one", "a3": "four", "a4": "five"}


def asked(question: str, answer: str, **fields: Any) -> dict[str, Any]:
    return {"path": "a.mp4", "id": "x", "question": question, "answer": answer, **fields}


@pytest.mark.parametrize(
    ("question", "answer", "fields", "name"),
    [
        ("why did the boy in red run after he score the goal", "3", NEXT_QA, "a0"),
        ("why did the girl with number 7 stop", "0", NEXT_QA, "a0"),
        ("what does the man do at the age of ten", "2", NEXT_QA, "a0"),
        ("how long does he stay", "1", NEXT_QA, "a0"),
        ("how often does he stretch", "1", NEXT_QA, "a0"),
        ("how many babies are there", "2", DRAWN, "a0"),
        ("how many babies are there", "3", {"a0": "2", "a1": "3", "a2": "4", "a3": "5", "a4": "6"}, "a0"),
        ("why does he run", "2.0", NEXT_QA, "a0"),
        (
            "In which order: (1) he sits down (2) he opens the door (3) he leaves?",
            "2",
            {"candidates": ["3-1-2", "1-2-3", "2-3-1", "2-1-3"]},
            "candidates",
        ),
        (
            "In which order: (1) he sits (2) he eats (3) he leaves (4) he sleeps?",
            "2",
            {"candidates": ["3-1-2-4", "1-2-3-4", "2-3-1-4", "2-1-3-4"]},
            "candidates",
        ),
        (
            "In which order: (a) he sits, (b) he eats, (c) he leaves?",
            "B",
            {"candidates": ["b, a, c", "c, b, a", "a, b, c"]},
            "candidates",
        ),
        (
            "What happens between (1) the fall and (2) the cry?",
            "2",
            {"candidates": ["he runs", "he eats", "he laughs"]},
            "candidates",
        ),
        ("What is (A) on the left and (B) on the right?", "B", {"candidates": ["cats", "dogs", "cows"]}, "candidates"),
        ("why does he run", "a3", NEXT_QA, "a0"),
        ("What is it?", "option_2", {"option_1": "a cat", "option_2": "a dog"}, "option_1"),
        ("What is it?", "B", {"opa": "a cat", "opb": "a dog", "opc": "a cow"}, "opa"),
        ("What is it?", "B", {"answers": ["a cat", "a dog"]}, "answers"),
        ("What is it?", "1", {"answer_list": ["a cat", "a dog"]}, "answer_list"),
        ("What is it?", "(B)", {"opts": ["a cat", "a dog"]}, "opts"),
        ("What is it?", "B", {"mcq": {"A": "a cat", "B": "a dog"}}, "mcq"),
        ("What is it?", "2", {"1": "a cat", "2": "a dog"}, "1"),
        ("How many cats are there?", "B", {"mcq": ["two", "three"]}, "mcq"),
        ("Why does he fall the second time?", "1", {"mcq": ["a step", "a stone"]}, "mcq"),
    ],
)
def test_an_index_is_no_answer_whatever_words_are_in_its_question(
    question: str, answer: str, fields: dict[str, Any], name: str
) -> None:
    for row in (asked(question, answer, **fields), {"path": "a.mp4", "questions": [asked(question, answer, **fields)]}):
        with pytest.raises(ManifestError, match=rf"field {name}: the answer '.*' stands for an option.* rename"):
            turns_of(row)


@pytest.mark.parametrize(
    ("question", "answer", "fields"),
    [
        ("How many cats are there?", "3", {"people": ["Tom", "Ann", "Bo", "Al"]}),
        ("What is the number on his shirt?", "7", {"hints": ["red shirt", "left side"] * 5}),
        ("Why?", "2", {"actions": ["run", "jump", "sit"], "program": ["filter", "count"], "steps": ["a", "b"]}),
        ("What grade?", "A", {"rationale": ["He has an A", "the paper says A"]}),
        ("Which grade does he get?", "A", {"people": ["Tom", "Ann"]}),
        ("Which floor does he go to?", "2", {"people": ["Tom", "Ann", "Bo"]}),
        ("How long is the man on screen, in seconds?", "2", {"people": ["Tom", "Ann", "Bo"]}),
        ("At which second does he sit?", "2", {"people": ["Tom", "Ann", "Bo"]}),
        ("How tall is it in metres?", "2", {"people": ["Tom", "Ann", "Bo"]}),
        ("What digit is shown?", "2", {"people": ["Tom", "Ann", "Bo"]}),
        ("What\u2019s the total?", "2", {"people": ["Tom", "Ann", "Bo"]}),
        ("Which team wins?", "B", {"tags": ["sport", "football"], "objects": ["ball", "goal"]}),
        ("Which is it?\nA. a cat\nB. a dog", "B", {"mcq": ["a cat", "a dog"]}),
        ("Which is it? (A) cat (B) dog", "B", {"mcq": ["a cat", "a dog"]}),
        ("What is it?", "a dog", {"mcq": ["a cat", "a dog"]}),
        ("Which is written there?", "D", {"texts": ["B", "D"]}),
        ("How many?", "4", {"a0": "2", "a1": "4", "a9": "3"}),
        ("How many?", "3", {"candidates": ["2", "3", "4"]}),
        ("What does he hold?", "video", {"a0": "video", "a1": "book", "video": "b"}),
        ("When?", "B", {"captions": ["a man", "a dog"], "key_frames": [1, 2], "urls": ["x", "y"]}),
    ],
)
def test_answers_that_are_words_or_counts_beside_other_lists_are_learnt(
    question: str, answer: str, fields: dict[str, Any]
) -> None:
    assert turns_of(asked(question, answer, **fields)) == [(question, answer)]


def test_a_talk_that_counts_is_asked_of_counting_phrases_alone() -> None:
    def talk(question: str) -> dict[str, Any]:
        first = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "to rest"}]
        return {
            "conversations": [*first, {"from": "human", "value": question}, {"from": "gpt", "value": "1"}],
            **NEXT_QA,
        }

    assert turns_of(talk("How many goals are there?"))
    for question in ("Why did he score?", "Why at this age?", "What for, at number 7?"):
        with pytest.raises(ManifestError, match="the answer '1' stands for one of the row's 'a0'"):
            turns_of(talk(question))


@pytest.mark.parametrize(
    "answer", ["-1", "None", "nan", "null", "?", "N/A", "hidden", "<hidden>", "[MASK]", "...", "-"]
)
def test_an_answer_that_is_not_published_is_not_learnt(answer: str) -> None:
    listed: tuple[dict[str, Any], ...] = ({"options": ["a cat", "a dog"]}, {"candidates": ["a cat", "a dog"]}, NEXT_QA)
    for fields in (*listed, {"options": ["A. a cat", "B. a dog"]}):
        with pytest.raises(ManifestError, match="field answer: .* an answer that is not published"):
            turns_of(asked("What is it?", answer, **fields))
        with pytest.raises(ManifestError, match=r"not published.*\(item 1\)"):
            turns_of({"path": "a.mp4", "questions": [asked("What is it?", answer, **fields)]})
    with pytest.raises(ManifestError, match="field answer: .* is none of the options"):
        choices_of(asked("What is it?", answer, options=["a cat", "a dog"]))
    said = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": answer}]
    with pytest.raises(ManifestError, match="field conversations: the answer .* not published"):
        turns_of({"path": "a.mp4", "conversations": said, "options": ["a cat", "a dog"]})


def test_words_for_nothing_are_answers_where_they_are_options_or_there_are_none() -> None:
    for answer in ("None", "unknown", "N/A"):
        assert turns_of(asked("Who?", answer)) == [("Who?", answer)]
        assert turns_of(asked("Who?", answer, options=["Tom", answer])) == [("Who?", answer)]
        assert turns_of(asked("Who?", answer, options=["A. Tom", f"B. {answer}"])) == [("Who?", answer)]


@pytest.mark.parametrize("answer", ["", " \n"])
def test_an_empty_answer_is_not_learnt(answer: str) -> None:
    with pytest.raises(EmptyAnswer, match=r"^a\.mp4 \(id x\): field answer: the text is empty"):
        turns_of(asked("Who?", answer))
    with pytest.raises(EmptyAnswer, match="field questions: the text of the answer of item 2 is empty"):
        turns_of({"questions": [asked("Who?", "Tom"), asked("Where?", answer)]})
    talk = [{"from": role, "value": text} for role, text in (("human", "Who?"), ("gpt", answer))]
    with pytest.raises(EmptyAnswer, match="field conversations: the text of turn 2 is empty"):
        turns_of({"conversations": talk})
    assert has_questions(asked("Who?", answer)), "so that it is named"


def test_events_that_a_talk_of_one_question_lists_are_no_options() -> None:
    listed = "In which order: (1) he sits down (2) he opens the door (3) he leaves?"
    said = [{"from": "human", "value": listed}, {"from": "gpt", "value": "2"}]
    with pytest.raises(ManifestError, match="the answer '2' stands for one of the row's 'options'"):
        turns_of({"conversations": said, "options": ["3-1-2", "1-2-3", "2-3-1", "2-1-3"]})
