"""What LMA leaves behind: an encoder, an adapter and a projector, to be put on the host that they were made for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from liteframe.errors import ConfigError
from liteframe.models.encoder import LiteFrameEncoder
from liteframe.models.video_llm import LiteFrameBackbone, VideoLLM, load_host

CARD = "liteframe.json"
_PROJECTOR = "projector.safetensors"


def save_adapted(
    folder: Path, host: str, encoder: LiteFrameEncoder, language_model: PeftModel | None, projector: nn.Module
) -> None:
    """Writes encoder, adapter and projector as safetensors, and where their host is (relative to `folder` if local).

    An LLM that was not adapted is None, and is the host's own when the folder is loaded.
    """
    encoder.save_pretrained(folder / "encoder")
    if language_model is not None:
        language_model.save_pretrained(str(folder / "adapter"))
    save_file({name: tensor.contiguous() for name, tensor in projector.state_dict().items()}, folder / _PROJECTOR)
    # Both resolved, or a link on the way would make `..` mean another folder on the way back.
    place = os.path.relpath(Path(host).resolve(), folder.resolve()) if Path(host).is_dir() else host
    card = {"host": place, "host_is_folder": Path(host).is_dir(), "adapter": language_model is not None}
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")


def load_adapted(folder: str | Path, attention: str | dict[str, str] | None = None) -> VideoLLM:
    """The Video LLM that LMA made, with the adapter merged into the LLM so that it costs nothing.

    Raises:
        ConfigError: a part is missing or does not fit the host.
    """
    folder = Path(folder)
    card = folder / CARD
    if not card.is_file():
        raise ConfigError(f"{folder}: no {CARD}; give the export folder of an LMA run")
    fields = json.loads(card.read_text())
    host, processor = load_host(
        str((folder / fields["host"]).resolve()) if fields["host_is_folder"] else fields["host"], attention
    )
    _fit(host.model.multi_modal_projector, _read(folder / _PROJECTOR), folder / _PROJECTOR)
    if fields.get("adapter", True):
        host.model.language_model = _merged(host.model.language_model, folder / "adapter")
    encoder = LiteFrameEncoder.from_pretrained(folder / "encoder")
    clip = encoder.config.clip_frames
    return VideoLLM(host, processor, LiteFrameBackbone(encoder), frames_per_group=clip).eval()


def _merged(language_model: Any, folder: Path) -> Any:
    tensors = _read(folder / "adapter_model.safetensors")
    try:
        adapted = PeftModel.from_pretrained(language_model, str(folder))
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{folder}: does not fit the LLM of the host: {error}") from error
    # peft itself only warns.
    if odd := set(tensors) ^ set(get_peft_model_state_dict(adapted)):
        raise ConfigError(f"{folder}: does not fit the LLM of the host: {sorted(odd)[0]}")
    return adapted.merge_and_unload()


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give the whole export folder of an LMA run") from error


def _fit(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = module.state_dict()
    odd = {name for name, tensor in tensors.items() if name in wanted and tensor.shape != wanted[name].shape}
    odd |= set(wanted) ^ set(tensors)
    if odd:
        raise ConfigError(f"{path}: does not fit the host: {sorted(odd)[0]}")
    module.load_state_dict(tensors)
