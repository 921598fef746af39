"""What LMA leaves behind: an encoder, an adapter and a projector, to be put on the base VLM that they were made for."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, ProcessorMixin

from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.errors import ConfigError
from liteframe.models.backbone import Compressor, compressor_from
from liteframe.models.finite import require_finite, require_finite_module
from liteframe.models.folders.foreign_errors import named_errors, one_line
from liteframe.models.folders.model_folder import ADAPTER_FILES, model_file, model_subfolder, read_json_file
from liteframe.models.folders.training_record import TrainingRecord
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.video_llm.adapter_config import read_adapter_config
from liteframe.models.video_llm.base_vlm_loading import load_base_vlm
from liteframe.models.video_llm.hosts import host_of
from liteframe.models.video_llm.model import LiteFrameBackbone, VideoLLM
from liteframe.system.own_folder import require_unchanged

if TYPE_CHECKING:  # peft takes long to import, and folders without an adapter do without it
    from peft import PeftModel

_CARD = "liteframe.json"
_ADAPTER = "adapter"
_PROJECTOR = "projector.safetensors"
_MOST_PIXELS_A_SIDE = 4096
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_BUCKET = re.compile(r"(?:s3|gs|gcs|az|abfs)://[\w-][\w.-]*(/[\w-][\w.-]*)+/?")


def save_adapted(
    folder: Path,
    base_vlm: str,
    encoder: LiteFrameEncoder | Compressor,
    language_model: PeftModel | None,
    projector: nn.Module,
    image_size: tuple[int, int] | None = None,
) -> None:
    """Writes encoder, adapter and projector as safetensors, and where their base VLM is (relative to `folder` if
    local).

    Args:
        folder: to write to.
        base_vlm: folder or hub id.
        encoder: the student; or what makes fewer tokens of the base VLM's own encoder, where that was kept.
        language_model: the LLM with its adapters; None if it was not adapted, and is the base VLM's own when loaded.
        projector: the base VLM's, as LMA left it.
        image_size: height and width in pixels of the frames of LMA; by default those of the encoder's config.
    """
    if isinstance(encoder, LiteFrameEncoder):
        encoder.save_pretrained(folder / "encoder")
    if language_model is not None:
        language_model.save_pretrained(str(folder / _ADAPTER))
        _sort_names(folder / _ADAPTER / ADAPTER_FILES[0])
    save_file({name: tensor.contiguous() for name, tensor in projector.state_dict().items()}, folder / _PROJECTOR)
    # Both resolved, or a link on the way would make `..` mean another folder on the way back.
    is_folder = Path(base_vlm).is_dir()
    place = os.path.relpath(Path(base_vlm).resolve(), folder.resolve()) if is_folder else base_vlm
    card: dict[str, Any] = {"host": place, "host_is_folder": is_folder, "adapter": language_model is not None}
    if image_size is not None:
        card["image_size"] = list(image_size)
    if not isinstance(encoder, LiteFrameEncoder):
        card["compressor"] = encoder.describe()
    (folder / _CARD).write_text(json.dumps(card, indent=2) + "\n")


def _sort_names(path: Path) -> None:
    """peft keeps names in sets, whose order is another one in each process; the same run is to write the same bytes."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    ordered = {name: sorted(value) if name == "target_modules" else value for name, value in sorted(fields.items())}
    path.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def is_adapted(folder: Path) -> bool:
    """Whether `folder` is the export of an LMA run."""
    return os.path.isfile(folder / _CARD)


def base_vlm_of(folder: Path) -> str:
    """Folder or hub id of the base VLM that the export of an LMA run was made for.

    A folder is named from the export, mostly with `..`, as the base VLM lies beside it. An export that came from
    elsewhere may thus name any folder; of that, as of any base VLM, safetensors and settings are read if they are a
    base VLM's, nothing is run, and nothing is ever written there.

    Raises:
        ConfigError: for other folders, and for a damaged `liteframe.json`.
    """
    fields = _card(folder)
    return str((folder / fields["host"]).resolve()) if fields["host_is_folder"] else str(fields["host"])


def adapter_of(folder: Path) -> Path | None:
    """Folder of the LLM's adapter in the export of an LMA run; None if the LLM was not adapted."""
    return model_subfolder(folder, _ADAPTER) if _card(folder).get("adapter", True) else None


def _card(folder: Path) -> dict[str, Any]:
    if not is_adapted(folder):
        raise ConfigError(f"{folder}: no {_CARD}; give the export folder of an LMA run")
    path = folder / _CARD
    model_file(folder, _CARD)  # raises where a link leads elsewhere
    fields = read_json_file(path)
    kinds: tuple[tuple[str, type], ...] = (("host", str), ("host_is_folder", bool), ("adapter", bool))
    for name, kind in kinds:
        if not isinstance(fields.get(name, True if name == "adapter" else None), kind):
            raise ConfigError(f"{path}: `{name}` is missing or no {kind.__name__}; export the run again")
    # As `save_adapted` writes it: an absolute folder is nobody's but of the machine that somebody else thinks of.
    is_named = fields["host"] and "\0" not in fields["host"] and not os.path.isabs(fields["host"])
    is_elsewhere = _HUB_ID.fullmatch(fields["host"]) or _BUCKET.fullmatch(fields["host"])
    if not is_named or (not fields["host_is_folder"] and not is_elsewhere):
        raise ConfigError(
            f"{path}: `host` is {fields['host'][:60]!r}, no hub id and no folder as seen from here; export it again"
        )
    size = fields.get("image_size")
    if not isinstance(fields.get("compressor", {}), dict):
        raise ConfigError(f"{path}: `compressor` is {str(fields['compressor'])[:60]}, no mapping; export the run again")
    if size is not None and not _is_image_size(size):
        raise ConfigError(f"{path}: `image_size` is {str(size)[:60]}; it must be height and width in pixels")
    return fields


def _is_image_size(size: Any) -> bool:
    if not isinstance(size, list) or len(size) != 2:
        return False
    return all(type(side) is int and 1 <= side <= _MOST_PIXELS_A_SIDE for side in size)


def load_adapted(
    folder: str | Path, attention: str | dict[str, str] | None = None, dtype: torch.dtype | None = None
) -> VideoLLM:
    """The Video LLM that LMA made, with the adapter merged into the LLM so that it costs nothing.

    Args:
        folder: export of an LMA run.
        attention: attention implementation of the LLM, "eager" or "sdpa"; None is transformers' choice.
        dtype: of the merged weights; None is the one of the LLM's.

    Raises:
        ConfigError: a part is missing, has changed since it was written, or does not fit the base VLM.
    """
    folder = Path(folder)
    base_vlm, processor, encoder = load_parts(folder, base_vlm_of(folder), attention)
    if adapter := adapter_of(folder):
        base_vlm.model.language_model = merge_adapter(base_vlm.model.language_model, adapter, dtype)
    frames, compressor = frames_of(folder), compressor_of(folder)
    backbone = None if encoder is None else LiteFrameBackbone(encoder, frames.image_size)
    return VideoLLM(base_vlm, processor, backbone, compressor, trained=frames).eval()


def compressor_of(folder: Path) -> Compressor | None:
    """What makes fewer tokens of the base VLM's own encoder, in an export without a student; None with one.

    Raises:
        ConfigError: a damaged `liteframe.json`.
    """
    described = _card(folder).get("compressor")
    return None if described is None else compressor_from(described, f"{folder / _CARD}: compressor")


def frames_of(folder: Path) -> FrameSpec:
    """The frames that the model in an export was trained on, of LMA or of CTD; of older exports less is known.

    Raises:
        ConfigError: a damaged record.
    """
    record = TrainingRecord.read(folder)
    frames = FrameSpec() if record is None else record.frames
    size = _card(folder).get("image_size") if is_adapted(folder) else None
    return replace(frames, image_size=(size[0], size[1])) if size else frames


def load_parts(
    folder: Path, base_vlm_source: str, attention: str | dict[str, str] | None = None
) -> tuple[Any, ProcessorMixin, LiteFrameEncoder | None]:
    """The base VLM with the projector of LMA but without its adapter, the base VLM's processor, and the student, if
    there is one.

    Raises:
        ConfigError: a part is missing, has changed since it was written, or does not fit the base VLM.
    """
    require_unchanged(folder)
    projector = _read(folder, _PROJECTOR)
    base_vlm, processor = load_base_vlm(base_vlm_source, attention)
    host = host_of(base_vlm.config, base_vlm_source)
    _fit(host.projector(base_vlm), projector, folder / _PROJECTOR)
    if compressor_of(folder) is not None:
        return base_vlm, processor, None
    return base_vlm, processor, LiteFrameEncoder.from_pretrained(model_subfolder(folder, "encoder"))


def load_adapter(language_model: PreTrainedModel, folder: Path) -> PeftModel:
    """The LLM with the adapter of `folder` put on; every one of its weights has found its place.

    Raises:
        ConfigError: the adapter is missing, is more than a LoRA adapter, or was made for another LLM.
    """
    from peft import PeftModel, get_peft_model_state_dict

    tensors = _read(folder, ADAPTER_FILES[1])
    settings = read_adapter_config(folder / ADAPTER_FILES[0])
    ranks = {len(tensor) for name, tensor in tensors.items() if "lora_A" in name}
    if ranks != {settings.r}:
        raise ConfigError(
            f"{folder / ADAPTER_FILES[0]}: r is {settings.r}, the ranks of its weights are {sorted(ranks)}; the two are"
            " of different adapters"
        )
    with named_errors(f"{folder}: does not fit the LLM of the base VLM", "give the base VLM that it was made for"):
        adapted = PeftModel.from_pretrained(language_model, str(folder), config=settings)
    # peft itself only warns.
    if odd := set(tensors) ^ set(get_peft_model_state_dict(adapted)):
        raise ConfigError(f"{folder}: does not fit the LLM of the base VLM: {sorted(odd)[0]}")
    return adapted


def merge_adapter(language_model: PreTrainedModel, folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The LLM with the adapter of `folder` in its own weights: summed in float32, layer by layer, then rounded once.

    Args:
        language_model: without the adapter.
        folder: of the adapter.
        dtype: of the sums; None is the one of the LLM's weights. Weights without an adapter stay as they are.

    Raises:
        ConfigError: as `load_adapter`, or the sum of both is not finite.
    """
    from peft.tuners.lora import LoraLayer

    adapted = load_adapter(language_model, folder)
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            _merge_layer(module, dtype)
    merged: Any = adapted.unload()
    require_finite_module(merged, f"{folder}, put on the LLM")
    return merged.eval()


@torch.no_grad()
def _merge_layer(layer: Any, dtype: torch.dtype | None) -> None:
    base = layer.get_base_layer()
    rounded = base.weight.dtype if dtype is None else dtype
    for part in layer.children():
        part.float()
    layer.merge()
    base.to(rounded)


def _read(folder: Path, name: str) -> dict[str, Tensor]:
    path = folder / name
    try:
        if model_file(folder, name) is None:
            raise FileNotFoundError("no such file")
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({one_line(error)}); give the whole folder exported") from error
    require_finite(tensors, str(path))
    return tensors


def _fit(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    wanted = module.state_dict()
    odd = {name for name, tensor in tensors.items() if name in wanted and tensor.shape != wanted[name].shape}
    odd |= set(wanted) ^ set(tensors)
    if odd:
        raise ConfigError(f"{path}: does not fit the base VLM: {sorted(odd)[0]}")
    module.load_state_dict(tensors)
