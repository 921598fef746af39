"""DyMU in the teacher: an InternVL's image encoder that leaves fewer tokens of simple frames.

See `ops.dynamic_merging` for the merging, and `dymu_llm` for what the LLM makes of it. In each layer, between attention
and MLP, tokens merge by the keys of that layer, mean over heads; attention is proportional, the log of a key's size is
added to its logits. What merges here are the squares of patches of which the pixel shuffle makes one token of the LLM:
patches at the same place of their squares merge, and a square's key is the mean of its patches'. So what is left of a
frame is what its LLM can be shown, and each of the LLM's positions belongs to one token.

The official code keeps the thresholds that it found on a set of pictures. Here the frames of a video are that set by
default, so that a budget is met; `thresholds` takes fixed ones, and `find_thresholds` finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.rivals.attention_probe import queries_and_keys
from liteframe.models.rivals.changed_internvit import ChangedInternVLTeacher, after_mlp, attended
from liteframe.models.teachers import InternVLTeacher
from liteframe.models.teachers.internvl import pixel_shuffle
from liteframe.ops.dynamic_merging import Cells, alike, merge, most_alike, totals_by_layer


@dataclass
class SharedTokens(VisionTokens):
    """Tokens on the grid, of which some hold the same.

    Attributes:
        owners: of each video (T, H' W'): which of its frame's merged tokens a square of patches holds a copy of, in
            raster order.
    """

    owners: tuple[Tensor, ...] = ()


class DyMUTeacher(ChangedInternVLTeacher):
    """An `InternVLTeacher` that merges squares of patches, the most alike of all frames of a video first.

    Tokens come back on the full grid, each square with a copy of what it went into.

    Args:
        teacher: shares its modules.
        ratio: how many times fewer squares are left of a video, at least one a frame. If its layers cannot leave so
            few, rounds of merging follow after the last one, by what it gives.
        thresholds: one a layer, above which pairs merge; the ratio then decides nothing. None ranks the pairs of all
            frames.

    Raises:
        ConfigError: a ratio below 1, or not as many thresholds as layers.
    """

    frame_wise = False
    whole_video = True
    """What merges in a frame depends on the other frames of its video, so a video cannot be encoded in parts."""

    def __init__(
        self, teacher: InternVLTeacher, ratio: float = 16.0, thresholds: Sequence[float] | None = None
    ) -> None:
        super().__init__(teacher)
        if ratio < 1:
            raise ConfigError(f"ratio is {ratio}; merging leaves 1/ratio of the tokens, so give 1 or more")
        if thresholds is not None and len(thresholds) != self.layers_run:
            raise ConfigError(
                f"thresholds has {len(thresholds)} numbers; give one for each of {self.layers_run} layers"
            )
        self.ratio, self.thresholds = ratio, None if thresholds is None else tuple(thresholds)

    @property
    def reduction(self) -> dict[str, Any]:
        """How tokens become fewer inside, for a record."""
        found = "the video" if self.thresholds is None else list(self.thresholds)
        return {"inside": "dymu", "ratio": self.ratio, "thresholds": found}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **self.reduction}

    @torch.no_grad()
    def find_thresholds(self, batches_BTCHW: Iterable[Tensor]) -> list[float]:
        """A threshold for each layer: mean over batches of frames, normalised as this encoder's own are."""
        found = [self._merged(frames.flatten(0, 1), None)[2] for frames in batches_BTCHW]
        return torch.tensor(found, dtype=torch.float64).mean(dim=0).tolist()

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> SharedTokens:
        """Tokens (B, T, H, W, C), those of merged squares alike, and class tokens (B, T, C) of every frame."""
        place_N = self._squares(grid).to(frames_BTCHW.device).flatten()
        tokens, classes, owners = [], [], []
        for frames_TCHW in frames_BTCHW:
            cls_TC, cells, _ = self._merged(frames_TCHW, self.thresholds)
            index_TNC = cells.owners_FN[..., None].expand(-1, -1, cells.values_FMC.shape[-1])
            patches_TNC = cells.values_FMC.gather(1, index_TNC).reshape(len(frames_TCHW), -1, cls_TC.shape[-1])
            tokens.append(torch.empty_like(patches_TNC).index_copy(1, place_N, patches_TNC))
            classes.append(cls_TC)
            owners.append(cells.owners_FN)
        tokens_BTHWC = torch.stack(tokens).unflatten(2, grid[1:])
        return SharedTokens(tokens_BTHWC, torch.stack(classes), owners=tuple(owners))

    def _squares(self, grid: tuple[int, int, int]) -> Tensor:
        """Raster numbers of the patches of each square, (squares, patches of one), as the pixel shuffle has them."""
        _, rows, columns = grid
        number_1HW1 = torch.arange(rows * columns).view(1, rows, columns, 1)
        return pixel_shuffle(number_1HW1, self.downsample_ratio).flatten(0, 2)

    def _merged(self, frames_FCHW: Tensor, thresholds: Sequence[float] | None) -> tuple[Tensor, Cells, list[float]]:
        """Class tokens (F, C), merged squares with their patches one after another, and each layer's threshold."""
        tower: Any = self.vision_tower
        embedded_FNC = tower.embeddings(frames_FCHW)
        rows, columns = (side // self.patch_size for side in frames_FCHW.shape[2:])
        square_NS = self._squares((len(frames_FCHW), rows, columns)).to(embedded_FNC.device)
        frames, squares, patches = len(frames_FCHW), *square_NS.shape
        keep = max(frames, round(frames * squares / self.ratio))
        totals = totals_by_layer(frames, squares, keep, self.layers_run)
        cells = Cells.unmerged(embedded_FNC[:, 1:][:, square_NS].flatten(2))
        cls_F1C, found = embedded_FNC[:, :1], []
        for number, layer in enumerate(self.layers):
            mixed_FXC, keys_FMK = _attended(layer, _in_a_row(cls_F1C, cells, patches), cells.sizes_FM, patches)
            cls_F1C, cells = mixed_FXC[:, :1], _with_patches(cells, mixed_FXC, patches)
            pairs = alike(keys_FMK, cells.sizes_FM)
            if thresholds is None:
                going_FA, threshold = most_alike(pairs, max(0, cells.total - totals[number]))
                found.append(threshold)
            else:
                going_FA = pairs.likeness_FA > thresholds[number]
            cells = merge(cells, pairs, going_FA)
            tokens_FXC = _in_a_row(cls_F1C, cells, patches)
            tokens_FXC = after_mlp(layer, tokens_FXC)
            cls_F1C, cells = tokens_FXC[:, :1], _with_patches(cells, tokens_FXC, patches)
        tokens_FXC = self.last_norm(_in_a_row(cls_F1C, cells, patches))
        cls_F1C, cells = tokens_FXC[:, :1], _with_patches(cells, tokens_FXC, patches)
        while thresholds is None and (more := cells.total - keep) > 0:
            pairs = alike(cells.values_FMC.unflatten(-1, (patches, -1)).mean(dim=2), cells.sizes_FM)
            cells = merge(cells, pairs, most_alike(pairs, more)[0])
        return cls_F1C[:, 0], cells, found


def _in_a_row(cls_F1C: Tensor, cells: Cells, patches: int) -> Tensor:
    """The class token and after it the patches of all squares, (F, 1 + M * patches, C)."""
    return torch.cat([cls_F1C, cells.values_FMC.unflatten(-1, (patches, -1)).flatten(1, 2)], dim=1)


def _with_patches(cells: Cells, tokens_FXC: Tensor, patches: int) -> Cells:
    """The squares with these patches, see `_in_a_row`."""
    return cells._replace(values_FMC=tokens_FXC[:, 1:].unflatten(1, (-1, patches)).flatten(2))


def _attended(layer: Any, tokens_FXC: Tensor, sizes_FM: Tensor, patches: int) -> tuple[Tensor, Tensor]:
    """Tokens after a layer's attention, and the keys (F, M, K) of the squares in it."""
    log_FM = sizes_FM.log().clamp(min=torch.finfo(tokens_FXC.dtype).min).to(tokens_FXC.dtype)
    log_FX = torch.cat([torch.zeros_like(log_FM[:, :1]), log_FM.repeat_interleave(patches, dim=1)], dim=1)
    with queries_and_keys(layer.attention) as caught:
        mixed_FXC = attended(layer, tokens_FXC, log_FX[:, None, None])
    keys_FMSHK = caught["k"][:, 1:].unflatten(1, (-1, patches)).unflatten(-1, (layer.attention.num_heads, -1))
    return mixed_FXC, keys_FMSHK.mean(dim=(2, 3), dtype=torch.float32)
