"""What post-hoc compressors ask of the encoder's last layer, without another attention implementation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from liteframe.errors import ConfigError
from liteframe.models.backbone import VisionTokens
from liteframe.models.teachers import InternVLTeacher


class AttentionProbe(nn.Module):
    """An InternVL's image encoder that also gives the keys and the class token's attention of its last layer.

    The layer runs with the attention implementation that it has; queries and keys are caught on their way there, and
    one row of the attention, the class token's, is computed from them once more.

    Args:
        teacher: shares its modules.
    """

    frame_wise = True

    def __init__(self, teacher: InternVLTeacher) -> None:
        super().__init__()
        if not teacher.layers_run:
            raise ConfigError(
                "vision_feature_layer names the embeddings, which no layer attends to; take another method"
            )
        self.teacher = teacher

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels that frames are best resized to."""
        return self.teacher.image_size

    @property
    def heads(self) -> int:
        """Of the encoder's attention."""
        tower: Any = self.teacher.vision_tower
        return tower.config.num_attention_heads

    @torch.no_grad()
    def forward(self, frames_BTCHW: Tensor) -> VisionTokens:
        """As the teacher's, with `keys_BTHWK` and `cls_attention_BTHW`."""
        tower: Any = self.teacher.vision_tower
        attention = tower.encoder.layer[self.teacher.layers_run - 1].attention
        with queries_and_keys(attention) as caught:
            vision = self.teacher(frames_BTCHW)
        grid = vision.tokens_BTHWC.shape[:-1]
        return replace(
            vision,
            keys_BTHWK=caught["k"][:, 1:].reshape(*grid, -1),
            cls_attention_BTHW=class_attention(attention, caught).reshape(grid),
        )


@contextmanager
def queries_and_keys(attention: Any) -> Iterator[dict[str, Tensor]]:
    """Queries "q" and keys "k" of the next call of an encoder layer's attention, heads concatenated, (M, 1 + N, K)."""
    caught: dict[str, Tensor] = {}
    hooks = [
        # The norms are where queries and keys are whole; without norms they are identities in the same place.
        getattr(attention, f"{name}_norm").register_forward_hook(
            lambda _module, _inputs, output, name=name: caught.__setitem__(name, output)
        )
        for name in ("q", "k")
    ]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()


def class_attention(attention: Any, caught: dict[str, Tensor]) -> Tensor:
    """Attention that the class token pays to each of N patches, mean over heads: (M, N) in float32.

    Args:
        attention: an encoder layer's.
        caught: see `queries_and_keys`.
    """
    return attention_row(caught["q"][:, 0], caught["k"], attention.num_heads, attention.scale)[:, 1:]


def attention_row(query_MK: Tensor, keys_MNK: Tensor, heads: int, scale: float) -> Tensor:
    """Attention that one query pays to N keys, mean over heads: (M, N) in float32.

    Args:
        query_MK: heads concatenated.
        keys_MNK: heads concatenated; of fewer heads where several query heads share one.
        heads: of the query.
        scale: of the dot product.
    """
    width = query_MK.shape[-1] // heads
    shared = heads * width // keys_MNK.shape[-1]
    query_MHJK = query_MK.unflatten(-1, (heads // shared, shared, width))
    keys_MNHK = keys_MNK.unflatten(-1, (heads // shared, width))
    # Products of the kernel's own dtype; their softmax in float32, as in the kernel.
    logits_MHJN = torch.einsum("mhjk,mnhk->mhjn", query_MHJK, keys_MNHK).float() * scale
    return logits_MHJN.softmax(dim=-1).mean(dim=(1, 2))
