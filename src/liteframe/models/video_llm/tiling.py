"""High-resolution frames in tiles (section 5.2.3): to the encoder, each place of a grid is a video of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from liteframe.data.transforms import resize_uint8
from liteframe.errors import ConfigError
from liteframe.models.video_llm.hosts import Line

Grid = tuple[int, int]
"""Rows and columns of tiles."""
Order = Literal["frame", "position"]
WHOLE: Grid = (1, 1)
"""Frames that are not cut."""


@dataclass(frozen=True)
class Tiling:
    """How frames are cut, and in which order an LLM sees the tiles.

    Attributes:
        most: tiles of a frame, at most.
        budget: visual tokens that an LLM may see; tiles become fewer until they fit, frames do not. None is no limit.
        thumbnail: whether it sees the whole frame too, behind its tiles, as InternVL shows pictures.
        order: "frame" puts all tiles of a frame (or clip) into its `Frame` line; "position" shows the video of one
            place of the grid after the other, each with lines of its own.

    Raises:
        ConfigError: fewer than 2 tiles, or a budget below 1.
    """

    most: int
    budget: int | None = None
    thumbnail: bool = True
    order: Order = "frame"

    def __post_init__(self) -> None:
        if self.most < 2:
            raise ConfigError(f"tiles is {self.most}; give 2 or more, or leave it out for frames that are not cut")
        if self.budget is not None and self.budget < 1:
            raise ConfigError(f"token_budget is {self.budget}; give 1 or more")

    def grid(self, frame: tuple[int, int], tile: tuple[int, int], tokens: int) -> Grid:
        """Rows and columns for frames of a video.

        Of all grids within the limits, with no more rows and columns than the frame has pixels for, the one that scales
        the worse of its two sides down the least; of equal ones the one that keeps the most pixels, then the one of
        fewest tiles.

        Args:
            frame: height and width of the video in pixels.
            tile: height and width that the model is shown.
            tokens: that the model makes of the video where it is not cut.
        """
        most = self.most
        if self.budget is not None:
            most = min(most, self.budget // tokens - self.thumbnail)
        if most < 2:
            return WHOLE
        high, wide = (math.ceil(pixels / side) for pixels, side in zip(frame, tile, strict=True))
        grids = [(rows, columns) for rows in range(1, high + 1) for columns in range(1, wide + 1)]

        def quality(grid: Grid) -> tuple[float, float, int]:
            scales = [min(1.0, count * side / pixels) for count, side, pixels in zip(grid, tile, frame, strict=True)]
            return min(scales), math.prod(scales), -math.prod(grid)

        return max((grid for grid in grids if math.prod(grid) <= most), key=quality)

    def views(self, canvas_TCHW: Tensor, grid: Grid) -> Iterator[Tensor]:
        """The tiles row by row, each (T, C, height, width), and the thumbnail, of frames that were scaled to the grid.

        Args:
            canvas_TCHW: uint8; height and width are the tile's times the grid.
            grid: rows and columns.
        """
        if grid == WHOLE:
            yield canvas_TCHW
            return
        rows, columns = grid
        size = (canvas_TCHW.shape[-2] // rows, canvas_TCHW.shape[-1] // columns)
        for row in canvas_TCHW.split(size[0], dim=-2):
            for tile in row.split(size[1], dim=-1):
                yield tile.contiguous()
        if self.thumbnail:
            yield resize_uint8(canvas_TCHW.permute(0, 2, 3, 1).numpy(), size)

    def in_order(self, views: Sequence[tuple[Tensor, Sequence[Line]]]) -> tuple[Tensor, list[Line]]:
        """The tokens (M, C) of all views as the LLM is to see them, and its `Frame` lines.

        Args:
            views: tokens (M, C) of each view, and their lines.
        """
        if self.order == "position":
            return torch.cat([tokens_MC for tokens_MC, _ in views]), [line for _, lines in views for line in lines]
        parts: dict[int, list[Tensor]] = {}
        for tokens_MC, lines in views:
            for (number, _), part in zip(lines, tokens_MC.split([count for _, count in lines]), strict=True):
                parts.setdefault(number, []).append(part)
        together = {number: torch.cat(parts[number]) for number in sorted(parts)}
        return torch.cat([*together.values()]), [(number, len(tokens)) for number, tokens in together.items()]
