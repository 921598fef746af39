"""Pieces of text as tokens come are together the text of all tokens at once."""

from __future__ import annotations

import random

import pytest
from test_prompts import bpe_processor

from liteframe.models.video_llm.text_stream import TextStream, decode
from liteframe.tiny.models import tiny_tokenizer


def pieces_of(tokenizer: object, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.push(token) for token in ids), stream.finish()]


@pytest.mark.parametrize(
    "text", ["a red box", "né \N{CLAPPER BOARD}\N{CLAPPER BOARD} 漢字, left", "ends in \N{CLAPPER BOARD}"]
)
def test_no_character_comes_in_halves(text: str) -> None:
    tokenizer = bpe_processor().tokenizer
    ids = tokenizer(text, add_special_tokens=False).input_ids
    pieces = pieces_of(tokenizer, ids)
    assert "".join(pieces) == decode(tokenizer, ids) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert sum(map(bool, pieces)) > 1, "not all at the end"
    assert ("" in pieces[:-1]) == (not text.isascii()), "bytes of one character wait for each other"


def test_any_bytes_at_all() -> None:
    tokenizer = bpe_processor().tokenizer
    chance = random.Random(0)
    for _ in range(50):
        ids = [chance.randrange(len(tokenizer)) for _ in range(30)]
        assert "".join(pieces_of(tokenizer, ids)) == decode(tokenizer, ids)


def test_words_are_spaced() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer("red <img> <img> left color", add_special_tokens=False).input_ids
    assert pieces_of(tokenizer, ids) == ["red", "", "", " left", " color", ""]
    assert decode(tokenizer, ids) == "red left color"
