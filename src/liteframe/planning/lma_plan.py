"""The plan of LMA: encoder, projector and LLM on prompts of videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import InternVLForConditionalGeneration

from liteframe.data.datamodule import VideoDataModule
from liteframe.errors import ConfigError
from liteframe.models.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.hosts import host_config
from liteframe.planning.flops import adapter_cost, head_cost, llm_cost, projector_cost, student_cost
from liteframe.planning.memory import (
    Part,
    llm_activations,
    logits_bytes,
    projector_activations,
    student_activations,
)
from liteframe.planning.parts import (
    SHUFFLED,
    BatchPlan,
    StagePlan,
    count,
    of_video,
    part,
    require_width,
    student_points,
)
from liteframe.stages.lma import LMAStage

LINE_TOKENS = 8
"""Of ``Frame12: <img>``, ``</img>`` and the line break, in the tokenizers of the family."""


@dataclass(frozen=True)
class _Video:
    """Clips of a video, and tokens: visual ones, those of the whole prompt, and those of its text."""

    clips: int
    visual: int
    prompt: int
    text: int


def plan_lma(stage: LMAStage, data: VideoDataModule, text_tokens: int) -> StagePlan:
    """The plan of LMA; see `plan_stage` for arguments and errors."""
    host = host_config(stage.host_source)
    vision: Any = host.vision_config
    text: Any = host.text_config
    config, notes = _student_config(stage.encoder_source, vision)
    require_width(config, vision, stage.encoder_source)
    size, clip = data.settings.image_size, config.clip_frames
    points = student_points(config, size, host.downsample_ratio)
    batches = []
    for shape in data.shapes:
        clips = -(-shape.frames // clip)
        prompt = clips * (points[SHUFFLED] + LINE_TOKENS) + text_tokens
        video = _Video(clips, clips * points[SHUFFLED], prompt, text_tokens)
        flops = _flops(stage, host, config, size, video)
        kept = _kept(stage, host, config, size, video)
        tokens = {**of_video(points, clips), "prompt of the LLM": prompt}
        batches.append(BatchPlan(shape.frames, shape.batch_size, shape.weight, tokens, flops, shape.batch_size * kept))
        if prompt > text.max_position_embeddings:
            notes.append(f"{shape.frames} frames: past the {text.max_position_embeddings:,} positions of the LLM")
    notes.append(f"{text_tokens} tokens of text a video (--text_tokens), with the loss on all of them")
    parts = _parts(stage, host, config)
    return StagePlan("LMAStage", [stage.host_source, stage.encoder_source], points, parts, batches, notes=notes)


def _checkpointing(stage: LMAStage) -> bool:
    return bool(getattr(stage, "gradient_checkpointing", False))


def _flops(
    stage: LMAStage, host: Any, config: LiteFrameConfig, size: tuple[int, int], video: _Video
) -> dict[str, float]:
    """Operations of a video with so many visual tokens; the LLM passes gradients on, its adapters are trained."""
    text = host.text_config
    encoder = student_cost(config, size) * video.clips
    projector = projector_cost(host.vision_config.hidden_size, text.hidden_size, video.visual, host.downsample_ratio)
    llm, adapters = llm_cost(text, video.prompt), adapter_cost(text, video.prompt, stage.lora.rank, stage.lora.targets)
    passed = stage.train_encoder or stage.train_projector
    return {
        "encoder": encoder.training() if stage.train_encoder else encoder.forward,
        "projector": projector.training(stage.train_projector) if passed else projector.forward,
        "LLM": llm.training(trained=False) + (llm.forward if _checkpointing(stage) else 0.0),
        "adapters": adapters.training() + (adapters.forward if _checkpointing(stage) else 0.0),
        "logits": head_cost(text, video.text).training(trained=False),
    }


def _kept(stage: LMAStage, host: Any, config: LiteFrameConfig, size: tuple[int, int], video: _Video) -> float:
    """Bytes that autograd keeps of a video."""
    text = host.text_config
    kept = llm_activations(text, video.prompt, stage.lora.targets, _checkpointing(stage)) + logits_bytes(
        text, video.text
    )
    if stage.train_encoder:
        kept += video.clips * student_activations(config, size)
    if stage.train_encoder or stage.train_projector:
        kept += projector_activations(
            host.vision_config.hidden_size, text.hidden_size, video.visual, host.downsample_ratio
        )
    return kept


def _parts(stage: LMAStage, config: Any, encoder: LiteFrameConfig) -> list[Part]:
    """Counted on the modules themselves, so that adapters are where peft puts them."""
    with torch.device("meta"):
        host: Any = InternVLForConditionalGeneration(config)
        llm = host.model.language_model
        own, layer = count(llm), count(llm.layers[0])
        try:
            adapted = get_peft_model(llm, LoraConfig(r=stage.lora.rank, target_modules=stage.lora.targets))
        except ValueError as error:
            raise ConfigError(f"model.lora.targets {stage.lora.targets}: {error}") from error
        student = LiteFrameEncoder(encoder)
    added = count(adapted) - own
    itemsize = torch.empty(0, dtype=_dtype(config)).element_size()
    # A tied head is the embedding. Both stay whole for a step; of the layers, one is in use and the next on its way.
    tied = host.lm_head.weight is llm.embed_tokens.weight
    head = 0 if tied else count(host.lm_head)
    outside = count(llm.embed_tokens) + head
    return [
        part("encoder", student, stage.train_encoder),
        # In float32 if it is trained, whatever the host's weights are in.
        part(
            "projector",
            host.model.multi_modal_projector,
            stage.train_projector,
            4 if stage.train_projector else itemsize,
        ),
        Part("LLM", own + head, 0, itemsize, outside + 2 * layer),
        Part("adapters", added, added, 4, 2 * added // len(llm.layers)),
    ]


def _dtype(config: Any) -> torch.dtype:
    dtype = config.dtype
    return getattr(torch, dtype) if isinstance(dtype, str) else dtype or torch.float32


def _student_config(folder: str, vision: Any) -> tuple[LiteFrameConfig, list[str]]:
    """The encoder that CTD exported, or the paper's where it is not there yet."""
    if (Path(folder) / "config.json").is_file():
        return LiteFrameConfig.from_pretrained(folder), []
    note = f"{folder} is not here yet: the paper's encoder is assumed, with the host's feature width"
    return LiteFrameConfig(output_size=vision.hidden_size), [note]
