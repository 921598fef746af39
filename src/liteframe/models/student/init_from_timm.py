"""Starts the student from the weights of a timm vision transformer; a weight that maps to nothing is an error."""

from __future__ import annotations

import re
from typing import Any

import torch
from timm.layers import GELU, GELUTanh, PatchEmbed, resample_patch_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from liteframe.errors import ConfigError
from liteframe.models.student.encoder import LiteFrameEncoder
from liteframe.models.student.vit import resize_positions
from liteframe.models.teachers.timm_vit import create_timm, normalization

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

_NOT_OURS = re.compile(r"cls_token|reg_token|(head|attn_pool|fc_norm)\..*")
"""What the student has no use for by design: it has no class or register tokens, no pooling and no classifier."""


def load_timm_weights(
    encoder: LiteFrameEncoder, timm_model_or_name: VisionTransformer | str, pretrained: bool = False
) -> list[str]:
    """Copy a timm ViT's weights into the encoder, in place.

    Positions are interpolated to the encoder's grid, and patch embeddings resampled to its patch size (FlexiViT,
    arXiv 2212.08013, section 3.4); a tubelet takes the mean of its frames' embeddings (ViViT, arXiv 2103.15691,
    section 3.4). Class and register tokens (with their positions), pooling and classifier are left out. LayerScale is
    folded in, and so are the ViT's own mean and deviation of pixels: the encoder is given frames that are normalised as
    ImageNet is.

    Args:
        encoder: what to start; its width, heads and MLP must be the ViT's, and it needs as many blocks.
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
    weights |= _patch_embedding(encoder, source)
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
    patches: Any = source.patch_embed
    if type(patches) is not PatchEmbed:
        raise ConfigError(f"the timm model makes tokens by {type(patches).__name__}, the encoder by one convolution")
    if config.early_hidden_sizes is not None:
        raise ConfigError(
            "early_hidden_sizes: blocks of several widths have no timm model to start from; set model.timm_weights to"
            " null"
        )
    if patches.proj.in_channels != config.num_channels:
        raise ConfigError(f"num_channels is {config.num_channels}, the timm model has {patches.proj.in_channels}")
    for depth, block in enumerate(source.blocks):
        if type(block) is not Block:  # others have weights of the same names, and norms or sums elsewhere
            raise ConfigError(
                f"the timm model's block {depth} is a {type(block).__name__}, the encoder's a pre-norm Block"
            )
        parts: dict[str, nn.Module] = dict(block.named_modules())
        heads = getattr(parts.get("attn"), "num_heads", None)
        if heads != config.num_attention_heads:
            raise ConfigError(f"num_attention_heads is {config.num_attention_heads}, timm's block {depth} has {heads}")
        activation = parts.get("mlp.act")
        if not isinstance(activation, (nn.GELU, GELU, GELUTanh)):  # by tanh it differs by less than 1e-3
            raise ConfigError(f"the timm model's block {depth} uses {activation}, the encoder GELU")
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


def _patch_embedding(encoder: LiteFrameEncoder, source: VisionTransformer) -> dict[str, Tensor]:
    """The ViT's patch projection for patches of the encoder's size, of pixels that are normalised as the encoder's.

    With one pixel (x * s + m) of the frame, x in the encoder's units, the ViT sees (x * s + m - m') / s'.
    """
    projection: Any = source.patch_embed.proj
    weight_OIHW = projection.weight.detach().float()
    side = encoder.config.patch_size
    if weight_OIHW.shape[2:] != (side, side):
        weight_OIHW = resample_patch_embed(weight_OIHW, [side, side])
    mean, std = (torch.tensor(colour) for colour in normalization(source))
    own_mean, own_std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    bias_O = weight_OIHW.sum(dim=(2, 3)) @ ((own_mean - mean) / std)
    if projection.bias is not None:
        bias_O = bias_O + projection.bias.detach()
    weight_OIHW = weight_OIHW * (own_std / std)[:, None, None]
    frames = encoder.config.tubelet_frames
    return {
        "patch_embed.proj.weight": weight_OIHW.repeat(1, frames, 1, 1) / frames,
        "patch_embed.proj.bias": bias_O,
    }


def _positions(encoder: LiteFrameEncoder, source: VisionTransformer, position_1NC: Tensor) -> Tensor:
    """The ViT's patch positions on the encoder's grid."""
    grid = source.patch_embed.grid_size
    if grid is None:
        raise ConfigError("the timm model was built without img_size: its positions have no grid to read")
    prefix = position_1NC.shape[1] - grid[0] * grid[1]
    if prefix not in (0, source.num_prefix_tokens):
        raise ConfigError(f"pos_embed of shape {tuple(position_1NC.shape)} does not fit the grid {grid}")
    return resize_positions(position_1NC[:, prefix:], (grid[0], grid[1]), encoder.patch_embedding.grid)
