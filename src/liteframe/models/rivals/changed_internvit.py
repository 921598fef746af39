"""An InternVL's image encoder for methods that change what goes on inside."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from liteframe.models.teachers import InternVLTeacher


class ChangedInternVLTeacher(InternVLTeacher):
    """An `InternVLTeacher` that computes something else from the modules and settings of another.

    Args:
        teacher: shares its modules, which are not changed; its layer is the one that is read, its colours are those
            that frames are normalised by.
    """

    def __init__(self, teacher: InternVLTeacher) -> None:
        super().__init__(
            teacher.vision_tower, None, teacher.downsample_ratio, teacher.feature_layer, teacher.mean, teacher.std
        )

    @property
    def layers(self) -> Any:
        """Those up to the one that is read."""
        return self.vision_tower.encoder.layer[: self.layers_run]

    def last_norm(self, tokens_MNC: Tensor) -> Tensor:
        """The encoder's last norm, where its last layer is the one that is read."""
        return self.vision_tower.layernorm(tokens_MNC) if self.feature_layer == -1 else tokens_MNC


def attended(layer: Any, tokens_MNC: Tensor, bias: Tensor | None = None) -> Tensor:
    """Tokens after the attention of a layer and its residual.

    Args:
        layer: of the encoder.
        tokens_MNC: what goes into it.
        bias: what is added to the logits, or which of them count.
    """
    mixed_MNC, _ = layer.attention(layer.layernorm_before(tokens_MNC), attention_mask=bias)
    return layer.lambda_1 * mixed_MNC + tokens_MNC


def after_mlp(layer: Any, tokens_MNC: Tensor) -> Tensor:
    """Tokens after the MLP of a layer and its residual."""
    return layer.lambda_2 * layer.dropout(layer.mlp(layer.layernorm_after(tokens_MNC))) + tokens_MNC
