"""What one token of a teacher stands for, and which blocks of them WAP can make one token of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import lcm
from typing import Any

from liteframe.data.limits import MOST_CLIP_FRAMES
from liteframe.errors import ConfigError, GeometryError
from liteframe.ops.pooling import Block, check_size, legal_sizes

PAPER_BLOCK: Block = (4, 2, 2)
"""Frames and patches that the paper makes one token of (section 4.1, 16 times fewer)."""


@dataclass(frozen=True)
class TeacherGeometry:
    """What one token of a teacher stands for, and how wide it is.

    A teacher takes frames of any size that whole tokens fill, with its positions interpolated; a size that they do not
    fill is refused, never cropped or padded, but for the one that `cropped` allows.

    Attributes:
        width: channels of a token.
        patch_size: side of a patch in pixels.
        image_size: side in pixels of the frames that it was trained on; None where it was trained on many.
        frames: frames that one token spans.
        merge: patches a side that one token spans.
        clip_frames: frames of a clip, whose tokens see each other; None where a token sees no frames but those that it
            spans.
        cropped: whether frames of `image_size` are taken even where patches do not fill them, as the base VLM does it:
            what is left over at the right and at the bottom is not seen.
    """

    width: int
    patch_size: int
    image_size: int | None = None
    frames: int = 1
    merge: int = 1
    clip_frames: int | None = None
    cropped: bool = False

    @property
    def token_size(self) -> int:
        """Side in pixels of what one token stands for."""
        return self.patch_size * self.merge

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """The token grid (T, H, W) of that many frames of height x width pixels.

        Raises:
            GeometryError: whole tokens, or whole clips, do not fill it; names the nearest sizes that they do.
        """
        step = self.clip_frames or self.frames
        if frames % step:
            what = "a token of this teacher spans" if self.clip_frames is None else "a clip of this teacher has"
            raise GeometryError(f"{frames} frames: {what} {step} (nearest legal: {legal_sizes(frames, step)})")
        if not self.cropped or (height, width) != (self.image_size, self.image_size):
            check_size(height, width, self.token_size)
        return (frames // self.frames, height // self.token_size, width // self.token_size)

    def block(self) -> Block:
        """WAP's block on this teacher's grid that makes one token of as many frames and patches as the paper does.

        Raises:
            ConfigError: no whole number of this teacher's tokens does.
        """
        frames, rows, columns = PAPER_BLOCK
        if frames % self.frames or rows % self.merge:
            raise ConfigError(
                f"a token of this teacher spans {self.frames} frames and {self.merge} x {self.merge} patches, of which"
                f" no block makes {PAPER_BLOCK}; give model.block"
            )
        return (frames // self.frames, rows // self.merge, columns // self.merge)

    def in_clips_of(self, clip_frames: int, field: str) -> TeacherGeometry:
        """The same with clips of so many frames.

        Raises:
            ConfigError: names the field; whole tokens do not fill such a clip, or it has more frames than the clips of
                a feature store can have.
        """
        if not 1 <= clip_frames <= MOST_CLIP_FRAMES or clip_frames % self.frames:
            one = self.frames == 1
            why = "" if one else f" a token of this teacher spans {self.frames} frames, so"
            numbers = "whole number" if one else f"multiple of {self.frames}"
            raise ConfigError(
                f"{field} is {clip_frames};{why} give a {numbers} from {self.frames} to {MOST_CLIP_FRAMES}"
            )
        return replace(self, clip_frames=clip_frames)

    def cell(self, block: Block) -> tuple[int, int, int]:
        """Frames, rows and columns, the latter in pixels, of one block of tokens."""
        return (block[0] * self.frames, block[1] * self.token_size, block[2] * self.token_size)

    def require_size(self, size: tuple[int, int], block: Block, field: str) -> None:
        """Refuses frames of `size` = (height, width) that blocks of tokens do not fill.

        Raises:
            ConfigError: names the field and the nearest sizes that they do.
        """
        _, rows, columns = self.cell(block)
        try:
            check_size(size[0], size[1], (rows, columns))
        except GeometryError as error:
            raise ConfigError(
                f"{field}: {error}, as the targets are of blocks of {block[1]} x {block[2]} tokens"
            ) from error

    def frame_side(self, block: Block) -> int | None:
        """Side in pixels of the frames that it was trained on, enlarged to the next one that blocks of tokens fill."""
        _, rows, columns = self.cell(block)
        step = lcm(rows, columns)
        return None if self.image_size is None else -(-self.image_size // step) * step

    def filled_size(self, size: tuple[int, int], block: Block) -> tuple[int, int]:
        """Height and width, enlarged to the next that blocks of tokens fill."""
        _, rows, columns = self.cell(block)
        return size[0] + -size[0] % rows, size[1] + -size[1] % columns

    def describe(self) -> dict[str, Any]:
        """For the key of a feature store."""
        merged = {"frames_per_token": self.frames, "patches_per_token": self.merge}
        return {"patch_size": self.patch_size, **(merged if (self.frames, self.merge) != (1, 1) else {})}

    @classmethod
    def of_store(cls, width: int, described: Mapping[str, Any], patch_size: int) -> TeacherGeometry:
        """The geometry of the teacher that a store was made with.

        Args:
            width: of the stored targets.
            described: the key's `geometry`.
            patch_size: where the key has none.
        """
        return cls(
            width,
            described.get("patch_size", patch_size),
            frames=described.get("frames_per_token", 1),
            merge=described.get("patches_per_token", 1),
        )
