"""What every post-hoc compressor takes, the features of one video, and what it gives: fewer tokens and their positions.

A compressor sees a grid and does not ask which: the encoder's own, or what the LLM would see after the pixel shuffle,
with keys and class attention brought onto the same grid by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from liteframe.errors import ConfigError, GeometryError


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one video on a grid, and what the encoder's last layer says about them where it was asked.

    Attributes:
        tokens_THWC: the tokens.
        cls_TC: the class token of each frame; its width may differ from the tokens', as after a pixel shuffle.
        keys_THWK: keys of the encoder's last layer, heads concatenated.
        cls_attention_THW: attention that the class token pays to each patch in that layer, mean over heads.

    Raises:
        GeometryError: axes that do not fit each other, or an empty one.
        ConfigError: tensors that are not floating point, or lie on different devices.
    """

    tokens_THWC: Tensor
    cls_TC: Tensor | None = None
    keys_THWK: Tensor | None = None
    cls_attention_THW: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.tokens_THWC.shape)
        if len(shape) != 4 or min(shape) < 1:
            raise GeometryError(f"tokens_THWC must have four axes (T, H, W, C) of at least 1, got shape {shape}")
        grid = shape[:3]
        _check("cls_TC", self.cls_TC, grid[:1], width=True)
        _check("keys_THWK", self.keys_THWK, grid, width=True)
        _check("cls_attention_THW", self.cls_attention_THW, grid, width=False)
        for name, tensor in vars(self).items():
            if tensor is None:
                continue
            if not tensor.is_floating_point():
                raise ConfigError(f"{name} must be floating point, got {tensor.dtype}")
            if tensor.device != self.tokens_THWC.device:
                raise ConfigError(f"{name} lies on {tensor.device}, tokens_THWC on {self.tokens_THWC.device}")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Frames, rows and columns."""
        frames, rows, columns, _ = self.tokens_THWC.shape
        return frames, rows, columns

    @property
    def count(self) -> int:
        """Tokens of the whole video."""
        frames, rows, columns = self.grid
        return frames * rows * columns

    @property
    def tokens_TNC(self) -> Tensor:
        """Tokens of each frame in raster order, in float32 or better."""
        return _at_least_float32(self.tokens_THWC.flatten(1, 2))

    def need_cls_TC(self, method: str) -> Tensor:
        """Class tokens in their own dtype. Raises ConfigError where there are none."""
        return _present(self.cls_TC, "cls_TC", "the class token of each frame", method)

    def need_keys_TNK(self, method: str) -> Tensor:
        """Keys of each frame in raster order, in float32 or better. Raises ConfigError where there are none."""
        keys = _present(self.keys_THWK, "keys_THWK", "the keys of the encoder's last layer", method)
        return _at_least_float32(keys.flatten(1, 2))

    def need_cls_attention_TN(self, method: str) -> Tensor:
        """Class attention of each frame in raster order, float32 or better. Raises ConfigError where there is none."""
        attention = _present(
            self.cls_attention_THW, "cls_attention_THW", "the class token's attention to each patch", method
        )
        return _at_least_float32(attention.flatten(1))


@dataclass(frozen=True, eq=False)
class Compressed:
    """The tokens of one video that the LLM is shown.

    Attributes:
        tokens_MC: in the dtype of the features' tokens, in the order of their positions.
        places_M: where each token stands, as an index into T*H*W; int64, ascending, no two alike.
        asked: how many tokens were asked for.
        given: how many there are; other than `asked` only where the method's docstring says why.
    """

    tokens_MC: Tensor
    places_M: Tensor
    asked: int

    @property
    def given(self) -> int:
        return self.places_M.shape[0]


def compressed(features: Features, asked: int, tokens_MC: Tensor, places_M: Tensor) -> Compressed:
    """What a method chose, in any order, put into the order of the video and the dtype of its tokens."""
    places_M, order_M = torch.sort(places_M)
    return Compressed(tokens_MC[order_M].to(features.tokens_THWC.dtype), places_M, asked)


def check_keep(features: Features, keep: int) -> None:
    """Refuse a budget that no selection from the video can meet.

    Raises:
        ConfigError: `keep` is not a whole number from 1 to the tokens of the video.
    """
    if isinstance(keep, bool) or not isinstance(keep, int) or not 1 <= keep <= features.count:
        raise ConfigError(f"keep must be a whole number of tokens from 1 to {features.count}, got {keep!r}")


def check_share(name: str, value: float, least: float = 0.0, most: float = 1.0) -> None:
    """Raises ConfigError where the setting `name` lies outside `least` to `most`."""
    if not least <= value <= most:
        raise ConfigError(f"{name} must lie between {least:g} and {most:g}, got {value}")


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raises ConfigError where the setting `name` is below `least`."""
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, got {value}")


def _check(name: str, tensor: Tensor | None, lead: tuple[int, ...], width: bool) -> None:
    if tensor is None:
        return
    shape = tuple(tensor.shape)
    fits = shape[: len(lead)] == lead and len(shape) == len(lead) + width and min(shape) > 0
    if not fits:
        wanted = (*map(str, lead), *(["any width"] if width else []))
        raise GeometryError(f"{name} has shape {shape}, which does not fit the tokens: ({', '.join(wanted)}) is needed")


def _present(tensor: Tensor | None, name: str, words: str, method: str) -> Tensor:
    if tensor is None:
        raise ConfigError(f"{method} needs {words} ({name}), and these features have none")
    return tensor


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
