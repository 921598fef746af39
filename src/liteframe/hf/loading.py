"""A Video LLM from a folder, whatever kind of folder it is."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.hf.configuration import LiteFrameVideoConfig
from liteframe.hf.engine import (
    COMPILED,
    FLOAT8,
    TORCH,
    Float8Backbone,
    OpenVINOBackbone,
    freeze_encoder,
    recorded_sha256,
    require_engine,
)
from liteframe.hf.modeling import LiteFrameForConditionalGeneration
from liteframe.hf.processing import LiteFrameProcessor
from liteframe.models.folders.model_folder import CONFIG, local_folder, model_file, read_json_file, whole_folder
from liteframe.models.video_llm.adapted import frames_of, is_adapted, load_adapted
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.model import BaseParts, LiteFrameBackbone, VideoLLM, end_ids, not_applied


def load_video_llm(
    source: str | Path,
    attention: str | dict[str, str] | None = None,
    dtype: torch.dtype | None = None,
    engine: str = TORCH,
) -> VideoLLM:
    """The Video LLM in a folder, in eval mode.

    Args:
        source: export folder of an LMA run, what `liteframe export` made of it, or a base VLM with its own vision
            encoder; the last two may be hub ids too. Each may also lie at an address (`s3://bucket/model`).
        attention: attention implementation of the LLM, "eager" or "sdpa"; None is transformers' choice.
        dtype: of weights that an adapter is merged into; None is the one of the LLM's.
        engine: that runs its encoder, one of `ENGINES`; openvino-int8 needs what `liteframe export --calibrate`
            wrote.

    Raises:
        ConfigError: nothing there that is a Video LLM, or that the engine can run.
    """
    require_engine(engine)
    source = whole_folder(source)
    folder = Path(source)
    if engine == COMPILED:
        model = load_video_llm(source, attention, dtype)
        freeze_encoder(model)
        return model
    if engine == FLOAT8:
        model = load_video_llm(source, attention, dtype)
        if not isinstance(model.backbone, LiteFrameBackbone):
            raise ConfigError(f"{source}: the engine {engine} runs liteframe's encoder, and this model has another")
        model.backbone = Float8Backbone(model.backbone)
        return model
    if engine != TORCH:
        recorded_sha256(folder)  # raises before the work
        model = load_video_llm(source, attention, dtype)
        assert isinstance(model.backbone, LiteFrameBackbone), "only exported students have such a record"
        model.backbone = OpenVINOBackbone(folder, model.backbone)
        return model
    if is_adapted(folder):
        return load_adapted(folder, attention, dtype)
    if is_adapted(folder / "export"):
        raise ConfigError(f"{folder} is a run folder; give the model in it, {folder / 'export'}")
    if os.path.isdir(folder) and not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: no model here; give the export folder of an LMA run, or a base VLM's folder")
    if _model_type(str(source)) == LiteFrameVideoConfig.model_type:
        return _load_exported(str(source), attention, dtype)
    host, processor = load_base_vlm(str(source), attention)
    return VideoLLM(host, processor, trained=frames_of(local_folder(str(source)))).eval()


@contextmanager
def loading_quietly() -> Iterator[None]:
    """For commands: the libraries neither draw progress nor warn of what users cannot change."""
    disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is to go
        yield


def _model_type(source: str) -> str | None:
    config = model_file(local_folder(source), CONFIG)
    kind = read_json_file(config).get("model_type") if config else None
    return kind if isinstance(kind, str) else None  # what is wrong there, those who load a base VLM can say


def _load_exported(source: str, attention: str | dict[str, str] | None, dtype: torch.dtype | None) -> VideoLLM:
    kernel = attention.get("text_config") if isinstance(attention, dict) else attention
    model: Any = LiteFrameForConditionalGeneration.from_pretrained(
        source,
        **({"attn_implementation": {"text_config": kernel}} if kernel else {}),
        **({} if dtype is None else {"dtype": dtype}),
    )
    processor: Any = LiteFrameProcessor.from_pretrained(source)
    parts = BaseParts(
        model.projector,
        model.language_model,
        model.lm_head,
        model.config.downsample_ratio,
        model.config.image_token_id,
        end_ids(model.generation_config),
        not_applied=not_applied(model.generation_config),
        host=model.host,
        newline_token_id=model.config.newline_token_id,
    )
    height, width = processor.image_size
    backbone = LiteFrameBackbone(model.encoder, (height, width))
    # The processor's own number of frames is what it takes by default, whether or not training is known.
    most = frames_of(local_folder(source)).most_frames
    trained = FrameSpec((height, width), processor.clip_frames, processor.frame_sampler(), most)
    return VideoLLM(parts, processor, backbone, trained=trained).eval()
