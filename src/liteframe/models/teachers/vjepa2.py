"""V-JEPA 2 as a teacher: tubelets of two frames, each of which sees all others of its clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor, nn
from transformers import VJEPA2Config, VJEPA2Model
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Colour
from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers.clips import ClipTeacher, ClipTeacherSource
from liteframe.models.teachers.geometry import TeacherGeometry

_OF_2_1 = (
    *("use_rope_interleave", "interpolate_rope", "use_modality_embeddings", "use_image_patch_embedder"),
    "hierarchical_layers",
)
"""Fields by which V-JEPA 2.1, of the same `model_type`, makes other features."""


def _encoder(config: VJEPA2Config) -> VJEPA2Encoder:
    """The encoder, with the attention that transformers chooses for the model around it."""
    with torch.device("meta"):  # as no weights bound what the config says of the predictor
        VJEPA2Model(config)
    return VJEPA2Encoder(config)


class VJEPA2Teacher(ClipTeacher):
    """The encoder of a V-JEPA 2 (arXiv 2506.09985), without its predictor or a classifier's pooling.

    Frames of any size have the rows and columns of their own grid as rotary positions, as in the published code.
    transformers takes those of `crop_size`, and counts rows and columns wrong in any other grid. The encoder has
    neither class token nor attention pooling.

    Frames come squashed to their size by a bicubic resize, where V-JEPA 2's own processor resizes the shorter side and
    crops.

    Args:
        tower: the encoder.
        mean, std: of its pixels, see `Teacher`.

    Raises:
        ConfigError: a version of transformers in which positions are set otherwise.
    """

    family = "V-JEPA 2"
    whole_types = ("vjepa2",)
    towers: ClassVar[dict[str, Any]] = {"vjepa2": _encoder}
    prefix = "encoder."
    pixels = (IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self, tower: nn.Module, mean: Colour | None = None, std: Colour | None = None) -> None:
        layers: Any = tower.layer
        if not all(hasattr(layer.attention, "grid_size") for layer in layers):
            raise ConfigError(
                f"transformers {transformers.__version__} has no grid_size in the attention of V-JEPA 2, by which the"
                " positions of its tokens are set; install 5.23"
            )
        super().__init__(tower, mean, std)

    @classmethod
    def geometry_of(cls, config: Any, source: str) -> TeacherGeometry:
        for name in _OF_2_1:
            if getattr(config, name, None):
                raise ConfigError(
                    f"{source}: {name} of config.json is {getattr(config, name)}, so it is a V-JEPA 2.1; only"
                    " V-JEPA 2 can be read"
                )
        if not isinstance(config.patch_size, int):
            raise ConfigError(
                f"{source}: patch_size of config.json is {list(config.patch_size)}; only one side of square patches"
                " can be read"
            )
        geometry = TeacherGeometry(config.hidden_size, config.patch_size, config.crop_size, config.tubelet_size)
        return geometry.in_clips_of(config.frames_per_clip, f"{source}: frames_per_clip of config.json")

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Tokens (B, T / tubelet, H, W, C) of every tubelet."""
        tower: Any = self.tower
        hidden_NMC = tower.embeddings(self.clips_of(frames_BTCHW))
        side = max(grid[1:])
        positions_1M = _positions(hidden_NMC.shape[1], grid[1], grid[2], hidden_NMC.device)
        for layer in tower.layer:
            layer.attention.grid_size = side
            hidden_NMC = layer(hidden_NMC, positions_1M)[0]
        tokens_NMC = tower.layernorm(hidden_NMC)
        return VisionTokens(tokens_BTHWC=tokens_NMC.reshape(len(frames_BTCHW), *grid, -1))


def _positions(tokens: int, rows: int, columns: int, device: torch.device) -> Tensor | None:
    """Index of each token of a clip in a square grid of the longer side, (1, M); None where the clip's is square."""
    if rows == columns:
        return None
    side = max(rows, columns)
    frame_M11 = torch.arange(tokens // (rows * columns), device=device)[:, None, None]
    row_M1, column_M = (torch.arange(size, device=device) for size in (rows, columns))
    return ((frame_M11 * side + row_M1[:, None]) * side + column_M).flatten()[None]


@dataclass
class VJEPA2(ClipTeacherSource):
    """A V-JEPA 2 of transformers' format, with or without a classifier.

    Args:
        source: folder or hub id.
        clip_frames: frames whose tokens see each other, a multiple of the tubelet's; its positions are relative, so it
            takes any number. Null is `frames_per_clip` of its config, often 64, to which shorter videos are filled up.
    """

    teacher = VJEPA2Teacher
    source: str
    clip_frames: int | None = 16
