"""ToMe inside the teacher: an InternVL's image encoder that merges tokens in every layer.

Source: Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023, arXiv 2210.09461); the official code is
CC-BY-NC, and this is written from the description, not copied. In each layer, between attention and MLP, bipartite soft
matching by the keys of that layer (mean over heads) merges a fixed number of tokens; attention is proportional, the log
of a key's size is added to its logits. Nothing is trained. The class token is kept out of the matching.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.models.internvl.modeling_internvl import InternVLVisionLayer

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.rivals.attention_probe import queries_and_keys
from liteframe.models.rivals.changed_internvit import ChangedInternVLTeacher, after_mlp, attended
from liteframe.models.teachers import InternVLTeacher
from liteframe.ops.compressors.official import Official
from liteframe.ops.token_merging import left_behind, match_tokens, merge_tokens, new_places, unmerge_tokens


def merges_to_leave(patches: int, left: int, layers: int) -> int:
    """The least tokens to merge in each layer so that at most `left` are left of a frame, at most half going in each.

    Raises:
        ConfigError: that many layers cannot leave so few.
    """
    for merges in range(patches + 1):
        if [patches, *left_behind(patches, merges, layers)][-1] <= left:
            return merges
    raise ConfigError(f"{layers} layers, each of which merges half at most, leave more than {left} of {patches} tokens")


@dataclass
class MergedTokens:
    """What is left of M frames' N patches.

    Attributes:
        tokens_BMC: with the class token in front, ``(frames, 1 + M, C)``.
        sizes_BM: patches that each stands for, the class token left out, float32; those of a frame sum to N.
        places_BN: which of the M tokens each patch went into.
    """

    tokens_BMC: Tensor
    sizes_BM: Tensor
    places_BN: Tensor


class ToMeTeacher(ChangedInternVLTeacher):
    """An `InternVLTeacher` whose layers merge tokens.

    Its tokens come back on the full grid, every patch with a copy of the token it went into, so that pixel shuffle and
    `WAP` work as they do behind the teacher; `merged` gives the few tokens themselves.

    Args:
        teacher: shares its modules.
        merges_per_layer: tokens that go in each layer; at most half of those that are left do.

    Raises:
        ConfigError: `merges_per_layer` below 0.
    """

    official = Official(
        "a frame",
        "it leaves 1/16 of a frame's patches and puts them back on the grid for WAP, so tokens become fewer twice;"
        " beside it stands one that leaves 1/4, which WAP's blocks take anyway",
        "of 1/16 the double reduction: 0.631 at 64 frames, with 1/4 left 0.841, WAP alone 0.828 (320 questions)",
    )
    """How it stands to its authors' code."""

    def __init__(self, teacher: InternVLTeacher, merges_per_layer: int) -> None:
        if merges_per_layer < 0:
            raise ConfigError(f"merges_per_layer is {merges_per_layer}; give 0 (no merging) or more")
        super().__init__(teacher)
        self.merges_per_layer = merges_per_layer

    @property
    def reduction(self) -> dict[str, Any]:
        """How tokens become fewer inside, for a record."""
        return {"inside": "tome", "merges_per_layer": self.merges_per_layer}

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "merges_per_layer": self.merges_per_layer}

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Tokens (B, T, H, W, C), those of merged patches alike, and class tokens (B, T, C) of every frame."""
        B, T = frames_BTCHW.shape[:2]
        merged = self.merged(frames_BTCHW.flatten(0, 1))
        tokens_BNC = unmerge_tokens(merged.tokens_BMC[:, 1:], merged.places_BN)
        return VisionTokens(
            tokens_BTHWC=tokens_BNC.reshape(B, *grid, -1),
            cls_BTC=merged.tokens_BMC[:, 0].reshape(B, T, -1),
        )

    @torch.no_grad()
    def merged(self, frames_BCHW: Tensor) -> MergedTokens:
        """The few tokens of frames that are normalised as this encoder's are."""
        tower: Any = self.vision_tower
        tokens_BNC = tower.embeddings(frames_BCHW)
        batch, count = tokens_BNC.shape[0], tokens_BNC.shape[1] - 1
        state = MergedTokens(
            tokens_BNC,
            torch.ones(batch, count, device=tokens_BNC.device),
            torch.arange(count, device=tokens_BNC.device).expand(batch, -1),
        )
        for layer in self.layers:
            state = merging_layer(layer, state, self.merges_per_layer)
        state.tokens_BMC = self.last_norm(state.tokens_BMC)
        return state


def merging_layer(layer: InternVLVisionLayer, state: MergedTokens, merges: int) -> MergedTokens:
    """One layer of the encoder with a merge between attention and MLP."""
    attention: Any = layer.attention
    with queries_and_keys(attention) as caught:
        tokens_BMC = attended(layer, state.tokens_BMC, _log_sizes(state))
    sizes_BM, places_BN = state.sizes_BM, state.places_BN
    if merges and sizes_BM.shape[1] > 1:
        keys_BMK = caught["k"][:, 1:].unflatten(-1, (attention.num_heads, -1)).mean(dim=-2, dtype=torch.float32)
        matching = match_tokens(keys_BMK, merges)
        places_BN = new_places(matching, sizes_BM.shape[1]).gather(1, places_BN)
        patches_BMC, sizes_BM = merge_tokens(matching, tokens_BMC[:, 1:], sizes_BM)
        tokens_BMC = torch.cat([tokens_BMC[:, :1], patches_BMC], dim=1)
    return MergedTokens(after_mlp(layer, tokens_BMC), sizes_BM, places_BN)


def _log_sizes(state: MergedTokens) -> Tensor | None:
    """What proportional attention adds to every row of the logits, ``(frames, 1, 1, 1 + M)``; None before a merge."""
    if state.sizes_BM.shape == state.places_BN.shape:
        return None
    cls_B1 = torch.ones_like(state.sizes_BM[:, :1])
    return torch.cat([cls_B1, state.sizes_BM], dim=1).log().to(state.tokens_BMC.dtype)[:, None, None]
