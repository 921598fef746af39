"""DyCoke's temporal merging: in groups of four frames, what changes least against an earlier frame goes.

Source: Tao et al., "DyCoke: Dynamic Compression of Tokens for Fast Video Large Language Models" (CVPR 2025, arXiv
2411.15024), token temporal merging (TTM); the official repository (KD-TAO/DyCoke) was read, of the paper only its
opening and what others quote. As there: in a group the first frame stays whole; the second is compared with the first,
the fourth with the third, the third with the first, token by token at the same position by cosine; of each of these
frames the most similar tokens are dropped, the rest stay as they are. Despite the name nothing is averaged. The second
half of the method, which prunes the LLM's cache while it decodes, is not here.

The paper drops a share of 0.7 in each compared frame, which leaves 0.475 of all tokens. Decided here: the share follows
from the budget, spread evenly over the compared frames. By nature the first frame of every group stays, so below that
many tokens (a quarter of the video) exactly these are given. The official loop leaves the third frame of the last group
whole; here a last group is treated like the others, and a short one has the frames that it has.
"""

from __future__ import annotations

import torch

from liteframe.ops.compressors.budget import even
from liteframe.ops.compressors.features import Compressed, Features, check_count, check_keep, compressed
from liteframe.ops.compressors.ranking import top
from liteframe.ops.compressors.similarity import paired_cosines


def dycoke(features: Features, keep: int, group: int = 4) -> Compressed:
    """Drop what repeats an earlier frame of its group.

    Gives exactly `keep` tokens, or those of the first frame of each group where these are more. Differs from the
    official code in the third frame of the last group, which costs a few tokens a video.

    Args:
        features: only the tokens are needed.
        keep: tokens of the whole video.
        group: frames of a group; of those after the first, every other is compared with the one before it, the rest
            with the first of the group.

    Raises:
        ConfigError: a budget or group out of range.
    """
    check_keep(features, keep)
    check_count("group", group)
    tokens_TNC = features.tokens_TNC
    frames, count = tokens_TNC.shape[:2]
    later = [frame for frame in range(frames) if frame % group]
    kept_TN = torch.ones(frames, count, dtype=torch.bool, device=tokens_TNC.device)
    if later:
        against = [frame - 1 if frame % group % 2 else frame - frame % group for frame in later]
        likeness_FN = paired_cosines(tokens_TNC[later], tokens_TNC[against])
        spare = max(0, keep - (frames - len(later)) * count)
        kept_TN[later] = top(-likeness_FN, even(spare, len(later)))
    places_M = kept_TN.flatten().nonzero().squeeze(-1)
    return compressed(features, keep, tokens_TNC.flatten(0, 1)[places_M], places_M)
