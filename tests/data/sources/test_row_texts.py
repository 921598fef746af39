"""Texts of the wrong kind cost nothing where nobody asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liteframe.data.checking.source_check import check_source
from liteframe.data.sources.conversations import choices_of, turns_of
from liteframe.data.sources.manifest import read_manifest, read_sources
from liteframe.errors import ManifestError

NEXT_QA = {f"a{n}": text for n, text in enumerate(("to rest", "to stretch", "to fight"))}


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"answer": 0, **NEXT_QA}, "field 'answer': 0 may count the options from 0 or from 1"),
        ({"answer": 2, "options": ["1", "2", "3"]}, "field 'answer': 2 may count the options from 0 or from 1"),
        ({"answer": -1, "options": ["1", "2", "3"]}, "field 'answer': -1 stands for an answer that is not published"),
        ({"answer": -1, "options": 5}, "field 'answer': -1 stands for an answer that is not published"),
        ({"answer": -1}, "field 'answer': a string is needed, not -1"),
        ({"answer": 2}, "field 'answer': a string is needed, not 2; put it in quotes"),
        ({"answer": ["yes", "yes"]}, "field 'answer': a string is needed"),
        ({"answer": "a", "options": "A"}, "field 'options': a list of strings is needed"),
        ({"answer": "a", "options": [1]}, "field 'options': a list of strings is needed"),
        ({"answer": "a", "questions": ["why"]}, "field 'questions': a list of objects is needed"),
        ({"answer": "a", "questions": "abc"}, "field 'questions': a list of objects is needed"),
        ({"answer": "x" * 1_000_001}, "field 'answer': has 1,000,001 characters"),
        ({"answer": "a", "messages": ["hi"]}, "field 'messages': a list of objects is needed"),
        ({"answer": "a", "conversations": {}}, "field 'conversations': a list of objects is needed"),
        ({"answer": "a", "conversations": ["hi"]}, "field 'conversations': a list of objects is needed"),
        ({"answer": "a", "conversations": '[{"from": "human"}]'}, "field 'conversations': a list of objects is needed"),
    ],
)
def test_what_is_wrong_with_texts_is_told_to_those_that_ask(fields: dict[str, Any], fault: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    (tmp_path / "a.mp4").touch()
    path.write_text(json.dumps({"video": "a.mp4", "id": "x", "question": "Why?", **fields}) + "\n")
    (row,) = read_manifest(path)
    assert row.error is None and row.question is None and row.answer is None and row.conversations is None
    assert list(read_sources(str(path))) == [row]
    for read in (turns_of, choices_of):
        with pytest.raises(ManifestError, match=r"a\.mp4 \(id x\): field '") as error:
            read(row.as_dict())
        assert fault in str(error.value)
    found = check_source(str(path))
    assert found.counts() == {"bad_conversation": 1} and fault in found.first["bad_conversation"]


def test_an_object_of_options_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    asked = {"question": "What?", "options": {"B": "a dog", "A": "a cat"}, "answer": "B", "texts_fault": "own"}
    path.write_text(json.dumps({"path": "a.mp4", **asked}))
    (row,) = read_manifest(path)
    assert row.options == ["a cat", "a dog"] and turns_of(row.as_dict()) == [("What?", "a dog")]
    assert choices_of(row.as_dict())[0]["options"] == ["a cat", "a dog"]
    path.write_text(json.dumps({"path": "a.mp4", "questions": [asked]}))
    (row,) = read_manifest(path)
    assert turns_of(row.as_dict()) == [("What?", "a dog")]
    assert choices_of(row.as_dict())[0]["options"] == ["a cat", "a dog"]


TALK = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "a dog"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"answer": 3},
        {"answer": 1, "options": ["a cat", "a dog"], "question": "What is it?"},
        {"options": {"1": "a cat", "2": "a dog"}},
        {"options": [None, None]},
        {"options": {"A": 1, "B": 2}},
        {"options": 5},
        {"questions": ["x", "y"]},
        {"question": ["x"], "questions": "x"},
    ],
)
def test_a_field_beside_a_conversation_costs_it_nothing(fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"path": "a.mp4", "conversations": TALK, **fields}))
    (row,) = read_manifest(path)
    assert turns_of(row.as_dict()) == [("What is it?", "a dog")]


@pytest.mark.parametrize("options", [{"first": "a cat", "second": "a dog"}, "a cat; a dog", ["a cat", "a dog", None]])
def test_letters_of_options_of_another_kind_are_not_learnt_in_a_conversation(options: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    talk = [TALK[0], {"from": "gpt", "value": "B"}]
    path.write_text(json.dumps({"path": "a.mp4", "conversations": talk, "options": options}))
    (row,) = read_manifest(path)
    with pytest.raises(ManifestError, match="stands for one of the row's 'options'"):
        turns_of(row.as_dict())
