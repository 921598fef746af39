"""AutoGaze in front of the teacher: an InternVL's image encoder that sees none but the patches that were named.

Source: as `gazing`. What the authors did to SigLIP is done to InternViT here. Frames are resized to several scales, of
each of which the patches are candidates, with position embeddings that are interpolated to its grid; those that were
named go through the encoder as one sequence of the whole clip, in which a token sees its own frame and the frames
before. InternViT's class token, which SigLIP does not have, stands in each frame's tokens once.

A frame larger than the gaze model's is cut into tiles, whose patches are named separately and encoded together. Sizes
that whole tiles do not fill are padded by the official code; they are refused here, so that no time goes into padding.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, normalized_for
from liteframe.errors import GeometryError
from liteframe.models.backbone import VisionTokens
from liteframe.models.rivals.changed_internvit import ChangedInternVLTeacher, after_mlp, attended
from liteframe.models.rivals.gazing import GazeConfig, GazeModel, resized
from liteframe.models.teachers import InternVLTeacher
from liteframe.ops.pooling import check_size, legal_sizes

# The gaze model's processor scales pixels to -1 to 1 before it takes ImageNet's mean off.
_red, _green, _blue = ((1 + mean) / 2 for mean in IMAGENET_MEAN)
_MEAN = (_red, _green, _blue)
_red, _green, _blue = (std / 2 for std in IMAGENET_STD)
_STD = (_red, _green, _blue)
_JOINED = 2
"""Rows of the grid that the tokens of a clip are laid out on, which a pixel shuffle of one half joins."""


class AutoGazeTeacher(ChangedInternVLTeacher):
    """An `InternVLTeacher` that encodes the patches of a clip that a gaze model names.

    Tokens come back as one group a clip, (B, clips, 2, N / 2, C), frame after frame and in each by scale and raster
    order, so laid out that a pixel shuffle of one half joins four that follow each other.

    Args:
        teacher: shares its modules.
        gaze: sizes of the gaze model, and how many patches it names.

    Attributes:
        gaze: the gaze model.
        clip_frames: frames of a clip.
        size_multiple: pixels that height and width of a frame are multiples of.
    """

    frame_wise = False

    def __init__(self, teacher: InternVLTeacher, gaze: GazeConfig | None = None) -> None:
        super().__init__(teacher)
        self.gaze = GazeModel(gaze or GazeConfig()).requires_grad_(False).eval()
        self.clip_frames = self.gaze.config.clip_frames

    @property
    def size_multiple(self) -> tuple[int, int]:
        side = self.patch_size * self.gaze.config.grids[-1]
        return side, side

    @property
    def image_size(self) -> tuple[int, int]:
        """The base VLM's own, cut down to whole tiles."""
        height, width = (
            max(1, side // step) * step for side, step in zip(super().image_size, self.size_multiple, strict=True)
        )
        return height, width

    @property
    def reduction(self) -> dict[str, Any]:
        """How tokens become fewer in front of it, for a record."""
        gaze = self.gaze.config
        return {"inside": "autogaze", "first": gaze.first, "later": gaze.later, "clip_frames": gaze.clip_frames}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **self.reduction}

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Tokens of each clip, see the class.

        Raises:
            GeometryError: frames that whole tiles do not fill, more than one clip but not whole ones, or so many tokens
                of a clip that four of them cannot be joined.
        """
        height, width = frames_BTCHW.shape[3:]
        check_size(height, width, self.size_multiple)
        frames = frames_BTCHW.shape[1]
        if frames > self.clip_frames and frames % self.clip_frames:
            raise GeometryError(
                f"{frames} frames: clips of AutoGaze have {self.clip_frames}, only a single one may have less (nearest"
                f" legal: {legal_sizes(frames, self.clip_frames)})"
            )
        clips_BTCHW = frames_BTCHW.unflatten(1, (-1, min(frames, self.clip_frames)))
        named = self.named(clips_BTCHW.flatten(0, 1))
        tokens_BNC = self.encode_patches(clips_BTCHW.flatten(0, 1), named)
        count = tokens_BNC.shape[1]
        if count % _JOINED**2:
            raise GeometryError(
                f"{count} tokens of a clip of {frames} frames cannot be joined by fours; give the gaze model other"
                " counts, or frames of an even number of tiles a side"
            )
        pairs_BMHWC = tokens_BNC.unflatten(1, (-1, _JOINED, _JOINED))
        return VisionTokens(pairs_BMHWC.transpose(1, 2).flatten(2, 3).unflatten(0, clips_BTCHW.shape[:2]))

    def named(self, clips_BTCHW: Tensor) -> list[Tensor]:
        """Patches (B, count) to encode of each frame of clips, ascending, numbered scale by scale in raster order.

        Args:
            clips_BTCHW: normalised as ImageNet is.
        """
        tile = self.size_multiple[0]
        rows, columns = (side // tile for side in clips_BTCHW.shape[3:])
        pixels_BTCHW = normalized_for(clips_BTCHW, _MEAN, _STD).to(self._dtype)
        tiles_BRSTCHW = (
            pixels_BTCHW.unflatten(4, (columns, tile)).unflatten(3, (rows, tile)).permute(0, 3, 5, 1, 2, 4, 6)
        )
        place_RV = self._places(rows, columns).to(clips_BTCHW.device)
        named = []
        for ids_NK in self.gaze(tiles_BRSTCHW.flatten(0, 2)):
            place_BRK = place_RV.expand(len(clips_BTCHW), -1, -1).gather(2, ids_NK.unflatten(0, (-1, rows * columns)))
            named.append(place_BRK.flatten(1).sort(dim=1).values)
        return named

    def _places(self, rows: int, columns: int) -> Tensor:
        """Number in the whole frame of each patch of each tile, (tiles, patches)."""
        grids, tiles = self.gaze.config.grids, rows * columns
        starts = accumulate((side**2 * tiles for side in grids), initial=0)
        scales = []
        for side, start in zip(grids, starts, strict=False):
            frame_HW = start + torch.arange(side**2 * tiles).view(rows * side, columns * side)
            scales.append(frame_HW.view(rows, side, columns, side).transpose(1, 2).reshape(tiles, side**2))
        return torch.cat(scales, dim=1)

    def encode_patches(self, clips_BTCHW: Tensor, named: list[Tensor]) -> Tensor:
        """What the encoder makes of some patches of clips, (B, N, C), frame after frame; nothing else is encoded.

        Args:
            clips_BTCHW: normalised as ImageNet is.
            named: of each frame, the numbers (B, count) of patches, scale by scale in raster order.
        """
        tower: Any = self.vision_tower
        pixels_BTND, position_NC = self._candidates(clips_BTCHW)
        T, candidates = pixels_BTND.shape[1:3]
        ids_BM = torch.cat([ids_BK + frame * candidates for frame, ids_BK in enumerate(named)], dim=1)
        pixels_BMD = pixels_BTND.flatten(1, 2).gather(1, ids_BM[..., None].expand(-1, -1, pixels_BTND.shape[-1]))
        projection = tower.embeddings.patch_embeddings.projection
        patches_BMC = torch.nn.functional.linear(pixels_BMD, projection.weight.flatten(1), projection.bias)
        patches_BMC = patches_BMC + position_NC[ids_BM % candidates]
        cls_1TC = tower.embeddings.cls_token.expand(1, T, -1)
        if tower.embeddings.position_embeddings is not None:
            cls_1TC = cls_1TC + tower.embeddings.position_embeddings[:, :1]
        tokens_BNC = torch.cat([cls_1TC.expand(len(ids_BM), -1, -1), patches_BMC], dim=1)
        frame_N = [*range(T), *(frame for frame, ids in enumerate(named) for _ in range(ids.shape[1]))]
        tokens_BNC = self._layers(tokens_BNC, torch.tensor(frame_N, device=tokens_BNC.device))
        return tokens_BNC[:, T:]

    def _candidates(self, clips_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (B, T, N, 3 * patch * patch) and positions (N, C) of the patches of all scales."""
        patch, grids = self.patch_size, self.gaze.config.grids
        rows, columns = (side // self.size_multiple[0] for side in clips_BTCHW.shape[3:])
        frames_FCHW = clips_BTCHW.flatten(0, 1).to(self._dtype)
        pixels, positions = [], []
        for side in grids:
            height, width = rows * side * patch, columns * side * patch
            scaled_FCHW = resized(frames_FCHW, (height, width))
            cells_FCHPWQ = scaled_FCHW.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))
            pixels.append(cells_FCHPWQ.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))
            positions.append(self._positions(height, width))
        pixels_BTND = torch.cat(pixels, dim=1).unflatten(0, clips_BTCHW.shape[:2])
        return pixels_BTND, torch.cat(positions)

    def _positions(self, height: int, width: int) -> Tensor:
        """Position embeddings (N, C) of the patches of a frame of that size."""
        embeddings: Any = self.vision_tower.embeddings
        patches = (height // self.patch_size) * (width // self.patch_size)
        like_1NC = embeddings.cls_token.expand(1, 1 + patches, -1)
        if embeddings.position_embeddings is None:
            return torch.zeros_like(like_1NC[0, 1:])
        return embeddings.interpolate_pos_encoding(like_1NC, height, width)[0, 1:]

    def _layers(self, tokens_BNC: Tensor, frame_N: Tensor) -> Tensor:
        """The encoder's layers and last norm, each token seeing the tokens of its own frame and of those before."""
        seen_11NN = (frame_N[:, None] >= frame_N[None])[None, None]
        for layer in self.layers:
            tokens_BNC = after_mlp(layer, attended(layer, tokens_BNC, seen_11NN))
        return self.last_norm(tokens_BNC)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.vision_tower.parameters()).dtype
