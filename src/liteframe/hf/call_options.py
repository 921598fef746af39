"""Which options of `apply_chat_template` are for the template, for transformers, and for the processor's call."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from transformers import ProcessorMixin

from liteframe.data.sources.part_names import part_of_item
from liteframe.errors import ConfigError

UNBOUNDED = ("continue_final_message", "return_assistant_tokens_mask", "sanitize_control_tokens")
"""Those that would need templates rendered without limits of time and memory."""
NOT_FOR_TEMPLATES = (
    "tokenize",
    "return_tensors",
    "return_dict",
    "load_audio_from_video",
    "processor_kwargs",
    *UNBOUNDED,
)
_FRAMES = ("fps", "nframes", "num_frames", "min_frames", "max_frames")
"""By which a message tells Qwen-VL's tools which frames of its video they are to take."""


def require_whole_videos(messages: Any) -> None:
    """Raises ConfigError where a message says which part or which frames of its video are meant: neither is read.

    Args:
        messages: of one conversation.
    """
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, list | tuple) else ():
            if not isinstance(part, Mapping) or part.get("type") != "video":
                continue
            if (limit := part_of_item(dict(part))) is not None:
                raise ConfigError(
                    f"a video of the conversation has {limit!r}, which is not read; cut it by liteframe.read_video("
                    "..., start=..., end=...), and give its frames_THWC in place of the file"
                )
            if name := next((name for name in _FRAMES if part.get(name) is not None), None):
                raise ConfigError(
                    f"a video of the conversation has {name!r}, which is not read; give fps or num_frames to the call"
                )


def for_calls(options: dict[str, Any]) -> dict[str, Any]:
    """The same options, those of the call in `processor_kwargs` where the installed transformers asks for that.

    Args:
        options: of `apply_chat_template`, without those that templates take.
    """
    named = signature(ProcessorMixin.apply_chat_template).parameters
    given = options.get("processor_kwargs") or {}
    others = {name: value for name, value in options.items() if name != "processor_kwargs"}
    if "processor_kwargs" not in named:
        return {**others, **given}
    own = {name: value for name, value in others.items() if name in named}
    return {**own, "processor_kwargs": {**{name: others[name] for name in others if name not in own}, **given}}
