"""The body of a chat request: what is taken, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("pydantic")

from liteframe.serving.refusal import Refusal
from liteframe.serving.request import ChatRequest, parse_request

HELLO = [{"role": "user", "content": "hello"}]
VIDEO = {"type": "video_url", "video_url": {"url": "https://videos.example/a.mp4"}}


def parsed(**fields: Any) -> ChatRequest:
    return parse_request(json.dumps({"messages": HELLO, **fields}).encode())


def test_a_conversation_is_taken_as_it_is() -> None:
    messages = [
        {"role": "developer", "content": "be short"},
        {"role": "user", "content": [VIDEO, {"type": "text", "text": "what?"}]},
        {"role": "assistant", "content": "a box"},
        {"role": "user", "content": [{"type": "text", "text": "and here?"}, VIDEO], "name": "ann"},
    ]
    asked = parsed(messages=messages)
    assert asked.template_messages() == [
        {"role": "system", "content": [{"type": "text", "text": "be short"}]},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "what?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "a box"}]},
        {"role": "user", "content": [{"type": "text", "text": "and here?"}, {"type": "video"}]},
    ]
    url = VIDEO["video_url"]["url"]  # type: ignore[index]
    assert list(asked.videos()) == [
        ("messages[1].content[0].video_url", url),
        ("messages[3].content[1].video_url", url),
    ]


def test_what_changes_no_answer_is_passed_over() -> None:
    neutral = {"n": 1, "presence_penalty": 0.0, "logprobs": None, "tools": [], "response_format": {"type": "text"}}
    asked = parsed(**neutral, user="ann", metadata={"a": 1}, temperature=0, top_p=1, stop="END", max_tokens=3)
    assert (asked.stop, asked.temperature, asked.answer_tokens) == (["END"], 0, 3)
    assert parsed(max_completion_tokens=5).answer_tokens == 5 and parsed().answer_tokens is None


def test_null_is_as_if_left_out() -> None:
    told = {"role": "assistant", "content": "a box", "refusal": None, "tool_calls": None, "annotations": []}
    asked = parsed(messages=[*HELLO, told, *HELLO], stream=None, seed=None, reasoning_effort=None, stream_options=None)
    assert asked.template_messages()[1] == {"role": "assistant", "content": [{"type": "text", "text": "a box"}]}
    assert not asked.stream
    frames = {"num_frames": 8, "fps": None, "do_sample_frames": True}
    assert parsed(mm_processor_kwargs=frames).watching.num_frames == 8


def test_frames_are_asked_for_as_vllm_has_it() -> None:
    by_processor = parsed(mm_processor_kwargs={"num_frames": 8, "fps": 2})
    by_io = parsed(media_io_kwargs={"video": {"num_frames": 8, "fps": 2.0}})
    assert by_processor.watching == by_io.watching and by_io.watching.num_frames == 8
    assert parsed().watching.num_frames is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"n": 2}, "n is not supported"),
        ({"tools": [{"type": "function"}]}, "tools is not supported"),
        ({"logit_bias": {"5": 1}}, "logit_bias is not supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty is not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported"),
        ({"guided_json": {}}, "guided_json is not supported"),
        ({"stop_token_ids": [1]}, "stop_token_ids is not supported"),
        ({"logprobs": True}, "logprobs is not supported"),
        ({"stream_options": {"include_usage": True}}, "stream_options needs stream: true"),
        ({"temperature": 3}, "temperature: Input should be less than or equal to 2"),
        ({"temperature": 1e-44}, "temperature is 1e-44; give 0, or 0.0001 and more"),
        ({"messages": [{"role": "user", "content": "x" * 1_000_001}]}, "1000001 characters of text"),
        ({"temperature": "hot"}, "temperature: Input should be a valid number"),
        ({"top_p": 0.5}, "top_p and top_k need a temperature"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"stop": [""]}, r"stop\[0\]: "),
        ({"messages": []}, "messages: "),
        ({"messages": [{"role": "user"}]}, r"messages\[0\].content: Field required"),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": None, "refusal": "No."}, *HELLO]},
            r"messages\[1\].content: Field required; it is not there, or null",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"messages\[0\].role: "),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "the last message is of role 'assistant'"),
        ({"messages": [*HELLO, {"role": "system", "content": "x"}, *HELLO]}, "can only be the first"),
        ({"messages": [{"role": "system", "content": [VIDEO]}, *HELLO]}, "only a user's may"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            r"messages\[0\].content\[0\]: a part of type 'image_url'",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}]}, "a part of type 'video'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": "a.mp4"}]}]},
            r"messages\[0\].content\[0\].video_url: must be an object",
        ),
        (
            {"messages": [{"role": "user", "content": [{**VIDEO, "fps": 2}]}]},
            r"messages\[0\].content\[0\].fps is not supported",
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": "x", "tool_calls": [{"id": "a"}]}, *HELLO]},
            "tool_calls",
        ),
        ({"mm_processor_kwargs": {"do_sample_frames": False}}, "mm_processor_kwargs.do_sample_frames is not supported"),
        ({"mm_processor_kwargs": {"num_frames": 0}}, "mm_processor_kwargs.num_frames: "),
        ({"mm_processor_kwargs": {"size": 3}}, "mm_processor_kwargs.size is not supported"),
        ({"mm_processor_kwargs": {"fps": 1}, "media_io_kwargs": {}}, "give one of them"),
    ],
)
def test_what_cannot_be_followed_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal, match=said) as caught:
        parsed(**fields)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"messages": ' + b"[" * 10_000, b'{"temperature": NaN}'])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_request(body)
    assert caught.value.status == 400 and len(caught.value.message) < 400


def test_a_body_that_is_no_object_is_called_so() -> None:
    with pytest.raises(Refusal, match="^the body must be an object with messages$"):
        parse_request(b"[]")
