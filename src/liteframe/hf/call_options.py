"""Which options of `apply_chat_template` are for the template, for transformers, and for the processor's call."""

from __future__ import annotations

from inspect import signature
from typing import Any

from transformers import ProcessorMixin

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
