"""Settings of the student encoder, checked against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any, Literal

from liteframe.errors import ConfigError
from liteframe.models.folders.config_limits import require_sane
from liteframe.models.folders.strict import StrictPretrainedConfig
from liteframe.models.student.temporal import TEMPORAL_MIXERS
from liteframe.ops.pooling import legal_sizes

_SIZES = (
    *("image_size", "patch_size", "num_channels", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("output_size", "clip_frames", "temporal_kernel", "tubelet_frames"),
)


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "fast": {"tubelet_frames": 2, "downsample_after": [3, 8], "downsample_strides": [[1, 2, 2], [2, 1, 1]]},
    "faster": {
        "tubelet_frames": 2,
        "early_hidden_sizes": [512, 768],
        "downsample_after": [3, 8],
        "downsample_strides": [[1, 2, 2], [2, 1, 1]],
    },
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "downsample_after": [2, 12],
    },
}
"""Students of other sizes: name -> the fields of `LiteFrameConfig` that differ from the paper's."""


class LiteFrameConfig(StrictPretrainedConfig):
    """Settings of the student encoder; the defaults are the paper's.

    Args:
        image_size: side in pixels of the frames whose grid the position embedding has; others are interpolated.
        patch_size: side of a patch in pixels.
        num_channels: colour channels.
        hidden_size: width of the tokens.
        num_hidden_layers: transformer blocks.
        num_attention_heads: heads of the attention within a frame.
        mlp_ratio: width of the MLP over ``hidden_size``.
        output_size: width of the teacher's features, which the head predicts.
        clip_frames: frames that are encoded together, a multiple of the strides in time.
        tubelet_frames: frames that a patch spans (tubelet embedding: ViViT, arXiv 2103.15691, section 3.2).
        downsample_after: after which blocks (counted from 1) a strided convolution stands; 0 is before the first block,
            and an empty list a plain ViT.
        downsample_strides: its (frames, rows, columns) strides, one triple for each of ``downsample_after``. They
            divide what tubelets have left of the frames.
        early_hidden_sizes: widths of the tokens before each of ``downsample_after``, where they are to be narrower than
            ``hidden_size`` as in hierarchical transformers (Hiera, arXiv 2306.00989); heads keep their width, and a
            linear layer behind the convolution widens the tokens. None is ``hidden_size`` throughout.
        temporal_mixer: what mixes the frames of a clip, wherever it still has more than one (paper, tables 2 and 5):
            ``"depthwise"``, after each block a convolution over time for each channel, the fastest and most accurate
            of the tables; ``"full"``, a convolution that mixes the channels too; ``"attention"``, interleaved temporal
            attention: after each block a self-attention among the frames at each position of the grid; ``"joint"``,
            joint space-time attention: the block's own attention runs among all tokens of the clip, without weights
            of its own; ``"none"``, so that the strided convolutions alone do.
        temporal_kernel: frames that a temporal convolution spans, odd.
        layer_norm_eps: epsilon of all LayerNorms.
        qkv_bias: whether query, key and value have biases.
        initializer_range: standard deviation of fresh weights.
        position_init: ``"sincos"`` waves or ``"normal"`` noise; both are trained.
        position_scale: amplitude of the sine and cosine positions.
        attention: ``"sdpa"`` or ``"eager"``; ``"auto"`` is sdpa.
        residual_in_fp32: keep the sum over the blocks in float32 under autocast, where it else is rounded to the
            autocast dtype after each block.

    Raises:
        ConfigError: settings that contradict each other; the message names the field.
    """

    model_type = "liteframe_encoder"

    def __init__(
        self,
        image_size: int = 448,
        patch_size: int = 14,
        num_channels: int = 3,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        mlp_ratio: float = 4.0,
        output_size: int = 1024,
        clip_frames: int = 4,
        tubelet_frames: int = 1,
        downsample_after: Sequence[int] = (4, 8),
        downsample_strides: Sequence[Sequence[int]] = ((2, 2, 2), (2, 1, 1)),
        early_hidden_sizes: Sequence[int] | None = None,
        temporal_mixer: str = "depthwise",
        temporal_kernel: int = 3,
        layer_norm_eps: float = 1e-6,
        qkv_bias: bool = True,
        initializer_range: float = 0.02,
        position_init: Literal["sincos", "normal"] = "sincos",
        position_scale: float = 0.5,
        attention: Literal["auto", "sdpa", "eager"] = "auto",
        residual_in_fp32: bool = False,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.patch_size = patch_size
        self.num_channels = num_channels
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.mlp_ratio = mlp_ratio
        self.output_size = output_size
        self.clip_frames = clip_frames
        self.tubelet_frames = tubelet_frames
        self.downsample_after = _whole_numbers("downsample_after", downsample_after)
        self.downsample_strides = strides_of(downsample_strides)
        sizes = early_hidden_sizes
        self.early_hidden_sizes = None if sizes is None else _whole_numbers("early_hidden_sizes", sizes, 1 << 16)
        self.temporal_mixer = temporal_mixer
        self.temporal_kernel = temporal_kernel
        self.layer_norm_eps = layer_norm_eps
        self.qkv_bias = qkv_bias
        self.initializer_range = initializer_range
        self.position_init = position_init
        self.position_scale = position_scale
        self.attention = attention
        self.residual_in_fp32 = residual_in_fp32
        self._check()
        super().__init__(**kwargs)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> LiteFrameConfig:
        """A student of `PRESETS`; `configs/students` has the same as settings of CTD.

        Args:
            name: "paper", "fast", "faster" or "large".
            changes: fields that are to differ from the preset's.

        Raises:
            ConfigError: no such preset, or settings that contradict each other.
        """
        if name not in PRESETS:
            raise ConfigError(f"no student preset {name!r}; there are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    @property
    def stride(self) -> tuple[int, int, int]:
        """Frames, and rows and columns of patches, that become one output token."""
        strides = self.downsample_strides
        frames = self.tubelet_frames * prod(s[0] for s in strides)
        return (frames, prod(s[1] for s in strides), prod(s[2] for s in strides))

    @property
    def stage_sizes(self) -> list[int]:
        """Widths of the tokens before, between and behind the strided convolutions."""
        early = self.early_hidden_sizes or [self.hidden_size] * len(self.downsample_after)
        return [*early, self.hidden_size]

    @property
    def size_multiple(self) -> tuple[int, int]:
        """Pixels that the height and the width of a frame must be multiples of (28 and 28 in the paper)."""
        return (self.patch_size * self.stride[1], self.patch_size * self.stride[2])

    def _check(self) -> None:
        self._check_numbers()
        after, strides = self.downsample_after, self.downsample_strides
        if after != sorted(set(after)) or any(not 0 <= block <= self.num_hidden_layers for block in after):
            raise ConfigError(
                f"downsample_after must rise within 0..{self.num_hidden_layers}, got {after} (4 and 8 are the"
                " paper's, of 12 blocks); name blocks of this encoder"
            )
        if len(strides) != len(after) or any(len(stride) != 3 or min(stride) < 1 for stride in strides):
            raise ConfigError(
                f"downsample_strides must hold one (frames, rows, columns) for each of downsample_after {after}, "
                f"got {strides}"
            )
        if self.tubelet_frames < 1:
            raise ConfigError(f"tubelet_frames is {self.tubelet_frames}; give 1 or more frames a patch")
        if self.clip_frames < 1 or self.clip_frames % self.stride[0]:
            tubelets = f" times tubelet_frames {self.tubelet_frames}" if self.tubelet_frames != 1 else ""
            raise ConfigError(
                f"clip_frames {self.clip_frames} must be a multiple of the strides in time {strides}{tubelets}"
            )
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}"
            )
        self._check_stages()
        for step in self.size_multiple:
            if self.image_size < 1 or self.image_size % step:
                raise ConfigError(
                    f"image_size {self.image_size} must be a multiple of {step} (patch_size times the strides); "
                    f"nearest legal: {legal_sizes(self.image_size, step)}"
                )
        if self.position_init not in ("sincos", "normal"):
            raise ConfigError(f"position_init must be 'sincos' or 'normal', got {self.position_init!r}")
        if self.position_init == "sincos" and self.stage_sizes[0] % 4:
            raise ConfigError(f"position_init 'sincos' needs a width that 4 divides, got {self.stage_sizes[0]}")
        if self.attention not in ("auto", "sdpa", "eager"):
            raise ConfigError(f"attention must be 'auto', 'sdpa' or 'eager', got {self.attention!r}")
        if self.temporal_mixer not in TEMPORAL_MIXERS:
            raise ConfigError(f"temporal_mixer must be one of {sorted(TEMPORAL_MIXERS)}, got {self.temporal_mixer!r}")

    def _check_stages(self) -> None:
        sizes, places = self.early_hidden_sizes, len(self.downsample_after)
        if sizes is None:
            return
        if len(sizes) != places:
            raise ConfigError(
                f"early_hidden_sizes must hold one width for each of downsample_after {self.downsample_after}, got"
                f" {sizes}"
            )
        head = self.hidden_size // self.num_attention_heads
        if any(size < 1 or size % head for size in sizes):
            raise ConfigError(
                f"early_hidden_sizes {sizes} must be multiples of {head}, the width of a head (hidden_size"
                f" {self.hidden_size} / num_attention_heads {self.num_attention_heads})"
            )
        if sizes != sorted(sizes) or max(sizes, default=0) > self.hidden_size:
            raise ConfigError(f"early_hidden_sizes {sizes} must rise, up to hidden_size {self.hidden_size} at most")

    def _check_numbers(self) -> None:
        require_sane({name: getattr(self, name) for name in _SIZES}, "the encoder's config")
        for name in _SIZES:
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give a whole number")
        for name, most in (
            ("mlp_ratio", 64),
            ("layer_norm_eps", 1),
            ("initializer_range", 1e3),
            ("position_scale", 1e3),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise ConfigError(f"{name} is {value!r}; give a number from 0 to {most:g}")


@dataclass(frozen=True)
class EncoderSettings:
    """The fields of `LiteFrameConfig` that are to differ from it, which says what they are; those with None do not."""

    image_size: int | None = None
    patch_size: int | None = None
    num_channels: int | None = None
    hidden_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    mlp_ratio: float | None = None
    output_size: int | None = None
    clip_frames: int | None = None
    tubelet_frames: int | None = None
    downsample_after: Sequence[int] | None = None
    downsample_strides: Sequence[Sequence[int]] | None = None
    early_hidden_sizes: Sequence[int] | None = None
    temporal_mixer: str | None = None
    temporal_kernel: int | None = None
    layer_norm_eps: float | None = None
    qkv_bias: bool | None = None
    initializer_range: float | None = None
    position_init: Literal["sincos", "normal"] | None = None
    position_scale: float | None = None
    attention: Literal["auto", "sdpa", "eager"] | None = None
    residual_in_fp32: bool | None = None

    def given(self) -> dict[str, Any]:
        """The fields that differ, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def strides_of(strides: Any) -> list[list[int]]:
    """Lists of frames, rows and columns. Raises ConfigError for anything else."""
    triples = isinstance(strides, Sequence) and not isinstance(strides, str)
    if not triples or not all(isinstance(stride, Sequence) and len(stride) == 3 for stride in strides):
        raise ConfigError(f"downsample_strides is {str(strides)[:60]}; give a list of (frames, rows, columns)")
    return [_whole_numbers("downsample_strides", stride) for stride in strides]


def _whole_numbers(name: str, values: Any, most: int = 1024) -> list[int]:
    """A list of small whole numbers; ConfigError, naming the field, for anything else."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigError(f"{name} is {str(values)[:60]}; give a list of whole numbers")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not -most <= value <= most:
            raise ConfigError(f"{name} holds {str(value)[:60]}; give whole numbers up to {most}")
    return list(values)
