"""Average, max, subsample and WAP under the interface of the others: a budget instead of a block.

The pooling itself is that of `liteframe.ops.pooling` and `liteframe.ops.wap`. By nature a pooling gives T*H*W tokens
over the size of its block, so `given` is the nearest such number to `keep`. A token stands where its block begins.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from liteframe.ops.compressors.features import Compressed, Features, check_keep
from liteframe.ops.pooling import Block, average_pool, check_blocks, max_pool
from liteframe.ops.pooling import subsample as subsample_pool
from liteframe.ops.wap import weighted_average_pool


def average(features: Features, keep: int, block: Block | None = None) -> Compressed:
    """Mean of each block. Block and errors as `choose_block` has them."""
    return _pool(features, keep, block, average_pool)


def maximum(features: Features, keep: int, block: Block | None = None) -> Compressed:
    """Largest value of each channel over each block. Block and errors as `choose_block` has them."""
    return _pool(features, keep, block, max_pool)


def subsample(features: Features, keep: int, block: Block | None = None) -> Compressed:
    """First token of each block. Block and errors as `choose_block` has them."""
    return _pool(features, keep, block, subsample_pool)


def wap(
    features: Features, keep: int, block: Block | None = None, similarity: str = "dot", scale: float | None = None
) -> Compressed:
    """Weighted average pooling by the class token of each frame, as `liteframe.ops.wap` has it.

    Raises:
        ConfigError: no class tokens, an unknown similarity, or as `choose_block` does.
        GeometryError: class tokens of another width than the tokens, or as `choose_block` does.
    """
    cls_BTC = features.need_cls_TC("WAP").unsqueeze(0)

    def pool(tokens_BTHWC: Tensor, block: Block) -> Tensor:
        return weighted_average_pool(tokens_BTHWC, cls_BTC, block, similarity=similarity, scale=scale)

    return _pool(features, keep, block, pool)


def choose_block(features: Features, keep: int, block: Block | None = None) -> Block:
    """The block that leaves the nearest number of tokens to `keep`.

    Of blocks that come equally near, the one most like the paper's, which are 2 x 2 in space and the rest in time:
    square before oblong, then the nearest to 2 rows, then the fewest rows.

    Args:
        features: its grid is cut.
        keep: tokens asked for.
        block: use this one, whatever it gives.

    Raises:
        ConfigError: `keep` as `check_keep` refuses it.
        GeometryError: a given block that does not divide the grid.
    """
    check_keep(features, keep)
    if block is not None:
        check_blocks(features.grid, block)
        return block
    divisors = [[step for step in range(1, size + 1) if size % step == 0] for size in features.grid]

    def badness(block: Block) -> tuple[int, bool, int, int]:
        t, h, w = block
        return abs(features.count // (t * h * w) - keep), h != w, abs(h - 2), h

    return min(((t, h, w) for t, h, w in itertools.product(*divisors)), key=badness)


def _pool(features: Features, keep: int, block: Block | None, pool: Callable[[Tensor, Block], Tensor]) -> Compressed:
    block = choose_block(features, keep, block)
    tokens_MC = pool(features.tokens_THWC.unsqueeze(0), block).squeeze(0).flatten(0, 2)
    places_THW = torch.arange(features.count, device=tokens_MC.device).reshape(features.grid)
    t, h, w = block
    return Compressed(tokens_MC, places_THW[::t, ::h, ::w].flatten(), keep)
