"""VideoPrism as a teacher: patches of single frames, each of which sees its place in all other frames of its clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import CONFIG_MAPPING
from typing_extensions import Self

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.clips import ClipTeacher, ClipTeacherSource
from liteframe.models.teachers.geometry import TeacherGeometry


def require_videoprism(source: str) -> None:
    """Raises ConfigError, naming `source`, where the installed transformers has no VideoPrism."""
    if "videoprism_vision_model" not in CONFIG_MAPPING:
        raise ConfigError(
            f"{source}: VideoPrism needs transformers 5.15 or later, and {transformers.__version__} is installed"
        )


def _encoder(config: Any) -> Any:
    from transformers import VideoPrismVisionModel  # here, as transformers before 5.15 has none

    return VideoPrismVisionModel(config)


class VideoPrismTeacher(ClipTeacher):
    """The vision encoder of a VideoPrism (arXiv 2402.13217), first over space, then over time.

    Of a model with text or a classifier it is the same encoder, without the layers and the pooling behind it. Positions
    are interpolated to the size of the frames and the number in a clip as transformers does it: bilinear with
    antialias. Pixels are on the 0 to 1 scale. The encoder has neither class token nor attention pooling.
    Frames come squashed to their size by a bicubic resize, whatever its own processor does.

    Args: as `ClipTeacher`.
    """

    family = "VideoPrism"
    whole_types = ("videoprism",)
    towers: ClassVar[dict[str, Any]] = {"videoprism_vision_model": _encoder}
    prefix = "vision_model."
    pixels = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    @classmethod
    def read(cls, source: str, attention: str | None) -> Self:
        if attention not in (None, "eager"):
            raise ConfigError(
                f"{source}: attention is {attention!r}; VideoPrism caps its attention scores, which sdpa cannot: give"
                " eager or null"
            )
        return super().read(source, attention)

    @classmethod
    def _read_configs(cls, source: str) -> tuple[Any, Any]:
        require_videoprism(source)
        return super()._read_configs(source)

    @classmethod
    def split_config(cls, config: Any) -> tuple[Any, Any]:
        whole, vision_config = super().split_config(config)
        if set(config.architectures or ()) & {"VideoPrismVideoModel", "VideoPrismForVideoClassification"}:
            whole = config  # which is the encoder's, though the weights are those of a model around it
        return whole, vision_config

    @classmethod
    def geometry_of(cls, config: Any, source: str) -> TeacherGeometry:
        tubelet, size = list(config.tubelet_size), config.image_size
        if len(tubelet) != 3 or tubelet[0] != 1 or tubelet[1] != tubelet[2]:
            raise ConfigError(
                f"{source}: tubelet_size of config.json is {tubelet}; only one frame and a square can be read, such as"
                " [1, 18, 18]"
            )
        height, width = (size, size) if isinstance(size, int) else size
        if height != width:
            raise ConfigError(f"{source}: image_size of config.json is {height} x {width}; only squares can be read")
        geometry = TeacherGeometry(config.hidden_size, tubelet[1], height)
        return geometry.in_clips_of(config.num_frames, f"{source}: num_frames of config.json")

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Dense tokens (B, T, H, W, C) of every frame."""
        tower: Any = self.tower
        clips_NTCHW = self.clips_of(frames_BTCHW).to(tower.dtype)
        with nullcontext() if tower.dtype == torch.float32 else _InterpolateInFloat32():
            features = tower(pixel_values_videos=clips_NTCHW, interpolate_pos_encoding=True).last_hidden_state
        return VisionTokens(tokens_BTHWC=features.reshape(len(frames_BTCHW), *grid, -1))


class _InterpolateInFloat32(TorchFunctionMode):
    """Positions of bfloat16 are interpolated as float32, because torch cannot do it otherwise on a CPU."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.interpolate:
            return func(args[0].float(), *args[1:], **(kwargs or {})).to(args[0].dtype)
        return func(*args, **(kwargs or {}))


@dataclass
class VideoPrism(ClipTeacherSource):
    """A VideoPrism of transformers' format (5.15 or later), or its vision encoder alone.

    Args:
        source: folder or hub id, with safetensors; the `google/videoprism-*` of the hub hold Flax files alone.
        clip_frames: frames whose tokens see each other; null takes the number it was trained on (16, or 8 for the large
            ones).
    """

    teacher = VideoPrismTeacher
    source: str
    clip_frames: int | None = None
