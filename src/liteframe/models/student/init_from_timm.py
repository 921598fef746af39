"""Starts the student from the weights of a timm vision transformer; a weight that maps to nothing is an error."""

from __future__ import annotations

import re
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.student.vit import resize_positions
from liteframe.models.teachers.timm_vit import create_timm

_BLOCK = r"blocks\.(\d+)\."
_MAP = (
    (r"patch_embed\.proj\.(weight|bias)", r"patch_embedding.projection.\1"),
    (r"pos_embed", r"patch_embedding.position"),
    (_BLOCK + r"(norm1|norm2|attn\.qkv|attn\.proj)\.(weight|bias)", r"blocks.\1.\2.\3"),
    (_BLOCK + r"mlp\.(fc1|fc2)\.(weight|bias)", r"blocks.\1.\2.\3"),
    (r"norm\.(weight|bias)", r"norm.\1"),
)
"""timm's name to ours, as whole-name patterns."""

_SCALES = {"ls1": "attn.proj", "ls2": "mlp.fc2"}
"""LayerScale is folded into the layer in front of it, which changes nothing."""

_NOT_OURS = re.compile(r"cls_token|reg_token|head\..*")
"""What the student has no use for by design: it has no class or register tokens and no classifier."""


def load_timm_weights(
    encoder: LiteFrameEncoder, timm_model_or_name: VisionTransformer | str, pretrained: bool = False
) -> list[str]:
    """Copy a timm ViT's weights into the encoder, in place; positions are interpolated to the encoder's grid.

    Class and register tokens (with their positions) and the classifier are left out; LayerScale is folded in.

    Args:
        encoder: what to start; its width, heads, MLP and patch size must be the ViT's, and it needs as many blocks.
        timm_model_or_name: a timm ``VisionTransformer``, the name of one, or a folder that timm wrote (or the weights
            in it).
        pretrained: for a name, whether timm loads its published weights (they must be in timm's cache, or
            within reach); for a folder, whether its weights are read.

    Returns:
        Names of the encoder's weights that were left as they are: temporal mixers, strided convolutions, the head.

    Raises:
        ConfigError: no such model, not a plain ViT, settings that differ, or a weight that no parameter of its shape
            takes, by name.
    """
    source: Any = timm_model_or_name
    if isinstance(source, str):
        source = create_timm(source, pretrained)
    if not isinstance(source, VisionTransformer):
        raise ConfigError(f"{type(source).__name__} is not a timm VisionTransformer; only plain ViTs have a weight map")
    _check_settings(encoder, source)

    weights = _fold_scales({key: value.detach() for key, value in source.state_dict().items()})
    if "pos_embed" in weights:
        weights["pos_embed"] = _positions(encoder, source, weights["pos_embed"])
    targets = encoder.state_dict()
    copies: dict[str, Tensor] = {}
    homeless: list[str] = []
    for key, value in weights.items():
        if _NOT_OURS.fullmatch(key):
            continue
        name = next((re.sub(pattern, ours, key) for pattern, ours in _MAP if re.fullmatch(pattern, key)), None)
        if name is None or name not in targets:
            homeless.append(f"{key} fits no parameter of the encoder")
        elif targets[name].shape != value.shape:
            homeless.append(f"{key} has shape {tuple(value.shape)}, {name} takes {tuple(targets[name].shape)}")
        else:
            copies[name] = value
    if homeless:
        raise ConfigError("timm weights do not fit the encoder: " + "; ".join(homeless))
    with torch.no_grad():
        for name, value in copies.items():
            targets[name].copy_(value)
    return [name for name in targets if name not in copies]


def _check_settings(encoder: LiteFrameEncoder, source: VisionTransformer) -> None:
    """Settings that leave no trace in the weights' shapes but change what they compute."""
    config = encoder.config
    if len(source.blocks) != config.num_hidden_layers:
        raise ConfigError(f"num_hidden_layers is {config.num_hidden_layers}, the timm model has {len(source.blocks)}")
    for depth, block in enumerate(source.blocks):
        parts: dict[str, nn.Module] = dict(block.named_modules())
        heads = getattr(parts.get("attn"), "num_heads", None)
        if heads != config.num_attention_heads:
            raise ConfigError(f"num_attention_heads is {config.num_attention_heads}, timm's block {depth} has {heads}")
        activation = parts.get("mlp.act")
        if not isinstance(activation, nn.GELU) or activation.approximate != "none":
            raise ConfigError(f"the timm model's block {depth} uses {activation}, the encoder the exact GELU")
        eps = getattr(parts.get("norm1"), "eps", None)
        if not isinstance(parts.get("norm1"), nn.LayerNorm) or eps != config.layer_norm_eps:
            raise ConfigError(f"layer_norm_eps is {config.layer_norm_eps}, the timm model's block {depth} has {eps}")


def _fold_scales(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    folded = dict(weights)
    for key in weights:
        if match := re.fullmatch(_BLOCK + r"(ls1|ls2)\.gamma", key):
            scale = folded.pop(key)
            layer = f"blocks.{match[1]}.{_SCALES[match[2]]}"
            folded[f"{layer}.weight"] = folded[f"{layer}.weight"] * scale[:, None]
            if f"{layer}.bias" in folded:
                folded[f"{layer}.bias"] = folded[f"{layer}.bias"] * scale
    return folded


def _positions(encoder: LiteFrameEncoder, source: VisionTransformer, position_1NC: Tensor) -> Tensor:
    """The ViT's patch positions on the encoder's grid."""
    grid = source.patch_embed.grid_size
    if grid is None:
        raise ConfigError("the timm model was built without img_size: its positions have no grid to read")
    prefix = position_1NC.shape[1] - grid[0] * grid[1]
    if prefix not in (0, source.num_prefix_tokens):
        raise ConfigError(f"pos_embed of shape {tuple(position_1NC.shape)} does not fit the grid {grid}")
    return resize_positions(position_1NC[:, prefix:], (grid[0], grid[1]), encoder.patch_embedding.grid)
