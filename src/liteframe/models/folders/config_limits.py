"""Sizes that a model's config may name, checked before anything is built of them.

A `config.json` of a million layers or of a width of 10^9 makes libraries work, or take memory, without end.
"""

from __future__ import annotations

import math
import re
from typing import Any

from liteframe.errors import ConfigError

_SIZES: tuple[tuple[str, int], ...] = (
    (r"num_hidden_layers|num_layers|n_layers?|depth|max_window_layers|clip_frames|temporal_kernel", 256),
    (r"pred_num_hidden_layers|num_(spatial|temporal|auxiliary|pooler)_layers", 256),
    (r"(pred_)?num_(attention|key_value)_heads|num_heads|n_heads?|num_experts(_per_tok)?|num_local_experts", 4096),
    (r"num_channels|in_chann?els|in_chans|temporal_patch_size|tubelet_size|spatial_merge_size|tokens_per_second", 1024),
    (r"image_size|img_size|patch_size|crop_size|window_size", 4096),
    (r"(\w+_)?hidden_size|(\w*_)?intermediate_size|embed_dim|output_size|head_dim|(\w+_)?width|mlp_dim", 1 << 18),
    (r"num_(patches|positions|frames|classes)|image_seq_length|tokens_per_clip|frames_per_(clip|group)", 1 << 20),
    (r"vocab_size", 1 << 23),
    (r"max_position_embeddings", 1 << 30),
)
"""Names of fields, as whole-name patterns, and the most that each may be."""
_AT_LEAST = dict.fromkeys(
    ("max_window_layers", "window_size", "num_classes", "num_auxiliary_layers", "num_pooler_layers"), 0
)
_MOST = 1 << 53
_CODE = ("trust_remote_code", "transformers_weights", "quantization_config", "custom_generate", "kernel_config")
_KERNELS = {None, "auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"}
_DTYPES = {None, "auto", "float16", "bfloat16", "float32", "float64"}


def require_sane(fields: Any, where: str) -> None:
    """Refuses what a model's config should not hold, at every depth.

    Args:
        fields: of a JSON file.
        where: file, for messages.

    Raises:
        ConfigError: a size that is no whole number, or not from 1 to what models have; a number that is not finite; a
            field that makes libraries load code, other files or quantised weights.
    """
    if not isinstance(fields, dict):
        raise ConfigError(f"{where}: holds a {type(fields).__name__}, not the fields of a config; copy it again")
    _check(fields, where, "")


def _check(value: Any, where: str, path: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_field(name, inner, where, f"{path}.{name}" if path else name)
            _check(inner, where, f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner, where, path)
    elif isinstance(value, int | float) and (not math.isfinite(value) or abs(value) > _MOST):
        raise ConfigError(f"{where}: {path} is {_short(value)}, which no model has; copy the published file")


def _check_field(name: str, value: Any, where: str, path: str) -> None:
    # At the top, where libraries have a class of their own for the type, they leave it alone.
    if (name in _CODE or (name == "auto_map" and "." in path)) and value not in (None, False):
        raise ConfigError(f"{where}: {path} makes libraries load other things than this model's safetensors; remove it")
    if name.endswith(("attn_implementation", "experts_implementation")) or name == "_attn_implementation_internal":
        kernels = list(value.values()) if isinstance(value, dict) else [value]
        if any(isinstance(kernel, dict | list) or kernel not in _KERNELS for kernel in kernels):
            raise ConfigError(f"{where}: {path} is {_short(value)}, attention code from elsewhere; remove it")
    if name in ("dtype", "torch_dtype") and (isinstance(value, dict | list) or value not in _DTYPES):
        raise ConfigError(f"{where}: {path} is {_short(value)}; it can be float32, bfloat16 or float16")
    most = next((most for pattern, most in _SIZES if re.fullmatch(pattern, name)), None)
    if most is not None and value is not None and not isinstance(value, dict):
        least = _AT_LEAST.get(name, 1)
        for size in value if isinstance(value, list | tuple) else [value]:
            if isinstance(size, bool) or not isinstance(size, int) or not least <= size <= most:
                raise ConfigError(
                    f"{where}: {path} is {_short(value)}; it must be a whole number from {least} to {most:,}"
                )


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "an endless number"
    return text if len(text) <= 60 else text[:60] + "..."
