"""The model card of an exported Video LLM: how to use it, what it is, and the records of the run that made it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

import liteframe
from liteframe.data.remote.file import is_url
from liteframe.hf.configuration import LiteFrameVideoConfig
from liteframe.hf.processing import LiteFrameProcessor
from liteframe.hf.run_folder import RunFolder
from liteframe.models.video_llm.hosts import HOSTS
from liteframe.system.tables import markdown

_USE = """\
## Use

```python
import liteframe.hf  # makes the classes known to transformers
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("PATH OR HUB ID")
processor = AutoProcessor.from_pretrained("PATH OR HUB ID")
question = [{"type": "video", "path": "clip.mp4"}, {"type": "text", "text": "What happens?"}]
inputs = processor.apply_chat_template(
    [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=True, return_dict=True
)
answer = model.generate(**inputs, max_new_tokens=64)[:, inputs["input_ids"].shape[1] :]
print(processor.batch_decode(answer, skip_special_tokens=True)[0])
```
"""
_PICTURES = """
A still image goes in as `{"type": "image", "path": ...}` and is encoded as a clip of that image repeated."""
_TIMES = """
Prompts tell the second of each group of frames. Files have it; of frames in an array, give the rate:
`processor.apply_chat_template(..., video_fps=2.0)` or `processor(text=..., videos=[frames], video_fps=2.0)`."""
_STAGE_NAMES = {True: "LMA (language model adaptation)", False: "CTD (compressed token distillation), LLM as it was"}
_ENCODER_OF_LMA = "LMA (language model adaptation), of which this is the encoder alone, LLM as it was"


def model_card(
    run: RunFolder, config: LiteFrameVideoConfig, processor: LiteFrameProcessor, host: str, parameters: dict[str, int]
) -> str:
    """The text of README.md. Of paths on the machine of the run only the last part is shown.

    Args:
        run: what was exported.
        config: of the exported model.
        processor: of the exported model.
        host: folder or hub id of the base VLM.
        parameters: part of the model -> how many it has.
    """
    family = HOSTS[config.base_vlm]
    sections = [
        _front_matter(host),
        "# Model card",
        f"A Video LLM with a LiteFrame encoder ([arXiv 2605.17260](https://arxiv.org/abs/2605.17260)) in the base VLM"
        f" `{_name(host)}`, made by liteframe {liteframe.__version__}.",
        "Licence: FILL IN. The weights of the base VLM are in this folder and come under their own licence.",
        "\n".join([_USE.rstrip("\n"), *([_PICTURES] * family.pictures), *([_TIMES] * family.timed)]),
        _what_it_is(config, processor, parameters),
        _how_it_was_made(run),
    ]
    if run.rows:
        sections.append(_results(run))
    return "\n\n".join(sections) + "\n"


def _front_matter(host: str) -> str:
    fields = {"library_name": "transformers", "pipeline_tag": "video-text-to-text", "tags": ["liteframe", "video"]}
    # The hub knows models by id only, so a folder cannot be named as one.
    is_elsewhere = os.path.isdir(host) or is_url(host)
    base = "# base_model: FILL IN the hub id of the base VLM" if is_elsewhere else f"base_model: {host}"
    licence = "license: other  # FILL IN: not freer than the base VLM's own"
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}{base}\n{licence}\n---"


def _what_it_is(config: LiteFrameVideoConfig, processor: LiteFrameProcessor, parameters: dict[str, int]) -> str:
    height, width = processor.image_size
    rows: list[list[object]] = [[part, f"{count:,}"] for part, count in parameters.items()]
    text = f"The LLM sees {processor.tokens_per_clip} tokens of a clip of {processor.clip_frames} frames of"
    text += f" {height} x {width} px."
    if config.adapter is not None:
        text += f" The LoRA adapter lies in `{config.adapter}` and is put on the LLM when the model is loaded."
    return f"## What it is\n\n{text}\n\n{markdown(['part', 'parameters'], rows)}"


def _how_it_was_made(run: RunFolder) -> str:
    record = run.record
    of_lma = record is not None and record.stage == "LMAStage" and not run.adapted
    text = f"## How it was made\n\nLast stage: {_ENCODER_OF_LMA if of_lma else _STAGE_NAMES[run.adapted]}."
    text += f" It took {run.seconds:,.0f} s." if run.seconds is not None else ""
    if record is None:
        return f"{text} Nothing else is known of its training: the export has no record of it."
    frames, sampler = record.frames, record.frames.sampler
    text += f" It did {record.steps:,} steps in {record.precision}."
    shown = {
        "image_size": None if frames.image_size is None else list(frames.image_size),
        "clip_frames": frames.clip_frames,
        "most_frames": frames.most_frames,
        "sampler": None if sampler is None else sampler.describe(),
        "model": record.model,
        "data": record.data,
    }
    return f"{text}\n\n```yaml\n{yaml.safe_dump(_shown(shown), sort_keys=False)}```"


def _results(run: RunFolder) -> str:
    header = ["frames", "tokens", "accuracy", "95 % interval", "model ms", "end to end ms"]
    rows: list[list[object]] = [
        [
            row.frames,
            row.tokens,
            f"{row.accuracy:.3f}",
            f"{row.accuracy_low:.3f} to {row.accuracy_high:.3f}",
            f"{row.model_ms:.1f}",
            f"{row.total_ms:.1f}",
        ]
        for row in run.rows
    ]
    asked = f"{run.rows[0].questions:,} questions about {run.rows[0].videos:,} videos, one video at a time"
    return f"## Results of the run's own sweep\n\n{asked}.\n\n{markdown(header, rows)}"


def _name(host: str) -> str:
    """A hub id as it is; of the export of a stage, the stage's folder."""
    path = Path(host)
    if not os.path.isdir(path):
        return host
    return path.parent.name if path.name == "export" else path.name


def _shown(value: Any) -> Any:
    """Settings without those that are not set."""
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items() if item not in (None, {})}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    return value
