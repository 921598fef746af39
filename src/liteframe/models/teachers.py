"""Teachers: image encoders that are read, never trained."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import file_exists, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, InternVLConfig, InternVLForConditionalGeneration, InternVLVisionModel
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector
from transformers.utils import cached_file

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens

_VISION = "vision_tower."
_PROJECTOR = "multi_modal_projector."


def pixel_shuffle(tokens_BHWC: Tensor, ratio: float = 0.5) -> Tensor:
    """InternVL's space-to-channel step: (B, H, W, C) to (B, H * ratio, W * ratio, C / ratio^2)."""
    B, H, W, C = tokens_BHWC.shape
    k = round(1 / ratio)
    blocks = tokens_BHWC.reshape(B, H // k, k, W // k, k, C)
    return blocks.permute(0, 1, 3, 2, 4, 5).reshape(B, H // k, W // k, k * k * C)


def weights_sha256(module: nn.Module) -> str:
    """Hash of all parameters and buffers of a module: names, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class InternVLTeacher(nn.Module):
    """The vision tower and projector of an InternVL, frozen by construction.

    Gradients are off, `train()` keeps it in eval mode, and `state_dict` is empty so that it is in no checkpoint.

    Args:
        vision_tower: the image encoder.
        projector: the host's projector, or None for an encoder on its own.
        downsample_ratio: of the host's pixel shuffle.
    """

    frame_wise = True
    """Each frame is encoded on its own, so features of some frames are those of all at their places."""

    def __init__(
        self,
        vision_tower: InternVLVisionModel,
        projector: InternVLMultiModalProjector | None = None,
        downsample_ratio: float = 0.5,
    ) -> None:
        super().__init__()
        self.vision_tower = vision_tower
        self.projector = projector
        self.downsample_ratio = downsample_ratio
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_host(cls, host: InternVLForConditionalGeneration) -> InternVLTeacher:
        """Shares the modules of a host that is in memory."""
        return cls(host.model.vision_tower, host.model.multi_modal_projector, host.config.downsample_ratio)

    @classmethod
    def from_pretrained(
        cls, source: str, attention: str | None = None, dtype: torch.dtype | None = None
    ) -> InternVLTeacher:
        """Reads vision tower and projector, and nothing of the LLM, from a folder or hub id in transformers' format.

        Args:
            source: an `InternVLForConditionalGeneration` or an `InternVLVisionModel`.
            attention: "eager", "sdpa" or None for the library's choice.
            dtype: of the weights; None is float32, whatever the file's.

        Raises:
            ConfigError: the folder is missing, of another family, or lacks or has unexpected weights.
        """
        config = read_config(source)
        host_config = config if isinstance(config, InternVLConfig) else None
        vision_config: Any = host_config.vision_config if host_config else config
        if vision_config.model_type != "internvl_vision":
            raise ConfigError(f"{source}: model_type {config.model_type!r} is not of the InternVL family")
        if host_config is not None:
            expected = {"vision_feature_layer": -1, "vision_feature_select_strategy": "default"}
            for field, value in expected.items():
                if getattr(host_config, field) != value:
                    raise ConfigError(
                        f"{source}: config.json has {field} {getattr(host_config, field)!r}; only {value!r} can be read"
                    )
        if attention is not None:
            vision_config._attn_implementation = attention
        tensors = _read_tensors(source, (_VISION, _PROJECTOR) if host_config else ("",))
        tower = InternVLVisionModel(vision_config)
        _load(tower, {k.removeprefix(_VISION): v for k, v in tensors.items() if not k.startswith(_PROJECTOR)}, source)
        projector = None
        if host_config is not None:
            projector = InternVLMultiModalProjector(host_config)
            weights = {k.removeprefix(_PROJECTOR): v for k, v in tensors.items() if k.startswith(_PROJECTOR)}
            _load(projector, weights, source)
        teacher = cls(tower, projector, host_config.downsample_ratio if host_config else 0.5)
        return teacher.to(dtype) if dtype is not None else teacher

    @property
    def hidden_size(self) -> int:
        return self.vision_tower.config.hidden_size

    @property
    def patch_size(self) -> int:
        size: Any = self.vision_tower.config.patch_size
        return size[0]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels that frames are best resized to."""
        size: Any = self.vision_tower.config.image_size
        return size[0], size[1]

    def train(self, mode: bool = True) -> InternVLTeacher:
        return super().train(False)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        return {}

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing of a teacher is ever in a checkpoint, so nothing is looked for there."""

    def weights_sha256(self) -> str:
        """Hash of the vision tower's weights, for the key of a feature store."""
        return weights_sha256(self.vision_tower)

    @torch.no_grad()
    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        """Dense tokens (B, T, H, W, C) and class tokens (B, T, C) of every frame."""
        B, T, _, height, width = frames_BTCHW.shape
        features = self.vision_tower(pixel_values=frames_BTCHW.flatten(0, 1)).last_hidden_state
        rows, columns = height // self.patch_size, width // self.patch_size
        return VisionTokens(
            tokens_BTHWC=features[:, 1:].reshape(B, T, rows, columns, -1),
            cls_BTC=features[:, 0].reshape(B, T, -1),
        )

    @torch.no_grad()
    def project(self, tokens_BTHWC: Tensor) -> Tensor:
        """Tokens as the LLM sees them: (B, T, H * W * ratio^2, width of the LLM)."""
        if self.projector is None:
            raise ConfigError("this teacher is an encoder on its own; load it from a host to project its features")
        return project_tokens(self.projector, tokens_BTHWC, self.downsample_ratio)


def project_tokens(projector: nn.Module, tokens_BTHWC: Tensor, ratio: float) -> Tensor:
    """Pixel shuffle, then the projector: (B, T, H, W, C) to (B, T, N, C_llm)."""
    B, T = tokens_BTHWC.shape[:2]
    shuffled = pixel_shuffle(tokens_BTHWC.flatten(0, 1), ratio)
    return projector(shuffled.reshape(B, T, -1, shuffled.shape[-1]))


def read_config(source: str) -> Any:
    """The config of a model folder or hub id.

    Raises:
        ConfigError: there is no such folder and no such model on the hub (or no hub), or its config is not readable.
    """
    if not Path(source).is_dir():
        _find_on_hub(source)
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        advice = "a repository whose code comes with it, as InternVL's first form does, has a twin that ends in -hf"
        raise ConfigError(f"{source}: no config.json of a model that transformers knows ({error}); {advice}") from error


def _find_on_hub(source: str) -> None:
    """The local cache, then one question, no retries: a machine without network gets its answer at once."""
    advice = "give a folder with config.json and safetensors, or a hub id that can be reached from here"
    try:
        found = try_to_load_from_cache(source, "config.json") is not None or file_exists(source, "config.json")
    except HFValidationError as error:
        raise ConfigError(f"no model folder {source!r}; {advice}") from error
    except Exception as error:  # the hub's client has no common base for "not reachable"
        raise ConfigError(f"no model folder {source!r}, and the hub cannot be asked for it; {advice}") from error
    if not found:
        raise ConfigError(f"no model folder {source!r}, and no such model on the hub; {advice}")


def weight_files(source: str, prefixes: tuple[str, ...] = ("",)) -> list[str]:
    """Paths of the safetensors of a model, of those only that hold tensors whose names contain one of the prefixes.

    Raises:
        ConfigError: there are none, or one that the index names is missing.
    """
    index = _find(source, "model.safetensors.index.json")
    single = None if index else _find(source, "model.safetensors")
    if index:
        weight_map = json.loads(Path(index).read_text())["weight_map"]
        wanted = {shard for name, shard in weight_map.items() if any(p in name for p in prefixes)}
        files = {shard: _find(source, shard) for shard in sorted(wanted)}
        missing = [shard for shard, path in files.items() if path is None]
        if missing:
            raise ConfigError(
                f"{source}: the shard {missing[0]} that the index names is missing; copy or download it again"
            )
        return [path for path in files.values() if path]
    if single:
        return [single]
    raise ConfigError(f"{source}: no model.safetensors and no model.safetensors.index.json")


def _read_tensors(source: str, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors whose names contain one of the prefixes, keyed from the prefix on (older files put `model.` before)."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(source, prefixes):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - the file is no dict, and cannot be iterated
                    for prefix in prefixes:
                        at = name.find(prefix)
                        if at >= 0:
                            tensors[name[at:]] = file.get_tensor(name)
                            break
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); copy or download it again") from error
    return tensors


def _find(source: str, name: str) -> str | None:
    if Path(source).is_dir():
        path = Path(source) / name
        return str(path) if path.is_file() else None
    return cached_file(source, name, _raise_exceptions_for_missing_entries=False)


def _load(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    wanted = module.state_dict()
    for name, tensor in tensors.items():
        if name in wanted and tensor.shape != wanted[name].shape:
            raise ConfigError(
                f"{source}: {name} of {type(module).__name__} has the shape {tuple(tensor.shape)}, its config says"
                f" {tuple(wanted[name].shape)}"
            )
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    for kind, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            raise ConfigError(f"{source}: {len(names)} {kind} weights in {type(module).__name__}, first {names[0]}")
