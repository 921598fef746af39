"""Questions as tasks of lmms-eval ask them."""

from __future__ import annotations

from typing import Any

import pytest

from liteframe.errors import ConfigError
from liteframe.lmms_eval.messages import Asked, Wanted, read_messages, read_settings

VIDEO = {"type": "video", "url": "a.mp4"}
WORDS = {"type": "text", "text": " What?\nA. this "}


def turn(*content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(content)}


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        ((VIDEO, WORDS), Asked("a.mp4", None, None, " What?\nA. this ")),
        ((VIDEO, WORDS, {"type": "text", "text": "B"}), Asked("a.mp4", None, None, " What?\nA. this B")),
        (({**VIDEO, "start_time": 1.5, "end_time": 3.0}, WORDS), Asked("a.mp4", 1.5, 3.0, " What?\nA. this ")),
        # As `_visual_to_content` of lmms-eval 0.7.3 hands a part of a video on, and every .webm.
        (
            ({"type": "video", "url": {"type": "video", "path": "a.mp4", "video_start": 0, "video_end": 3}}, WORDS),
            Asked("a.mp4", 0, 3, " What?\nA. this "),
        ),
        (({"type": "audio", "url": "a.WebM"}, WORDS), Asked("a.WebM", None, None, " What?\nA. this ")),
    ],
)
def test_a_turn_of_a_video_and_words_is_read_to_the_letter(content: tuple[Any, ...], asked: Asked) -> None:
    assert read_messages([turn(*content)], "task") == asked


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "its turns are none"),
        ([turn(WORDS, role="system"), turn(VIDEO, WORDS)], "its turns are system, user"),
        ([turn(WORDS)], "asks with text"),
        ([turn(WORDS, VIDEO)], "asks with text, video"),
        ([turn(VIDEO)], "asks with video"),
        ([turn(VIDEO, VIDEO, WORDS)], "asks with video, video, text"),
        ([turn({"type": "image", "url": "a.png"}, WORDS)], "asks with image, text"),
        ([turn({"type": "audio", "url": "a.wav"}, WORDS)], "asks with audio, text"),
        ([turn({"type": "video", "url": [1, 2]}, WORDS)], "gives a video as list"),
    ],
)
def test_what_the_model_would_not_be_shown_is_refused(messages: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError, match="task mvbench: ") as raised:
        read_messages(messages, "mvbench")
    assert said in str(raised.value)


def test_an_answer_ends_at_the_first_text_that_ends_it() -> None:
    wanted = read_settings({"until": ["\n\n", "", "."], "max_new_tokens": 4, "temperature": 0, "do_sample": True}, "t")
    assert wanted == Wanted(4, ("\n\n", "."))
    assert wanted.cut("B. this\n\nor") == "B"
    assert wanted.cut("B\n\nthis.") == "B"
    assert wanted.cut("B") == "B"
    assert read_settings({"until": "</s>"}, "t").until == ("</s>",)
    assert read_settings({"until": None, "temperature": 0.7, "do_sample": False, "num_beams": 1}, "t").until == ()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": 0.7}, "sampled answers (temperature 0.7)"),
        ({"do_sample": True}, "sampled answers"),
        ({"num_beams": 5}, "num_beams 5"),
        ({"repetition_penalty": 1.2}, "repetition_penalty 1.2"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": "many"}, "max_new_tokens is 'many'"),
        ({"until": [7]}, "until is [7]"),
    ],
)
def test_other_answers_than_the_likeliest_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_settings(settings, "mvbench")
    assert str(raised.value).startswith("task mvbench: ") and said in str(raised.value)
