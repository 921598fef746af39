"""The settings that methods of one comparison must agree in, read off their modules rather than promised."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from liteframe.models.student.temporal import TemporalAttention
from liteframe.models.video_llm.model import VideoLLM


def declared(model: Any, prompt: str, output_length: int) -> dict[str, Any]:
    """What a method runs under, the fields of `MUST_AGREE`.

    Args:
        model: a `VideoLLM`, or a model around one.
        prompt: in words; the same for all methods by construction.
        output_length: answer tokens.
    """
    inner: VideoLLM = getattr(model, "inner", model)
    config: Any = inner.language_model.config
    weight = next(inner.backbone.parameters())
    weights, device = str(weight.dtype).removeprefix("torch."), weight.device.type
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return {
        "dtype": weights if autocast is None else f"{weights} under autocast to {str(autocast).removeprefix('torch.')}",
        "attention_kernel": ", ".join(sorted(attention_kernels(inner))),
        "llm": {"type": config.model_type, "hidden": config.hidden_size, "layers": config.num_hidden_layers},
        "prompt": prompt,
        "output_length": output_length,
    }


def attention_kernels(model: VideoLLM) -> set[str]:
    """Attention implementations of encoder and LLM; a temporal mixer's own is part of what is compared."""
    config: Any = model.language_model.config
    found = {str(config._attn_implementation)}
    mixers = (module for module in model.backbone.modules() if isinstance(module, TemporalAttention))
    of_mixers = {inner for mixer in mixers for inner in mixer.modules()}
    for module in set(model.backbone.modules()) - of_mixers:
        if isinstance(module, PreTrainedModel) and module.config.model_type == "internvl_vision":
            found.add(str(module.config._attn_implementation))
        kernel, fused = getattr(module, "kernel", None), getattr(module, "fused_attn", None)
        if isinstance(kernel, str):
            found.add(kernel)
        if fused is not None:
            found.add("sdpa" if fused else "eager")
    return found
