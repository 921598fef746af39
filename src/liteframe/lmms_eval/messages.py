"""What lmms-eval asks, read from the messages and settings of a request."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liteframe.errors import ConfigError

_USUAL_TOKENS = 1024
"""Of an answer where a task does not say, as most models of lmms-eval have it."""
_NO_OTHER_ANSWER: dict[str, tuple[Any, ...]] = {"num_beams": (None, 1), "repetition_penalty": (None, 1)}
"""Settings beside sampling that change a greedy answer, and the values at which they do not."""


@dataclass(frozen=True)
class Asked:
    """One question about one video.

    Attributes:
        video: its file.
        start_s, end_s: seconds between which to look; None for its start and its end.
        question: the user's turn, letter for letter.
    """

    video: str
    start_s: float | None
    end_s: float | None
    question: str

    @property
    def stretch(self) -> tuple[str, float, float]:
        """Equal for questions about the same part of a video."""
        return self.video, -1.0 if self.start_s is None else self.start_s, -1.0 if self.end_s is None else self.end_s


@dataclass(frozen=True)
class Wanted:
    """How an answer ends.

    Attributes:
        max_tokens: that it may have.
        until: texts of which the first to come ends it, and is no part of it.
    """

    max_tokens: int
    until: tuple[str, ...]

    def cut(self, answer: str) -> str:
        """The answer up to the first of `until`."""
        ends = [place for text in self.until if (place := answer.find(text)) >= 0]
        return answer[: min(ends)] if ends else answer


def read_messages(messages: Sequence[Mapping[str, Any]], task: str) -> Asked:
    """A user's turn of a video and words behind it.

    Args:
        messages: as a task's `doc_to_messages` gives them.
        task: its name, for messages.

    Raises:
        ConfigError: the task asks anything else, which the model would not be shown as the task means it.
    """
    if [message["role"] for message in messages] != ["user"]:
        roles = ", ".join(str(message["role"]) for message in messages)
        raise ConfigError(f"task {task}: its turns are {roles or 'none'}; liteframe answers one turn of a user")
    content = messages[0]["content"]
    kinds = [_kind(part) for part in content]
    if kinds[:1] != ["video"] or set(kinds[1:]) != {"text"}:
        told = ", ".join(kinds) or "nothing"
        raise ConfigError(f"task {task}: asks with {told}; liteframe answers about one video and words behind it")
    video = content[0]["url"]
    start, end = content[0].get("start_time"), content[0].get("end_time")
    if isinstance(video, Mapping):  # so lmms-eval hands a part of a video on
        start, end = video.get("video_start"), video.get("video_end")
        video = video.get("url") or video.get("path") or video.get("video")
    if not isinstance(video, str | os.PathLike):
        raise ConfigError(f"task {task}: gives a video as {type(video).__name__}; liteframe reads files")
    return Asked(os.fspath(video), start, end, "".join(part["text"] for part in content[1:]))


def _kind(part: Mapping[str, Any]) -> str:
    # lmms-eval takes every .webm for a sound.
    if part["type"] == "audio" and isinstance(part["url"], str) and part["url"].lower().endswith(".webm"):
        return "video"
    return str(part["type"])


def read_settings(settings: Mapping[str, Any], task: str) -> Wanted:
    """The `generation_kwargs` of a task.

    Raises:
        ConfigError: they ask for an answer that is not the likeliest, token by token, or make no sense.
    """
    advice = "liteframe answers greedily; give --gen_kwargs temperature=0,do_sample=False,num_beams=1"
    temperature = settings.get("temperature")
    samples = bool(temperature) and settings.get("do_sample") is not False
    if samples or (settings.get("do_sample") is True and temperature != 0):
        raise ConfigError(f"task {task}: asks for sampled answers (temperature {temperature}); {advice}")
    for name, harmless in _NO_OTHER_ANSWER.items():
        if settings.get(name) not in harmless:
            raise ConfigError(f"task {task}: asks for {name} {settings[name]}; {advice}")
    tokens = settings.get("max_new_tokens", _USUAL_TOKENS)
    if type(tokens) is not int or tokens < 1:
        raise ConfigError(f"task {task}: max_new_tokens is {tokens!r}; give a whole number above 0")
    until = settings.get("until") or []
    until = [until] if isinstance(until, str) else until
    if not all(isinstance(text, str) for text in until):
        raise ConfigError(f"task {task}: until is {until!r}; give texts")
    return Wanted(tokens, tuple(text for text in until if text))
