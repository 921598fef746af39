"""The plan of LMA: encoder, projector and LLM on prompts of videos."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import InternVLForConditionalGeneration

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.models.flop_count import Cost, cost_of
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.adapted import frames_of
from liteframe.models.video_llm.base_vlm_configs import base_vlm_config
from liteframe.planning.forward_pass import PROMPT, ForwardPass, llm_pass, one_of_each, projector_pass, student_pass
from liteframe.planning.memory import Part, frames_bytes, logits_bytes
from liteframe.planning.parts import (
    SHUFFLED,
    BatchPlan,
    StagePlan,
    count,
    of_video,
    part,
    require_width,
    student_points,
    whole_clips,
)
from liteframe.stages.lma import LMAStage, with_adapters

LINE_TOKENS = 8
"""Of ``Frame12: <img>``, ``</img>`` and the line break, in the tokenizers of the family."""


@dataclass(frozen=True)
class _Video:
    """Clips of a video, and tokens: visual ones, those of the whole prompt, and those of its text."""

    clips: int
    visual: int
    prompt: int
    text: int


@dataclass(frozen=True)
class _Choices:
    """What a stage trains, and where it trades operations for memory."""

    encoder: bool
    projector: bool
    llm: bool
    checkpoint_llm: bool
    checkpoint_encoder: bool
    chunk: int | None

    @classmethod
    def of(cls, stage: LMAStage) -> _Choices:
        return cls(
            stage.train_encoder,
            stage.train_projector,
            stage.train_llm,
            stage.checkpoint_llm,
            stage.checkpoint_encoder,
            stage.encoder_chunk_clips,
        )


@dataclass(frozen=True)
class _Passes:
    """Of a clip, of a visual token, of a prompt in the LLM without and with adapters, and of a token's logits."""

    encoder: ForwardPass
    projector: ForwardPass
    llm: ForwardPass
    adapted: ForwardPass
    head: Cost

    def adapters_cost(self, tokens: int) -> Cost:
        """Operations of the adapters on `tokens` tokens, but for those on experts."""
        return Cost(self.adapted.prompt_cost(tokens).linear - self.llm.prompt_cost(tokens).linear)


def plan_lma(stage: LMAStage, data: VideoDataModule, text_tokens: int) -> StagePlan:
    """The plan of LMA; see `plan_stage` for arguments and errors."""
    if stage.encoder_source is None:
        raise ConfigError("model.encoder is null: plans are made of runs with a student; name the encoder of one")
    base_vlm = base_vlm_config(stage.host_source)
    vision: Any = base_vlm.vision_config
    text: Any = base_vlm.text_config
    config, notes = _student_config(stage.encoder_source, vision)
    require_width(config, vision, stage.encoder_source)
    made_for = FrameSpec(frames_of(stage.encoder_folder).image_size or (config.image_size, config.image_size))
    size, clip = data.follow(made_for, stage.encoder_source).image_size, config.clip_frames
    points = student_points(config, size, base_vlm.downsample_ratio)
    parts, passes = _count(stage, base_vlm, config, size)
    batches = []
    for shape in data.shapes:
        clips, lines = -(-shape.frames // clip), -(-shape.frames // config.stride[0])
        tokens = of_video(points, clips, whole_clips(config, shape.frames))
        prompt = tokens[SHUFFLED] + lines * LINE_TOKENS + text_tokens
        video = _Video(clips, tokens[SHUFFLED], prompt, text_tokens)
        flops = _flops(_Choices.of(stage), passes, video)
        kept = _kept(_Choices.of(stage), passes, text, video, shape.batch_size)
        tokens["prompt of the LLM"] = prompt
        inputs = frames_bytes(shape.batch_size * clips * clip, size)
        batches.append(BatchPlan(shape.frames, shape.batch_size, shape.weight, tokens, flops, kept, inputs))
        if prompt > text.max_position_embeddings:
            notes.append(f"{shape.frames} frames: past the {text.max_position_embeddings:,} positions of the LLM")
    notes.append(f"{text_tokens} tokens of text a video (--text_tokens), with the loss on all of them")
    # Weights of adapters are used once a token; those on experts would be more.
    if sum(part.parameters for part in parts if part.name == "adapters") > passes.adapters_cost(1).linear / 2:
        notes.append(
            "model.lora.targets name experts too: each has adapters of its own, whose operations are not counted;"
            " without gate_proj, up_proj and down_proj only attention is adapted"
        )
    return StagePlan("LMAStage", [stage.host_source, stage.encoder_source], points, parts, batches, notes=notes)


def _flops(choices: _Choices, passes: _Passes, video: _Video) -> dict[str, float]:
    """Operations of a video; the LLM passes gradients on, its adapters are trained."""
    encoder = passes.encoder.cost * video.clips
    projector = passes.projector.cost * video.visual
    llm, adapters = passes.llm.prompt_cost(video.prompt), passes.adapters_cost(video.prompt)
    passed = choices.encoder or choices.projector
    flops = {
        "encoder": encoder.training() if choices.encoder else encoder.forward,
        "projector": projector.training(choices.projector) if passed else projector.forward,
        "LLM": llm.training(trained=False),
        "adapters": adapters.training(),
        "logits": (passes.head * video.text).training(trained=False),
    }
    if choices.checkpoint_encoder and choices.encoder:
        flops["encoder"] += encoder.forward
    if choices.checkpoint_llm:
        flops["LLM"] += llm.forward
        flops["adapters"] += adapters.forward
    return flops


def _kept(choices: _Choices, passes: _Passes, text: Any, video: _Video, videos: int) -> float:
    """Bytes that autograd keeps of a batch of `videos`."""
    kept = passes.adapted.activations(videos * video.prompt / PROMPT, choices.checkpoint_llm)
    kept += logits_bytes(text, videos * video.text)
    if choices.encoder:
        chunk = choices.chunk if choices.checkpoint_encoder else None
        kept += passes.encoder.activations(videos * video.clips, choices.checkpoint_encoder, chunk)
    if choices.encoder or choices.projector:
        kept += passes.projector.activations(videos * video.visual)
    return kept


def _count(stage: LMAStage, config: Any, encoder: LiteFrameConfig, size: tuple[int, int]) -> tuple[list[Part], _Passes]:
    """Counted on the modules themselves, so that adapters are where peft puts them."""
    itemsize = _dtype(config).itemsize
    with torch.device("meta"):
        base_vlm: Any = InternVLForConditionalGeneration(config).requires_grad_(False)
        student = LiteFrameEncoder(encoder)
    llm, projector = base_vlm.model.language_model.bfloat16(), base_vlm.model.multi_modal_projector.requires_grad_()
    # A tied head is the embedding. Both stay whole for a step; of the layers, one is in use and the next on its way.
    tied = base_vlm.lm_head.weight is llm.embed_tokens.weight
    head = 0 if tied else count(base_vlm.lm_head)
    own, layer, outside = count(llm), count(llm.layers[0]), count(llm.embed_tokens) + head
    copies = one_of_each(llm)
    plain = adapted = llm_pass(llm, copies)
    if stage.train_llm:
        adapted = llm_pass(_adapted(stage, llm), copies)
    added = sum(times * _trained(layer) for times, layer in zip(copies, llm.layers, strict=True))
    parts = [
        part("encoder", student, stage.train_encoder),
        # In float32 if it is trained, whatever the base VLM's weights are in.
        part("projector", projector, stage.train_projector, 4 if stage.train_projector else itemsize),
        Part("LLM", own + head, 0, itemsize, outside + 2 * layer),
        Part("adapters", added, added, 4, 2 * added // sum(copies)),
    ]
    logits = cost_of(lambda: base_vlm.lm_head(base_vlm.lm_head.weight.new_empty(1, base_vlm.lm_head.in_features)))
    return parts, _Passes(student_pass(encoder, size), projector_pass(projector), plain, adapted, logits)


def _trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _adapted(stage: LMAStage, llm: Any) -> Any:
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # of experts; a note says so
        return with_adapters(llm, stage.lora)


def _dtype(config: Any) -> torch.dtype:
    dtype = config.dtype
    return getattr(torch, dtype) if isinstance(dtype, str) else dtype or torch.float32


def _student_config(folder: str, vision: Any) -> tuple[LiteFrameConfig, list[str]]:
    """The encoder that CTD exported, or the paper's where it is not there yet."""
    if (Path(folder) / "config.json").is_file():
        return LiteFrameConfig.from_pretrained(folder), []
    note = f"{folder} is not here yet: the paper's encoder is assumed, with the base VLM's feature width"
    return LiteFrameConfig(output_size=vision.hidden_size), [note]
