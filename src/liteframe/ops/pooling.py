"""Pooling of token grids in blocks that do not overlap: the plain baselines that stand beside WAP (paper, table 1).

Every function takes ``tokens_BTHWC`` and a block ``(t, h, w)`` and gives ``(B, T/t, H/h, W/w, C)`` in the dtype of its
input. A grid that the block does not divide is refused, never cropped or padded.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from liteframe.errors import GeometryError

Block = tuple[int, int, int]
"""Frames, rows and columns of one block."""


def legal_sizes(size: int, step: int) -> str:
    """The multiples of ``step`` next to ``size``, as words for an error message."""
    below = size // step * step
    return f"{below} or {below + step}" if below else f"{step}"


def check_blocks(grid: Sequence[int], block: Block) -> None:
    """Refuse a grid (frames, rows, columns) that the block does not divide.

    Raises:
        GeometryError: a block size below 1, or an axis that is not a multiple of it, with the nearest that are.
    """
    if len(block) != 3 or min(block) < 1:
        raise GeometryError(f"block must be three sizes (frames, rows, columns) of at least 1, got {tuple(block)}")
    for axis, size, step in zip("THW", grid, block, strict=True):
        if size < 1 or size % step:
            raise GeometryError(
                f"axis {axis} of the token grid has size {size}, which blocks of {step} do not divide; "
                f"nearest legal: {legal_sizes(size, step)}"
            )


def check_size(height: int, width: int, multiple_of: int | tuple[int, int] = 28) -> None:
    """Refuse frames that do not fill the token grid: multiples of 28 px in the paper, of 56 with the pixel shuffle.

    Raises:
        GeometryError: names the axis and the nearest legal sizes on both sides.
    """
    steps = (multiple_of, multiple_of) if isinstance(multiple_of, int) else multiple_of
    wrong = [
        f"{axis} {size} is not a multiple of {step} px (nearest legal: {legal_sizes(size, step)})"
        for axis, size, step in zip(("height", "width"), (height, width), steps, strict=True)
        if size < 1 or size % step
    ]
    if wrong:
        raise GeometryError(f"frames of {height} x {width} px: " + "; ".join(wrong))


def gather_blocks(tokens_BTHWC: Tensor, block: Block) -> Tensor:
    """Bring each block's tokens together: ``(B, T, H, W, C)`` to ``(B, T/t, H/h, W/w, t, h*w, C)``.

    The copy pays: on a CPU, a reduction over the scattered axes is over ten times slower than one over neighbours.

    Raises:
        GeometryError: not five axes, or as `check_blocks` does.
    """
    if tokens_BTHWC.ndim != 5:
        raise GeometryError(f"tokens must have the axes (B, T, H, W, C), got shape {tuple(tokens_BTHWC.shape)}")
    batch, frames, rows, columns, channels = tokens_BTHWC.shape
    check_blocks((frames, rows, columns), block)
    t, h, w = block
    split = tokens_BTHWC.reshape(batch, frames // t, t, rows // h, h, columns // w, w, channels)
    together = split.permute(0, 1, 3, 5, 2, 4, 6, 7)
    return together.reshape(batch, frames // t, rows // h, columns // w, t, h * w, channels)


def average_pool(tokens_BTHWC: Tensor, block: Block = (4, 2, 2)) -> Tensor:
    """Mean of each block's tokens. Raises GeometryError as `gather_blocks` does."""
    return gather_blocks(tokens_BTHWC, block).flatten(4, 5).mean(dim=4)


def max_pool(tokens_BTHWC: Tensor, block: Block = (4, 2, 2)) -> Tensor:
    """Largest value of each channel over each block's tokens. Raises GeometryError as `gather_blocks` does."""
    return gather_blocks(tokens_BTHWC, block).flatten(4, 5).amax(dim=4)


def subsample(tokens_BTHWC: Tensor, block: Block = (4, 2, 2)) -> Tensor:
    """The first token of each block: its first frame, top row, left column.

    The paper only says "subsampling"; a fixed corner is the regular grid with the fewest assumptions.
    Raises GeometryError as `gather_blocks` does.
    """
    return gather_blocks(tokens_BTHWC, block)[..., 0, 0, :]
