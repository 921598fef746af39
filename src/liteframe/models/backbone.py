"""What every vision backbone gives, and the compressors that make fewer tokens of it.

A backbone turns ``frames_BTCHW`` into `VisionTokens`; a compressor turns those into ``tokens_BTHWC`` with fewer tokens.
Every arm of every comparison is such a pair, so nothing is measured with code of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.ops.pooling import average_pool, max_pool, subsample
from liteframe.ops.wap import weighted_average_pool

Block = tuple[int, int, int]


@dataclass
class VisionTokens:
    """Tokens on a grid, and a class token a frame where the encoder has one.

    Attributes:
        tokens_BTHWC: (B, T, H, W, C); T counts frames, or clips for an encoder that compresses.
        cls_BTC: (B, T, C), or None.
    """

    tokens_BTHWC: Tensor
    cls_BTC: Tensor | None = None


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

    def __call__(self, vision: VisionTokens) -> Tensor:
        return vision.tokens_BTHWC

    def describe(self) -> dict[str, Any]:
        return {"compressor": "dense"}


@dataclass(frozen=True)
class WAP:
    """Weighted average pooling (paper, section 3.1) over blocks of (frames, rows, columns).

    Args:
        block: frames, rows and columns of a block.
        similarity: "dot" or "cosine" between a token and the class token of its frame.
        scale: factor before the softmax; None is 1/sqrt(C) for "dot".
    """

    block: Block = (4, 2, 2)
    similarity: str = "dot"
    scale: float | None = None

    @property
    def frames_per_group(self) -> int:
        return self.block[0]

    def __call__(self, vision: VisionTokens) -> Tensor:
        if vision.cls_BTC is None:
            raise ConfigError("WAP needs a class token a frame, and this backbone has none")
        return weighted_average_pool(
            vision.tokens_BTHWC, vision.cls_BTC, self.block, similarity=self.similarity, scale=self.scale
        )

    def describe(self) -> dict[str, Any]:
        return {"compressor": "wap", "block": list(self.block), "similarity": self.similarity, "scale": self.scale}


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
