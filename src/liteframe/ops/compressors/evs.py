"""EVS: what changes least against the frame before it goes, wherever in the video it is.

Source: Bagrov et al., "Efficient Video Sampling: Pruning Temporally Redundant Tokens for Faster VLM Inference" (arXiv
2510.14624). Its authors' code is a flag of vLLM, `--video-pruning-rate` (`vllm/multimodal/evs.py`), which was read. As
there: each token is compared by cosine with the one at the same position in the frame before; the tokens of all frames
that differ most are kept, unchanged; those of the first frame come before any other.

By nature the first frame stays whole, so below a frame's tokens exactly these are given.
"""

from __future__ import annotations

import torch

from liteframe.ops.compressors.features import Compressed, Features, check_keep, compressed
from liteframe.ops.compressors.ranking import top
from liteframe.ops.compressors.similarity import paired_cosines


def evs(features: Features, keep: int) -> Compressed:
    """Drop what repeats the frame before it.

    Gives exactly `keep` tokens, or those of the first frame where these are more.

    Args:
        features: only the tokens are needed.
        keep: tokens of the whole video.

    Raises:
        ConfigError: a budget out of range.
    """
    check_keep(features, keep)
    tokens_TNC = features.tokens_TNC
    change_TN = torch.full(tokens_TNC.shape[:2], torch.inf, device=tokens_TNC.device, dtype=tokens_TNC.dtype)
    change_TN[1:] = -paired_cosines(tokens_TNC[1:], tokens_TNC[:-1])
    kept_1M = top(change_TN.flatten().unsqueeze(0), [max(keep, tokens_TNC.shape[1])])
    places_M = kept_1M[0].nonzero().squeeze(-1)
    return compressed(features, keep, tokens_TNC.flatten(0, 1)[places_M], places_M)
