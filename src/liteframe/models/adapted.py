"""What LMA leaves behind: an encoder, an adapter and a projector, to be put on the host that they were made for."""

from __future__ import annotations

import json
import os
from pathlib import Path

from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn

from liteframe.errors import ConfigError
from liteframe.models.encoder import LiteFrameEncoder
from liteframe.models.video_llm import LiteFrameBackbone, VideoLLM, load_host

_CARD = "liteframe.json"
_PROJECTOR = "projector.safetensors"


def save_adapted(folder: Path, host: str, encoder: LiteFrameEncoder, language_model: PeftModel, projector: nn.Module) -> None:
    """Writes encoder, adapter and projector as safetensors, and where their host is (relative to `folder` if local)."""
    encoder.save_pretrained(folder / "encoder")
    language_model.save_pretrained(folder / "adapter")
    save_file({name: tensor.contiguous() for name, tensor in projector.state_dict().items()}, folder / _PROJECTOR)
    place = os.path.relpath(host, folder) if Path(host).is_dir() else host
    (folder / _CARD).write_text(json.dumps({"host": place, "host_is_folder": Path(host).is_dir()}, indent=2) + "\n")


def load_adapted(folder: str | Path, attention: str | dict[str, str] | None = None) -> VideoLLM:
    """The Video LLM that LMA made, with the adapter merged into the LLM so that it costs nothing.

    Raises:
        ConfigError: a part is missing or does not fit the host.
    """
    folder = Path(folder)
    card = folder / _CARD
    if not card.is_file():
        raise ConfigError(f"{folder}: no {_CARD}; give the export folder of an LMA run")
    fields = json.loads(card.read_text())
    host, processor = load_host(
        str((folder / fields["host"]).resolve()) if fields["host_is_folder"] else fields["host"], attention
    )
    missing, unexpected = host.model.multi_modal_projector.load_state_dict(
        load_file(folder / _PROJECTOR), strict=False
    )
    if missing or unexpected:
        raise ConfigError(f"{folder / _PROJECTOR}: does not fit the host: {sorted([*missing, *unexpected])[0]}")
    adapted = PeftModel.from_pretrained(host.model.language_model, str(folder / "adapter"))
    host.model.language_model = adapted.merge_and_unload()
    encoder = LiteFrameEncoder.from_pretrained(folder / "encoder")
    clip = encoder.config.clip_frames
    return VideoLLM(host, processor, LiteFrameBackbone(encoder), frames_per_group=clip).eval()
