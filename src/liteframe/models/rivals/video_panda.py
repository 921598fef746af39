"""Video-Panda (arXiv 2412.18609): patches and a few small layers in the place of an image encoder.

Written after reading the official code (`jh-yi/Video-Panda`, `vision_tokenizer.py`), whose layers are all linear maps,
convolutions and attention with a single query. Clips of a few frames pass

1. a local encoding: linear maps around a depth-wise convolution over time, then one over time and space (`LSTE`);
2. a class token of the clip, which attends to all its patches (`GSTRA`);
3. a downsampling: each square of patches becomes one token, by attention of its mean to its patches (`LSD`);
4. a class token of each frame, which attends to the frame's tokens (`FSRA`) and is mixed with that of the clip.

The LLM reads the class token of a frame, then its rows of tokens, each ended by a learned one: 273 tokens of 448 px.

It runs as it would be deployed. Attention with one query needs neither keys nor values of each token, see
`QueryPooling`; the batch norm in front of the first linear map is part of its weights; 682 channels are filled up to
688, as matrix kernels want a multiple of 8; all frames run together, where the official code goes through them in turn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from liteframe.data.transforms import Colour, normalized_for
from liteframe.errors import ConfigError, GeometryError
from liteframe.models.backbone import VisionTokens
from liteframe.models.student.vit import project_pixels
from liteframe.ops.pooling import check_size

_PIXELS: tuple[Colour, Colour] = (
    (OPENAI_CLIP_MEAN[0], OPENAI_CLIP_MEAN[1], OPENAI_CLIP_MEAN[2]),
    (OPENAI_CLIP_STD[0], OPENAI_CLIP_STD[1], OPENAI_CLIP_STD[2]),
)
_EXPANSION = 4
_ALIGNED = 8


class QueryPooling(nn.Module):
    """Pre-norm multi-head attention of one query to N tokens, added to the query: (M, C) and (M, N, C) to (M, C).

    The score of a token x is (Wq q) . (Wk x) = (Wk' Wq q) . x, and the mean of Wv x is Wv times the mean of x: so Wk
    and Wv are multiplied with M vectors a head, not with M * N tokens. A bias of the keys would add the same to all
    scores of a query and change nothing, so there is none.

    Args:
        width: C.
        heads: divide it.
        scale: of the scores.
        bias: whether queries and values have one.
    """

    def __init__(self, width: int, heads: int, scale: float, bias: bool) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale
        self.query_norm, self.token_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=bias)
        self.output = nn.Linear(width, width)

    def forward(self, query_MC: Tensor, tokens_MNC: Tensor) -> Tensor:
        normed_MNC = self.token_norm(tokens_MNC)
        asked_MHD = self.query(self.query_norm(query_MC)).unflatten(-1, (self.heads, -1)) * self.scale
        asked_MHC = torch.einsum("mhd,hdc->mhc", asked_MHD, self.key.weight.unflatten(0, (self.heads, -1)))
        weights_MHN = (asked_MHC @ normed_MNC.mT).softmax(dim=-1)
        pooled_MHC = weights_MHN @ normed_MNC
        value_HDC = self.value.weight.unflatten(0, (self.heads, -1))
        mixed_MC = torch.einsum("mhc,hdc->mhd", pooled_MHC, value_HDC).flatten(1)
        if self.value.bias is not None:
            mixed_MC = mixed_MC + self.value.bias  # the weights of a head sum to 1
        return query_MC + self.output(mixed_MC)


class LocalEncoding(nn.Module):
    """Each patch with its neighbours in time and space, within a clip: (N, T, H, W, C) to the same shape.

    Args:
        width: C; two thirds of it, filled up to a multiple of 8, are the channels between the linear maps.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = -(-(2 * width // 3) // _ALIGNED) * _ALIGNED
        self.narrow, self.widen = nn.Linear(width, inner), nn.Linear(inner, width)
        self.temporal = nn.Conv2d(inner, inner, (3, 1), padding=(1, 0), groups=inner)
        self.spatial = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False) for _ in range(3))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, tokens_NTHWC: Tensor) -> Tensor:
        # Over (T, H W) the tokens lie in channels-last order, so nothing is copied.
        inner_NCTM = self.narrow(tokens_NTHWC).flatten(2, 3).permute(0, 3, 1, 2)
        inner_NTHWC = self.temporal(inner_NCTM).permute(0, 2, 3, 1).unflatten(2, tokens_NTHWC.shape[2:4])
        return self._with_neighbours(tokens_NTHWC + self.widen(inner_NTHWC))

    def _with_neighbours(self, tokens_NTHWC: Tensor) -> Tensor:
        """Adds the convolution over 3 frames, rows and columns as three 2-D ones: one in 3-D takes up to twice as long
        on a CPU."""
        clips, frames_MCHW = tokens_NTHWC.shape[:2], tokens_NTHWC.flatten(0, 1).permute(0, 3, 1, 2)
        for_next, mixed, for_previous = (
            convolution(frames_MCHW).permute(0, 2, 3, 1).unflatten(0, clips) for convolution in self.spatial
        )
        mixed += tokens_NTHWC
        mixed += self.bias
        mixed[:, 1:] += for_next[:, :-1]
        mixed[:, :-1] += for_previous[:, 1:]
        return mixed


class ClipToken(nn.Module):
    """The class token of a clip, from all its tokens: (N, M, C) to (N, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(width))
        self.pooling = QueryPooling(width, heads, (width // heads) ** -0.5, bias=True)
        self.norm = nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, _EXPANSION * width), nn.Linear(_EXPANSION * width, width)

    def forward(self, tokens_NMC: Tensor) -> Tensor:
        token_NC = self.pooling(self.token.expand(len(tokens_NMC), -1), tokens_NMC)
        hidden = self.expand(self.norm(token_NC))
        return token_NC + self.contract(hidden * torch.sigmoid(1.702 * hidden))  # the GELU of CLIP


class VideoPandaBackbone(nn.Module):
    """Frames to the rows of tokens that Video-Panda's projector takes, with random weights.

    Frames see the others of their clip. Where frames are left over, they are a shorter clip; a single one is encoded
    as the official code encodes a picture, without what runs over time. There a video has 8 frames, in clips of 4.

    Args:
        image_size: height and width in pixels that frames are best resized to.
        width: channels of a token.
        patch_size: side of a patch in pixels.
        square: side of the squares of patches that become one token each.
        heads: of all attentions.
        clip_frames: frames that see each other.

    Attributes:
        size_multiple: pixels that height and width of a frame must be multiples of.

    Raises:
        ConfigError: `heads` do not divide `width`.
        GeometryError: an `image_size` that squares do not fill.
    """

    frame_wise = False

    def __init__(
        self,
        image_size: tuple[int, int] = (448, 448),
        width: int = 1024,
        patch_size: int = 14,
        square: int = 2,
        heads: int = 8,
        clip_frames: int = 4,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"heads is {heads}, which does not divide the width of {width} channels")
        self.width, self.square, self.clip_frames = width, square, clip_frames
        self.image_size, self.size_multiple = image_size, patch_size * square
        check_size(*image_size, self.size_multiple)
        self.patch_embedding = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.local = LocalEncoding(width)
        self.clip_token = ClipToken(width, heads)
        # By the square root of all channels, not of those of a head, as in the official code.
        self.downsampling = QueryPooling(width, heads, width**-0.5, bias=False)
        self.frame_pooling = QueryPooling(width, heads, width**-0.5, bias=False)
        self.frame_token, self.row_end = nn.Parameter(torch.randn(width)), nn.Parameter(torch.randn(width))
        self.balance = nn.Parameter(torch.zeros(width))
        self.class_norm, self.class_output = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        """Tokens (B, T, 1, 1 + H (W + 1), C) of frames, uint8 or normalised as ImageNet is, with H W squares.

        Of each frame one row, in the order in which the LLM reads it: its class token, then the squares row by row,
        each row ended by the same token.

        Raises:
            GeometryError: a shape or size that it cannot take; names the nearest sizes that it can.
        """
        if frames_BTCHW.ndim != 5:
            raise GeometryError(f"frames must have the axes (B, T, C, H, W), got shape {tuple(frames_BTCHW.shape)}")
        batch, frames, _, height, width = frames_BTCHW.shape
        check_size(height, width, self.size_multiple)
        patches_BTHWC = self._patches(frames_BTCHW.flatten(0, 1)).unflatten(0, (batch, frames))
        whole = frames - frames % self.clip_frames
        clips_NTHWC = patches_BTHWC[:, :whole].unflatten(1, (-1, self.clip_frames)).flatten(0, 1)
        rows = [self._rows(part) for part in (clips_NTHWC, patches_BTHWC[:, whole:]) if part.numel()]
        rows_BTNC = torch.cat([part.reshape(batch, -1, *part.shape[2:]) for part in rows], dim=1)
        return VisionTokens(rows_BTNC.unsqueeze(2), cls_BTC=rows_BTNC[:, :, 0])

    def _patches(self, frames_MCHW: Tensor) -> Tensor:
        """One token of each patch, (M, H, W, C)."""
        if frames_MCHW.dtype == torch.uint8:
            patches_MCHW = project_pixels(frames_MCHW, self.patch_embedding, *_PIXELS)
        else:
            patches_MCHW = self.patch_embedding(
                normalized_for(frames_MCHW, *_PIXELS).to(self.patch_embedding.weight.dtype)
            )
        return patches_MCHW.permute(0, 2, 3, 1).contiguous()

    def _rows(self, patches_NTHWC: Tensor) -> Tensor:
        """Tokens of clips in the order of the LLM, (N, T, 1 + H (W + 1), C)."""
        clips, frames = patches_NTHWC.shape[:2]
        if frames == 1:
            squares_MHWC = self._squares(patches_NTHWC.flatten(0, 1))
            class_MC = self._frame_class(squares_MHWC)
        else:
            local_NTHWC = self.local(patches_NTHWC)
            clip_NC = self.clip_token(local_NTHWC.flatten(1, 3))
            squares_MHWC = self._squares((local_NTHWC + patches_NTHWC).flatten(0, 1))
            clip_MC, share_C = clip_NC.repeat_interleave(frames, dim=0), torch.sigmoid(self.balance)
            class_MC = torch.lerp(clip_MC, self._frame_class(squares_MHWC), share_C.expand_as(clip_MC))
            class_MC = self.class_output(self.class_norm(class_MC))
        ends_MH1C = self.row_end.expand(*squares_MHWC.shape[:2], 1, -1)
        ended_MNC = torch.cat([squares_MHWC, ends_MH1C], dim=2).flatten(1, 2)
        return torch.cat([class_MC[:, None], ended_MNC], dim=1).unflatten(0, (clips, frames))

    def _squares(self, patches_MHWC: Tensor) -> Tensor:
        """One token of each square of patches, (M, H/s, W/s, C)."""
        frames, rows, columns, _ = patches_MHWC.shape
        grid = (frames, rows // self.square, columns // self.square)
        apart = patches_MHWC.unflatten(2, (grid[2], -1)).unflatten(1, (grid[1], -1))
        squares_KSC = apart.transpose(2, 3).reshape(-1, self.square**2, self.width)
        return self.downsampling(squares_KSC.mean(dim=1), squares_KSC).unflatten(0, grid)

    def _frame_class(self, squares_MHWC: Tensor) -> Tensor:
        """The class token of each frame by itself, (M, C)."""
        return self.frame_pooling(self.frame_token.expand(len(squares_MHWC), -1), squares_MHWC.flatten(1, 2))
