"""Small models with random weights in the layout of published ones: shards with their index, processor, chat template.

A small model keeps every field of the published config (norms, biases, tied embeddings, grouped queries, experts, the
layer that is read, dtype) except for widths, depths and the size of frames.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, PretrainedConfig, Qwen2_5_VLConfig, SiglipConfig, VJEPA2Config

from liteframe.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from liteframe.errors import ConfigError
from liteframe.models.folders.model_folder import CONFIG, INDEX, SMALL_FILES, read_json_file
from liteframe.models.teachers import require_videoprism
from liteframe.models.video_llm.base_vlm_configs import published_base_vlms
from liteframe.tiny.models import internvl_processor, internvl_tokenizer

WIDTH, HEADS, LAYERS = 32, 4, 2
_ASSUMED_HOST = "internvl3-8b"
_SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}{{ '<video>\n' }}{% elif part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SMALL: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "embed_dim", "out_hidden_size", "projection_size", "pred_hidden_size"), WIDTH),
    **dict.fromkeys(("num_attention_heads", "num_heads", "pred_num_attention_heads"), HEADS),
    **dict.fromkeys(("num_hidden_layers", "depth", "max_window_layers", "pred_num_hidden_layers"), LAYERS),
    **dict.fromkeys(("num_spatial_layers", "num_temporal_layers", "num_auxiliary_layers"), LAYERS),
    **dict.fromkeys(("intermediate_size", "mlp_hidden_size"), 2 * WIDTH),
    "head_dim": WIDTH // HEADS,
    "moe_intermediate_size": WIDTH // 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
"""Fields of configs that are widths or depths, and what they are cut to."""


@dataclass(frozen=True)
class SmallModel:
    """A model that the rehearsal made.

    Attributes:
        folder: where it is.
        stands_for: folder, hub id or name of the model in whose place it is read.
        fields: those of the published config; what is not said there is the library's default.
        small_fields: those of its own.
        patch_size: side of a patch in pixels.
        known_from: where the published fields were read; "" where they are assumed.
        own_processor: whether tokenizer, processor and chat template are the published ones.
    """

    folder: Path
    stands_for: str
    fields: dict[str, Any]
    small_fields: dict[str, Any]
    patch_size: int
    known_from: str
    own_processor: bool


def small_side(side: int, multiple: int) -> int:
    """About a quarter of a side in pixels, at least two and a whole number of times `multiple`."""
    return multiple * max(2, round(side / 4 / multiple))


def folder_of(source: str) -> Path | None:
    """The folder with the config of a model that is on this machine, in the hub's cache too; None if it is not here."""
    if Path(source).is_dir():
        return Path(source)
    try:
        cached = try_to_load_from_cache(source, CONFIG)
    except ValueError:  # no hub id
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def is_base_vlm(source: str) -> bool:
    """Whether a text is a base VLM by itself: a folder of one, or a published one by its name or hub id."""
    if folder := folder_of(source):
        return (folder / CONFIG).is_file() and read_json_file(folder / CONFIG).get("model_type") == "internvl"
    return _published(source) is not None


def _published(source: str) -> Path | None:
    for name, path in published_base_vlms().items():
        if source.lower() in (name, str(read_json_file(path)["source"]).lower()):
            return path
    return None


def is_hub_id(source: str) -> bool:
    """Whether a text may be a model of the hub: OWNER/NAME."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None


def published_fields(source: str, family: str) -> tuple[dict[str, Any], str]:
    """Fields of the config of a model, and where they were read ("" where they are those of the family).

    Raises:
        ConfigError: no folder, and no hub id; or a VideoPrism, and a version of transformers that has none.
    """
    if family == "VideoPrism":
        require_videoprism(source)
    if folder := folder_of(source):
        return read_json_file(folder / CONFIG), str(folder)
    if path := _published(source):
        return _without_source(path), f"configs/hosts/{path.name}"
    if not is_hub_id(source):
        raise ConfigError(f"no model folder {source!r}; give a folder with config.json and safetensors, or a hub id")
    return _ASSUMED[family](), ""


def _without_source(path: Path) -> dict[str, Any]:
    return {name: value for name, value in read_json_file(path).items() if name != "source"}


_ASSUMED: dict[str, Callable[[], dict[str, Any]]] = {
    "InternVL": lambda: _without_source(published_base_vlms()[_ASSUMED_HOST]),
    "Siglip": lambda: {**SiglipConfig().to_dict(), "architectures": ["SiglipModel"]},
    "QwenVL": lambda: {**Qwen2_5_VLConfig().to_dict(), "architectures": ["Qwen2_5_VLForConditionalGeneration"]},
    "VJEPA2": lambda: {**VJEPA2Config().to_dict(), "architectures": ["VJEPA2Model"]},
    "VideoPrism": lambda: {
        **AutoConfig.for_model("videoprism_vision_model").to_dict(),
        "architectures": ["VideoPrismVisionModel"],
    },
}


def shrink(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields with every width and depth cut down, at any depth of the config."""
    small: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            small[name] = shrink(value)
        elif name in _SMALL and type(value) is int:
            small[name] = min(value, _SMALL[name])
        elif name == "layer_types" and isinstance(value, list):
            small[name] = value[:LAYERS]
        elif name == "fullatt_block_indexes":
            small[name] = [LAYERS - 1]
        else:
            small[name] = value
    _shrink_related(fields, small)
    return small


def _shrink_related(fields: Mapping[str, Any], small: dict[str, Any]) -> None:
    """Numbers that follow from others: groups of heads, layers up to the one that is read, whole patches."""
    heads, groups = fields.get("num_attention_heads"), fields.get("num_key_value_heads")
    if heads and groups:
        small["num_key_value_heads"] = HEADS if groups == heads else max(1, HEADS // 2)
    layer = fields.get("vision_feature_layer")
    if isinstance(layer, int) and isinstance(small.get("vision_config"), dict):
        small["vision_config"]["num_hidden_layers"] = max(LAYERS, abs(layer))
    patch = _patch_size(fields)
    for name in ("image_size", "crop_size"):
        size = fields.get(name)
        if isinstance(size, list) and patch is not None:
            steps = patch if isinstance(patch, list) else [patch] * len(size)
            small[name] = [small_side(side, 4 * step) for side, step in zip(size, steps, strict=True)]
        elif isinstance(size, int) and isinstance(patch, int):
            small[name] = small_side(size, 4 * patch)


def _patch_size(fields: Mapping[str, Any]) -> Any:
    """Side or sides of a patch; of a VideoPrism the last of its tubelet."""
    if "patch_size" in fields:
        return fields["patch_size"]
    tubelet = fields.get("tubelet_size")
    return tubelet[-1] if isinstance(tubelet, list | tuple) and tubelet else None


def make_small_model(source: str, family: str, folder: Path) -> SmallModel:
    """Writes the small model that stands for a published one.

    Args:
        source: folder or hub id of transformers' format.
        family: class of its `TeacherSource`, such as "InternVL".
        folder: to write; its parent exists.

    Raises:
        ConfigError: no such model, or a config that this version of transformers cannot build.
    """
    fields, known_from = published_fields(source, family)
    here = folder_of(source)
    has_processor = here is not None and any(here.glob("tokenizer*"))
    small = shrink(fields)
    processor = None
    if family == "InternVL" and not has_processor and "text_config" in small:
        processor = _processor(small)
    config = _config(small, source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _architecture(config, source)(config)
    model.to(config.dtype or torch.float32).save_pretrained(folder, max_shard_size="100KB")
    if processor is not None:
        processor.save_pretrained(folder)
    elif here is not None:
        _copy_small_files(here, folder)
    vision: Any = getattr(config, "vision_config", config)
    patch = _patch_size(vision.to_dict())
    side = patch if isinstance(patch, int) else patch[0]
    return SmallModel(folder, source, fields, small, side, known_from, has_processor)


def _config(fields: dict[str, Any], source: str) -> PretrainedConfig:
    try:
        return AutoConfig.for_model(**fields)
    except Exception as error:  # whatever transformers makes of fields that do not go together
        raise ConfigError(f"{source}: its config cannot be built ({error}); correct or download it again") from error


def _architecture(config: PretrainedConfig, source: str) -> Any:
    names = config.architectures or ["InternVLForConditionalGeneration"]
    if (architecture := getattr(transformers, names[0], None)) is None:
        raise ConfigError(f"{source}: transformers has no {names[0]}, which its config.json names in `architectures`")
    return architecture


def _copy_small_files(source: Path, folder: Path) -> None:
    """Tokenizer, processor, template and generation config as they are."""
    for path in sorted(path for pattern in SMALL_FILES for path in source.glob(pattern)):
        if path.name not in (CONFIG, INDEX) and not path.name.startswith("liteframe"):
            shutil.copyfile(path, folder / path.name)


def _processor(fields: dict[str, Any]) -> Any:
    """Byte-level tokens, the family's special ones and a ChatML template with role headers; `fields` follow."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({token: number for number, token in enumerate([*_SPECIAL, *alphabet])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(_SPECIAL)
    tokenizer = internvl_tokenizer(backend)
    fields["image_token_id"] = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    # More embeddings than tokens, as the published ones have.
    fields["text_config"] |= {"vocab_size": len(tokenizer) + 8, "bos_token_id": None}
    fields["text_config"] |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    vision = fields["vision_config"]
    patches = [side // patch for side, patch in zip(vision["image_size"], vision["patch_size"], strict=True)]
    fields["image_seq_length"] = round(patches[0] * patches[1] * fields["downsample_ratio"] ** 2)
    return internvl_processor(tokenizer, _CHATML, fields["image_seq_length"])


def make_small_timm(source: str, folder: Path, heads: int = HEADS, layers: int = LAYERS) -> SmallModel:
    """As `make_small_model`, of a vision transformer that timm knows by name, or of a folder that timm wrote."""
    import timm  # here, because it takes a second that no other model needs
    from timm.models import save_for_hf

    name, more, known_from = source, {}, "timm"
    if Path(source).is_dir():
        fields = read_json_file(Path(source) / CONFIG)
        name, more, known_from = str(fields.get("architecture")), dict(fields.get("model_args", {})), source
    sizes = {"embed_dim": WIDTH, "depth": layers, "num_heads": heads}
    try:
        with torch.device("meta"):
            real: Any = timm.create_model(name, pretrained=False, **more)
        patch = real.patch_embed.patch_size[0]
        sizes["img_size"] = small_side(max(real.patch_embed.img_size), 4 * patch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            small: Any = timm.create_model(name, pretrained=False, **{**more, **sizes})
    except Exception as error:  # timm has no base class of its errors
        raise ConfigError(f"{source}: timm cannot make this model ({error}); give a name that timm has") from error
    pixels = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    save_for_hf(small, str(folder), model_args={**more, **sizes}, safe_serialization=True, data_config=pixels)
    real_sizes = {
        "embed_dim": real.embed_dim,
        "depth": len(real.blocks),
        "num_heads": real.blocks[0].attn.num_heads,
        "img_size": max(real.patch_embed.img_size),
    }
    return SmallModel(folder, source, real_sizes, sizes, patch, known_from, False)
