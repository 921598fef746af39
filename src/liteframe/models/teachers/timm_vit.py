"""Any vision transformer of timm as a teacher: ViT, DeiT, DINOv2 and v3, EVA, SigLIP, Perception Encoder and others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from liteframe.data.remote.file import is_url
from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Colour
from liteframe.errors import ConfigError, LiteFrameError
from liteframe.models.backbone import VisionTokens
from liteframe.models.finite import require_finite_module
from liteframe.models.folders.foreign_errors import one_line
from liteframe.models.folders.model_folder import CONFIG, SINGLE, local_folder, model_file, require_data_only
from liteframe.models.folders.strict import require_fitting_size
from liteframe.models.teachers.checkpoint import colour
from liteframe.models.teachers.geometry import TeacherGeometry
from liteframe.models.teachers.teacher import Teacher, TeacherSource
from liteframe.ops.saliency import attention_pool_query
from liteframe.system.own_folder import require_unchanged

_SOURCES = {"hf-hub": True, "hf_hub": True, "local-dir": False}
"""What timm knows before a colon: whether a hub id follows, or a folder."""


class TimmTeacher(Teacher):
    """A timm vision transformer: what `forward_features` gives, with its prefix tokens taken apart.

    Positions are interpolated to the size of the frames as timm does it, so the model must be made with
    ``dynamic_img_size=True``. Registers are left out.

    Args:
        model: of timm, with one grid of patches in all of its blocks.
        mean, std: of its pixels.

    Raises:
        ConfigError: not such a model.
    """

    def __init__(self, model: Any, mean: Colour = IMAGENET_MEAN, std: Colour = IMAGENET_STD) -> None:
        geometry = _geometry(model)
        super().__init__(model, geometry, mean, std, model.cls_token is not None, _pool_query(model))

    @classmethod
    def read(cls, source: str, attention: str | None) -> TimmTeacher:
        if attention not in (None, "eager", "sdpa"):
            raise ConfigError(f"attention is {attention!r}; a timm teacher takes eager, sdpa or null")
        model: Any = create_timm(source, pretrained=True)
        if attention is not None:
            for module in model.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = attention == "sdpa"
        return cls(model, *normalization(model))

    @classmethod
    def read_geometry(cls, source: str) -> TeacherGeometry:
        with torch.device("meta"):
            return _geometry(create_timm(source, pretrained=False))

    @property
    def attention(self) -> str | None:
        fused = any(getattr(module, "fused_attn", False) for module in self.tower.modules())
        return "sdpa" if fused else "eager"

    def encode(self, frames_BTCHW: Tensor, grid: tuple[int, int, int]) -> VisionTokens:
        """Dense tokens (B, T, H, W, C) of every frame; class tokens and pooling query where there are any."""
        model: Any = self.tower
        B, T = frames_BTCHW.shape[:2]
        features = model.forward_features(frames_BTCHW.flatten(0, 1))
        return VisionTokens(
            tokens_BTHWC=features[:, model.num_prefix_tokens :].reshape(B, *grid, -1),
            cls_BTC=features[:, 0].reshape(B, T, -1) if self.class_token else None,
            pool_query_C=self.pool_query_C,
        )


@dataclass
class TimmViT(TeacherSource):
    """A vision transformer of timm.

    Args:
        source: a timm name with a tag, such as vit_large_patch14_reg4_dinov2.lvd142m (its weights in timm's cache, or
            within reach); hf-hub:...; or a folder that timm wrote.
    """

    teacher = TimmTeacher
    source: str


def create_timm(source: str, pretrained: bool) -> Any:
    """A vision transformer of timm without its classifier, in float32.

    Args:
        source: a timm name; ``hf-hub:...``; a folder that timm wrote, or the ``model.safetensors`` in it.
        pretrained: with its weights, each of which has found its place.

    Raises:
        ConfigError: no such model, no weights within reach, or not a vision transformer.
    """
    import timm  # here, because it takes a second that no other teacher needs

    folder = _folder(source)
    name = f"local-dir:{folder}" if folder else source
    try:
        if folder and pretrained:
            require_unchanged(folder)
            require_fitting_size(lambda: timm.create_model(name, pretrained=False), folder)
        # With its own classifier, because timm looks past missing weights where that differs.
        model: Any = timm.create_model(name, pretrained=pretrained, dynamic_img_size=True)
    except LiteFrameError:
        raise
    except TypeError as error:
        raise ConfigError(f"{source}: not a timm vision transformer that takes frames of any size ({error})") from error
    except Exception as error:  # timm and the hub's client have no common base for "not there"
        raise ConfigError(
            f"{source}: timm cannot make this model ({one_line(error)}); give a name that `timm.list_pretrained` shows,"
            " with its weights within reach, or a folder with config.json and model.safetensors"
        ) from error
    if pretrained:
        require_finite_module(model, source)
    if hasattr(model, "reset_classifier"):
        model.reset_classifier(0)
    return model


def _folder(source: str) -> Path | None:
    """The folder on this machine that a source stands for, looked at; None for a name that timm knows.

    Raises:
        ConfigError: not a folder that timm wrote, or one that holds more than data.
    """
    prefix, _, place = source.partition(":")
    from_hub = _SOURCES.get(prefix.lower())
    path = Path(source if from_hub is None else place)
    if is_url(source):
        path = local_folder(source, [CONFIG, SINGLE])
    elif from_hub:
        # Asked of the hub itself, timm would take a pickle where there are no safetensors.
        path = local_folder(place, [CONFIG, SINGLE])
    elif os.path.isfile(path):
        if path.name != SINGLE or not (path.parent / CONFIG).is_file():
            raise ConfigError(
                f"{source}: not the {SINGLE} of a folder that timm wrote, with its {CONFIG}; give such a folder"
            )
        path = path.parent
    if not os.path.isdir(path):
        return None
    require_data_only(path)
    for name in (CONFIG, SINGLE):
        if model_file(path, name) is None:
            raise ConfigError(f"{source}: timm cannot make this model (no {name}); give a folder that timm wrote")
    return path


def _geometry(model: Any) -> TeacherGeometry:
    from timm.models import Eva, VisionTransformer

    if not isinstance(model, VisionTransformer | Eva):
        raise ConfigError(f"{type(model).__name__} is not a timm vision transformer of one grid of patches")
    if not model.dynamic_img_size:
        raise ConfigError(f"this {type(model).__name__} takes one size of frames; make it with dynamic_img_size=True")
    embed: Any = model.patch_embed
    rows, columns = embed.patch_size
    if rows != columns or embed.proj.in_channels != 3:
        raise ConfigError(
            f"{type(model).__name__} has patches of {rows} x {columns} pixels and {embed.proj.in_channels} colours;"
            " a teacher needs square patches of 3 colours"
        )
    size = embed.img_size
    return TeacherGeometry(model.embed_dim, rows, max(size) if size else None)


def normalization(model: Any) -> tuple[Colour, Colour]:
    """Mean and standard deviation of the pixels that a timm model was trained on."""
    from timm.data import resolve_model_data_config

    settings = resolve_model_data_config(model)
    return colour(settings["mean"]), colour(settings["std"])


def _pool_query(model: Any) -> Tensor | None:
    """Of an attention pooling over the patch tokens as they are; none where it looks at them in another form."""
    from timm.layers import AttentionPoolLatent

    pool = model.attn_pool
    if not isinstance(pool, AttentionPoolLatent) or pool.pos_embed is not None or pool.latent_len != 1:
        return None
    if not isinstance(pool.k_norm, nn.Identity):
        return None
    latent_C = pool.latent.detach().flatten()
    if isinstance(pool.q, nn.Linear):
        weight, bias = pool.q.weight.detach(), None if pool.q.bias is None else pool.q.bias.detach()
    else:
        weight, bias = torch.eye(len(latent_C), device=latent_C.device), None
    return attention_pool_query(latent_C, weight, bias, pool.kv.weight.detach().chunk(2)[0])
