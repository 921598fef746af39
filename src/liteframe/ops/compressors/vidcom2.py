"""VidCom2: frames that are unlike the video get more tokens, and tokens that are unlike video and frame are kept.

Source: Liu et al., "Video Compression Commander: Plug-and-Play Inference Acceleration for Video Large Language Models"
(EMNLP 2025, arXiv 2505.14454); the official repository (xuyang-liu16/VidCom2) was read, of the paper only what others
quote. As there: of the channels the half with the least variance over the video counts, each token of unit length in
them; likeness to a centre, the mean of the video's tokens or of the frame's, is a sum of Gaussians of five widths; a
frame's share of the budget is that of all plus a softmax, at a temperature of 0.01, of how unlike the video its tokens
are on average; within a frame the tokens of least likeness to both centres are kept, unchanged.

Decided here: shares are rounded so that they sum to the budget, where the official code rounds each and keeps a token
a frame at least.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from liteframe.ops.compressors.budget import proportional
from liteframe.ops.compressors.features import Compressed, Features, check_keep, check_share, compressed
from liteframe.ops.compressors.ranking import ranked, top

_WIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0)
_TEMPERATURE = 0.01
_WHOLE = 2**30
"""Of which shares are whole numbers."""


def vidcom2(features: Features, keep: int, channels: float = 0.5) -> Compressed:
    """Tokens that are unlike their video and their frame; gives exactly `keep`.

    Args:
        features: only the tokens are needed.
        keep: tokens of the whole video.
        channels: share of the channels that count, those of least variance.

    Raises:
        ConfigError: a budget or share out of range.
    """
    check_keep(features, keep)
    check_share("channels", channels, least=1 / features.tokens_THWC.shape[-1])
    tokens_TNC = features.tokens_TNC
    frames, count, width = tokens_TNC.shape
    quiet = ranked(-tokens_TNC.flatten(0, 1).var(dim=0, correction=0))[: int(width * channels)]
    unit_TNC = F.normalize(tokens_TNC[..., quiet], dim=-1)
    to_video_TN = _likeness(unit_TNC, unit_TNC.mean(dim=(0, 1), keepdim=True))
    to_frame_TN = _likeness(unit_TNC, unit_TNC.mean(dim=1, keepdim=True))
    extra_T = torch.softmax(-to_video_TN.mean(dim=-1) / _TEMPERATURE, dim=0)
    shares_T = (1 + extra_T - 1 / frames) * _WHOLE
    budgets = proportional(keep, [round(share) for share in shares_T.tolist()], [count] * frames)
    places_M = top(-(to_video_TN + to_frame_TN), budgets).flatten().nonzero().squeeze(-1)
    return compressed(features, keep, tokens_TNC.flatten(0, 1)[places_M], places_M)


def _likeness(tokens_TNC: Tensor, centre: Tensor) -> Tensor:
    apart_TN = (tokens_TNC - centre).square().sum(dim=-1)
    return torch.stack([torch.exp(-apart_TN / (2 * width)) for width in _WIDTHS]).sum(dim=0)
