"""The body of `POST /v1/chat/completions`, in the words of OpenAI and vLLM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from liteframe.serving.refusal import Refusal

_LONGEST_MESSAGE = 300
_MOST_TEXT = 1_000_000
"""Characters of all texts, which are far more than any context takes."""
_LEAST_TEMPERATURE = 1e-4
"""Below it logits over temperature leave float32."""
_WITHOUT_EFFECT = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
"""About the one who asks, or how a service keeps books: no answer depends on them."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("n", "best_of", "repetition_penalty", "length_penalty"), (1,)),
    **dict.fromkeys(("presence_penalty", "frequency_penalty", "min_p", "min_tokens", "top_logprobs"), (0,)),
    **dict.fromkeys(("logprobs", "ignore_eos", "echo", "parallel_tool_calls", "use_beam_search"), (False,)),
    **dict.fromkeys(("tools", "functions", "stop_token_ids", "bad_words"), ([],)),
    **dict.fromkeys(("add_generation_prompt", "skip_special_tokens", "spaces_between_special_tokens"), (True,)),
    "logit_bias": ({},),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
}
"""Fields that are not supported, with the values at which they change nothing."""


class _Strict(BaseModel):
    """An object that has no other fields than these; null is as if a field were left out."""

    model_config = ConfigDict(extra="forbid", strict=True)
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Fields that it may have as well, with the values at which they change nothing."""

    @model_validator(mode="before")
    @classmethod
    def _without_what_changes_nothing(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {
            name: value for name, value in given.items() if value is not None and value not in cls.neutral.get(name, ())
        }


class VideoURL(_Strict):
    url: str


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class VideoPart(_Strict):
    type: Literal["video_url"]
    video_url: VideoURL


class Message(_Strict):
    """One message; a text alone stands for a list of one text."""

    neutral = {"tool_calls": ([],), "annotations": ([],)}
    role: Literal["system", "developer", "user", "assistant"]
    content: list[Annotated[TextPart | VideoPart, Field(discriminator="type")]] = Field(min_length=1)
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _as_list(cls, content: Any) -> Any:
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    @model_validator(mode="after")
    def _require_videos_of_users(self) -> Message:
        if self.role != "user" and any(isinstance(part, VideoPart) for part in self.content):
            raise ValueError(f"a message of role {self.role!r} holds a video_url; only a user's may")
        return self


class Watching(_Strict):
    """Which frames of a video are looked at, as vLLM's `mm_processor_kwargs` name it; see `ChatModel.watch`."""

    neutral = {"do_sample_frames": (True,)}
    num_frames: int | None = Field(default=None, ge=1)
    fps: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    start: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    end: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class MediaIO(_Strict):
    video: Watching = Watching()


class StreamOptions(_Strict):
    neutral = {"continuous_usage_stats": (False,), "include_obfuscation": (False,)}
    include_usage: bool = False


class ChatRequest(_Strict):
    """What is asked. Fields that would change an answer and are not supported are refused by name."""

    neutral = _NEUTRAL
    model: str | None = None
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: list[Annotated[str, Field(min_length=1)]] | None = Field(default=None, max_length=16)
    mm_processor_kwargs: Watching | None = None
    media_io_kwargs: MediaIO | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_not_about_the_answer(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in body.items() if name not in _WITHOUT_EFFECT}

    @field_validator("stop", mode="before")
    @classmethod
    def _stop_as_list(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @model_validator(mode="after")
    def _require_sense(self) -> ChatRequest:
        if self.messages[-1].role != "user":
            raise ValueError(f"the last message is of role {self.messages[-1].role!r}; it must be the user's")
        if any(message.role in ("system", "developer") for message in self.messages[1:]):
            raise ValueError("a message of the system can only be the first")
        texts = (part.text for message in self.messages for part in message.content if isinstance(part, TextPart))
        if (characters := sum(map(len, texts))) > _MOST_TEXT:
            raise ValueError(f"{characters} characters of text; this server takes {_MOST_TEXT}")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        narrowed = self.top_p not in (None, 1) or self.top_k not in (None, 0, -1)
        if self.temperature and self.temperature < _LEAST_TEMPERATURE:
            raise ValueError(f"temperature is {self.temperature:g}; give 0, or {_LEAST_TEMPERATURE:g} and more")
        if narrowed and not self.temperature:
            raise ValueError("top_p and top_k need a temperature above 0; without one the likeliest token is taken")
        if self.mm_processor_kwargs and self.media_io_kwargs:
            raise ValueError("mm_processor_kwargs and media_io_kwargs: give one of them")
        return self

    @property
    def answer_tokens(self) -> int | None:
        """The most tokens of the answer; None where it is not said."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def watching(self) -> Watching:
        """The frames that are asked for."""
        return self.mm_processor_kwargs or (self.media_io_kwargs or MediaIO()).video

    def videos(self) -> Iterator[tuple[str, str]]:
        """Of each video, the name of its field and its URL."""
        for index, message in enumerate(self.messages):
            for place, part in enumerate(message.content):
                if isinstance(part, VideoPart):
                    yield f"messages[{index}].content[{place}].video_url", part.video_url.url

    def template_messages(self) -> list[dict[str, Any]]:
        """The messages as chat templates take them."""
        return [
            {
                "role": "system" if message.role == "developer" else message.role,
                "content": [
                    {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "video"}
                    for part in message.content
                ],
            }
            for message in self.messages
        ]


def parse_request(body: bytes) -> ChatRequest:
    """The request in a body. Raises Refusal, with the first field that is wrong."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    field = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in _keys(first["loc"])).lstrip(".")
    about, part = f"{field}: " if field else "", first.get("ctx", {}).get("tag")
    said = {
        "extra_forbidden": f"{field} is not supported; leave it out",
        "missing": f"{about}Field required; it is not there, or null",
        "json_invalid": f"no JSON: {first['msg']}",
        "model_type": f'{about}must be an object, such as {{"url": "https://..."}} of a video_url'
        if field
        else "the body must be an object with messages",
        "union_tag_invalid": f"{about}a part of type {part!r} is not supported; give text or video_url",
    }
    text = said.get(first["type"], about + first["msg"].removeprefix("Value error, "))
    raise Refusal(400, text[:_LONGEST_MESSAGE], field or None)


def _keys(location: tuple[int | str, ...]) -> list[int | str]:
    """Where an error is, without the type that pydantic puts between a part of a message and its field."""
    keys = list(location)
    if keys[:1] == ["messages"] and len(keys) > 4:
        del keys[4]
    return keys
