"""What every vision backbone gives, and the compressors that make fewer tokens of it.

A backbone turns ``frames_BTCHW`` into `VisionTokens`; a compressor turns those into ``tokens_BTHWC`` with fewer tokens.
Every method of every comparison is such a pair, so nothing is measured with code of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.ops.pooling import average_pool, max_pool, subsample
from liteframe.ops.saliency import SALIENCIES, mean_token, token_norms
from liteframe.ops.wap import (
    default_scale,
    saliency_pool,
    saliency_weights,
    wap_similarities,
    wap_weights,
    weighted_average_pool,
)

Block = tuple[int, int, int]


@dataclass(frozen=True)
class MergedFrames:
    """The remaining frames of one video whose encoder merges frames.

    Attributes:
        places: their frame numbers in the video, ascending from 0.
        segments: the encoder's segments of the remaining frames, each as its first frame and the one after its last.
    """

    places: list[int]
    segments: list[tuple[int, int]]


@dataclass
class VisionTokens:
    """Tokens on a grid, and what the encoder itself says of how much each of them matters.

    Attributes:
        tokens_BTHWC: (B, T, H, W, C); T counts frames, or clips for an encoder that compresses.
        cls_BTC: the class token of each frame, (B, T, C); None for an encoder without.
        pool_query_C: what its attention pooling asks of every token, (C,), see `ops.saliency.attention_pool_query`;
            None for an encoder without.
        keys_BTHWK: keys of the last layer, heads concatenated, (B, T, H, W, K); None unless asked for, see
            `models.attention_probe`.
        cls_attention_BTHW: attention that the class token pays to each token in the last layer, mean over heads,
            (B, T, H, W); None unless asked for.
        merged: the remaining frames of each video, where the encoder merges frames; others hold a copy of the last
            remaining frame before them.
    """

    tokens_BTHWC: Tensor
    cls_BTC: Tensor | None = None
    pool_query_C: Tensor | None = None
    keys_BTHWK: Tensor | None = None
    cls_attention_BTHW: Tensor | None = None
    merged: tuple[MergedFrames, ...] | None = None

    @property
    def saliencies(self) -> tuple[str, ...]:
        """Names of the importance scores that WAP can weight these tokens by."""
        return saliencies_with(self.cls_BTC is not None, self.pool_query_C is not None)

    def at(self, places_T: Tensor) -> VisionTokens:
        """The tokens of the frames with these numbers."""
        return self._each(lambda each_BT: each_BT[:, places_T])

    def unflatten(self, videos: int) -> VisionTokens:
        """Those of so many videos, of which these are all frames one after another, as if of one video."""
        return self._each(lambda each_BT: each_BT.unflatten(1, (videos, -1))[0])

    def _each(self, of: Callable[[Tensor], Tensor]) -> VisionTokens:
        """With every tensor that has frames as `of` makes it."""
        tensors = ((name, getattr(self, name)) for name in _OF_FRAMES)
        made: dict[str, Any] = {name: None if tensor is None else of(tensor) for name, tensor in tensors}
        return replace(self, **made)


_OF_FRAMES = ("tokens_BTHWC", "cls_BTC", "keys_BTHWK", "cls_attention_BTHW")
"""Fields of `VisionTokens` that tell of each frame."""


def joined(parts: Sequence[VisionTokens]) -> VisionTokens:
    """The tokens of frames that were encoded a few at a time, by a backbone that encodes each on its own."""

    def of(name: str) -> Any:
        given = [getattr(part, name) for part in parts]
        return None if given[0] is None else torch.cat(given, dim=1)

    return replace(parts[0], **{name: of(name) for name in _OF_FRAMES})


def saliencies_with(class_token: bool, attention_pool: bool) -> tuple[str, ...]:
    """Names of the importance scores of an encoder that has, or has not, a class token and an attention pooling."""
    lacks = {name for name, there in (("class_token", class_token), ("attention_pool", attention_pool)) if not there}
    return tuple(name for name in SALIENCIES if name not in lacks)


class Compressor(Protocol):
    """Fewer tokens on a smaller grid. `frames_per_group` frames become one group (one `Frame` line of the prompt)."""

    @property
    def frames_per_group(self) -> int: ...

    def __call__(self, vision: VisionTokens) -> Tensor: ...

    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Dense:
    """No compression."""

    frames_per_group: int = 1
    block: ClassVar[Block] = (1, 1, 1)

    def __call__(self, vision: VisionTokens) -> Tensor:
        return vision.tokens_BTHWC

    def describe(self) -> dict[str, Any]:
        return {"compressor": "dense"}


@dataclass(frozen=True)
class WAP:
    """Weighted average pooling (paper, section 3.1) over blocks of (frames, rows, columns).

    Args:
        block: frames, rows and columns of a block.
        similarity: "dot" or "cosine" between a token and the class token of its frame (or what stands in for it). Of a
            norm, "cosine" means relative to the mean norm of the frame.
        scale: factor before the softmax; None is 1/sqrt(C) for "dot", 1 for "cosine".
        saliency: "class_token" as in the paper; "mean_token" of the frame, "attention_pool" for the query of the
            encoder's attention pooling, or "norm" of the token, which is not compared with anything.
    """

    block: Block = (4, 2, 2)
    similarity: str = "dot"
    scale: float | None = None
    saliency: str = "class_token"

    def __post_init__(self) -> None:
        if self.saliency not in SALIENCIES:
            raise ConfigError(f"saliency {self.saliency!r} is unknown; choose one of {', '.join(SALIENCIES)}")
        if self.similarity not in ("dot", "cosine"):
            raise ConfigError(f"similarity must be 'dot' or 'cosine', got {self.similarity!r}")

    @property
    def frames_per_group(self) -> int:
        return self.block[0]

    def __call__(self, vision: VisionTokens) -> Tensor:
        tokens_BTHWC = vision.tokens_BTHWC
        if self.saliency == "norm":
            return saliency_pool(tokens_BTHWC, self._norms(tokens_BTHWC), self.block, self._norm_scale(tokens_BTHWC))
        return weighted_average_pool(tokens_BTHWC, self._query(vision), self.block, self.similarity, self.scale)

    def weights(self, vision: VisionTokens) -> Tensor:
        """Weight of every token, (B, T, H, W); those of a block sum to 1."""
        tokens_BTHWC = vision.tokens_BTHWC
        if self.saliency == "norm":
            return saliency_weights(self._norms(tokens_BTHWC), self.block, self._norm_scale(tokens_BTHWC))
        return wap_weights(tokens_BTHWC, self._query(vision), self.block, self.similarity, self.scale)

    def importance(self, vision: VisionTokens) -> Tensor:
        """What `weights` is the softmax of, over each block, at a scale of 1, (B, T, H, W)."""
        tokens_BTHWC = vision.tokens_BTHWC
        if self.saliency == "norm":
            return self._norms(tokens_BTHWC)
        return wap_similarities(tokens_BTHWC, self._query(vision), self.block, self.similarity)

    def require(self, saliencies: Sequence[str], of: str = "this backbone") -> None:
        """Raises ConfigError where an encoder with these importance scores lacks the one that is asked for."""
        if self.saliency not in saliencies:
            raise ConfigError(
                f"WAP needs a {self.saliency.replace('_', ' ')}, and {of} has none;"
                f" set saliency to one of {', '.join(saliencies)}"
            )

    def describe(self) -> dict[str, Any]:
        return {
            "compressor": "wap",
            "block": list(self.block),
            "similarity": self.similarity,
            "scale": self.scale,
            "saliency": self.saliency,
        }

    @classmethod
    def from_description(cls, values: Mapping[str, Any], source: str) -> WAP:
        """WAP as its `describe` was written down. Raises ConfigError, naming `source`, where that is none of it."""
        names, scale = {field.name for field in fields(cls)}, values.get("scale")
        if values.get("compressor") != "wap" or set(values) != names | {"compressor"}:
            raise ConfigError(f"{source}: describes no WAP, whose fields are {', '.join(sorted(names))}")
        block = _block_of(values, f"{source}: block of WAP")
        if scale is not None and type(scale) not in (int, float):
            raise ConfigError(f"{source}: scale of WAP must be a number or null, got {scale!r}")
        try:
            return cls(block, values["similarity"], scale, values["saliency"])
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error

    def _query(self, vision: VisionTokens) -> Tensor:
        """What the tokens of each frame are compared with, (B, T, C)."""
        self.require(vision.saliencies)
        if self.saliency == "mean_token":
            return mean_token(vision.tokens_BTHWC)
        if self.saliency == "attention_pool":
            assert vision.pool_query_C is not None
            return vision.pool_query_C.expand(*vision.tokens_BTHWC.shape[:2], -1)
        assert vision.cls_BTC is not None
        return vision.cls_BTC

    def _norms(self, tokens_BTHWC: Tensor) -> Tensor:
        return token_norms(tokens_BTHWC, relative=self.similarity == "cosine")

    def _norm_scale(self, tokens_BTHWC: Tensor) -> float:
        return default_scale(self.similarity, tokens_BTHWC.shape[-1]) if self.scale is None else self.scale


_POOLS = {"average": average_pool, "max": max_pool, "subsample": subsample}


@dataclass(frozen=True)
class Pool:
    """Average pooling, max pooling or subsampling over the same blocks as WAP."""

    kind: str = "average"
    block: Block = (4, 2, 2)

    def __post_init__(self) -> None:
        if self.kind not in _POOLS:
            raise ConfigError(f"pool kind {self.kind!r} is unknown; choose one of {', '.join(_POOLS)}")

    @property
    def frames_per_group(self) -> int:
        return self.block[0]

    def __call__(self, vision: VisionTokens) -> Tensor:
        return _POOLS[self.kind](vision.tokens_BTHWC, self.block)

    def describe(self) -> dict[str, Any]:
        return {"compressor": self.kind, "block": list(self.block)}


def compressor_from(values: Mapping[str, Any], source: str) -> Dense | Pool | WAP:
    """The compressor as its `describe` was written down. Raises ConfigError, naming `source`, where that is none."""
    kind = values.get("compressor")
    if kind == "wap":
        return WAP.from_description(values, source)
    if kind == "dense" and set(values) == {"compressor"}:
        return Dense()
    if isinstance(kind, str) and kind in _POOLS and set(values) == {"compressor", "block"}:
        return Pool(kind, _block_of(values, f"{source}: block of {kind} pooling"))
    raise ConfigError(f"{source}: describes no compressor; there are dense, wap, {', '.join(_POOLS)}")


def _block_of(values: Mapping[str, Any], field: str) -> Block:
    block = values.get("block")
    if not isinstance(block, list) or len(block) != 3 or not all(type(size) is int and size > 0 for size in block):
        raise ConfigError(f"{field} must be three whole numbers above 0, got {block!r}")
    return block[0], block[1], block[2]
