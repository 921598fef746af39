"""``liteframe export``: a finished run as one Hugging Face folder, or its encoder as a file of another format."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from liteframe.data.sampling import is_known
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.hf.calibration import CalibrationClips, read_clips
from liteframe.hf.card import model_card
from liteframe.hf.encoder_file import FORMATS, export_encoder, require_format
from liteframe.hf.engine import INT8, require_engine
from liteframe.hf.int8_export import export_int8
from liteframe.hf.modeling import LiteFrameForConditionalGeneration
from liteframe.hf.openvino import require
from liteframe.hf.processing import LiteFrameProcessor
from liteframe.hf.run_folder import RunFolder
from liteframe.models.folders.foreign_errors import named_errors
from liteframe.models.folders.model_folder import ADAPTER_FILES
from liteframe.models.student.encoder import LiteFrameConfig, LiteFrameEncoder
from liteframe.models.video_llm.adapted import (
    adapter_of,
    compressor_of,
    load_adapter,
    load_parts,
    merge_adapter,
)
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.hosts import host_of
from liteframe.models.video_llm.model import end_ids
from liteframe.models.video_llm.prompts import PromptBuilder
from liteframe.system.own_folder import replace_folder

_ADAPTER = "adapter"
_DTYPES = ("float32", "bfloat16", "float16")


def export(
    run: str,
    out: str,
    merge: bool,
    host: str | None,
    dtype: str | None,
    max_shard_size: str,
    calibrate: str | None = None,
) -> int:
    """Carries out `export_command`, whose docstring describes the arguments, and returns its exit code.

    Raises:
        ConfigError: the run is not finished, or a setting does not go with it.
    """
    disable_progress_bar()
    found, target = RunFolder.open(Path(run)), Path(out)
    if found.adapted and compressor_of(found.export) is not None:
        raise ConfigError(
            f"{found.export}: adapted to the base VLM's own encoder, without a student; only students are exported, and"
            " this model can be asked as it is (`liteframe chat`, `liteframe evaluate`)"
        )
    if dtype not in (None, *_DTYPES):
        raise ConfigError(f"--dtype {dtype} is none of {', '.join(_DTYPES)}")
    if target.suffix in FORMATS:
        if merge or host:
            raise ConfigError(
                f"{target}: --merge and --host are for folders; a {target.suffix} file is the encoder alone"
            )
        require_format(target, dtype, calibrate is not None)
        clips = _calibration_clips(found, calibrate)
        encoder = LiteFrameEncoder.from_pretrained(found.encoder)
        likeness = export_encoder(encoder, target, found.frames.image_size, dtype, clips)
        if likeness is not None:
            print(f"its features in eight bits differ by {likeness.relative_error:.1%} from those in float32")
    else:
        if calibrate is not None:
            require("openvino", "openvino-export")
            require("nncf", "openvino-export")
            require_engine(INT8)
        clips = _calibration_clips(found, calibrate)
        advice = "free some space, or give another folder; nothing was lost"
        with replace_folder(target) as part, named_errors(f"{target}: cannot be written", advice):
            encoder = export_folder(found, part, merge, found.host(host), dtype, max_shard_size)
            if clips is not None:
                export_int8(encoder, part, clips)
    print(f"exported {found.export} to {target}")
    return 0


def export_folder(
    run: RunFolder, folder: Path, merge: bool, host_source: str, dtype: str | None, max_shard_size: str
) -> LiteFrameEncoder:
    """Writes weights, configs, processor and model card of `run` into an empty folder, and gives back the encoder.

    Raises:
        ConfigError: a part or a setting of the run is missing or damaged, or does not fit the base VLM.
    """
    adapter, rounded = None, getattr(torch, dtype) if dtype else None
    if run.adapted:
        host, processor, encoder = load_parts(run.export, host_source)
        assert encoder is not None, "exports without a student are refused"
        adapter = adapter_of(run.export)
        if adapter is not None:
            llm = host.model.language_model
            host.model.language_model = (
                merge_adapter(llm, adapter, rounded) if merge else load_adapter(llm, adapter).unload()
            )
    else:
        host, processor = load_base_vlm(host_source)
        encoder = LiteFrameEncoder.from_pretrained(run.encoder)
    family = host_of(host.config, host_source)
    PromptBuilder(processor, host=family)  # raises where the base VLM's processor lacks what prompts need
    model = LiteFrameForConditionalGeneration.from_host(host, encoder)
    torch.nn.Module.to(model, rounded or host.dtype)
    if adapter is not None and not merge:
        model.config.adapter = _ADAPTER
        (folder / _ADAPTER).mkdir()
        for name in ADAPTER_FILES:
            shutil.copyfile(adapter / name, folder / _ADAPTER / name)
    _complete_generation_config(model, processor.tokenizer)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    frames_in = _processor(model, processor, run.frames)
    frames_in.save_pretrained(folder)
    if run.record is not None:
        run.record.for_others().write(folder)
    parts = {"encoder": model.encoder, "projector": model.projector, "LLM": model.language_model}
    counts = {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()}
    (folder / "README.md").write_text(model_card(run, model.config, frames_in, host_source, counts), encoding="utf-8")
    return model.encoder


def _calibration_clips(run: RunFolder, source: str | None) -> CalibrationClips | None:
    """Clips of the videos that were given; None where none were."""
    if source is None:
        return None
    config: Any = LiteFrameConfig.from_pretrained(run.encoder)
    frames = replace(run.frames, clip_frames=config.clip_frames)
    return read_clips(source, frames, frames.image_size or (config.image_size, config.image_size))


def _complete_generation_config(model: LiteFrameForConditionalGeneration, tokenizer: Any) -> None:
    """`generate` ends an answer where `VideoLLM` does: at each of the base VLM's end tokens, and at the tokenizer's."""
    generation: Any = model.generation_config
    own = tokenizer.eos_token_id
    ends = sorted({*end_ids(generation), *([] if own is None else [own])})
    if ends:
        generation.eos_token_id = ends if len(ends) > 1 else ends[0]
    if generation.pad_token_id is None:
        generation.pad_token_id = tokenizer.pad_token_id


def _processor(model: LiteFrameForConditionalGeneration, of_host: Any, frames: FrameSpec) -> LiteFrameProcessor:
    encoder, sampler = model.config.encoder_config, frames.sampler
    height, width = frames.image_size or (encoder.image_size, encoder.image_size)
    return LiteFrameProcessor(
        of_host.tokenizer,
        image_size=(height, width),
        clip_frames=encoder.clip_frames,
        tokens_per_clip=model.config.tokens_per_clip(height, width),
        **({} if frames.most_frames is None else {"num_frames": frames.most_frames}),
        chat_template=of_host.chat_template,
        frames_per_group=encoder.stride[0],
        sampler=sampler.describe() if sampler is not None and is_known(sampler) else None,
        base_vlm=model.config.base_vlm,
    )
