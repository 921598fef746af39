"""Reading a part of a model folder, or of a model on the hub: its config, its weights, its pixels' normalisation."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Literal, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig

from liteframe.data.transforms import Colour
from liteframe.errors import ConfigError
from liteframe.models.finite import require_finite
from liteframe.models.folders.foreign_errors import named_errors, one_line
from liteframe.models.folders.model_folder import (
    CONFIG,
    INDEX,
    SINGLE,
    SMALL_FILES,
    local_folder,
    model_file,
    read_json_file,
    require_data_only,
    shards,
)
from liteframe.system.own_folder import require_unchanged

Module = TypeVar("Module", bound=nn.Module)


def read_config(source: str) -> Any:
    """The config of a model folder or hub id.

    Raises:
        ConfigError: there is no such folder and no such model on the hub (or no hub), or its config is not readable.
    """
    folder = local_folder(source)
    require_data_only(folder)
    if model_file(folder, CONFIG) is None:
        raise ConfigError(f"{source}: no config.json of a model that transformers knows; {_TWIN}")
    with named_errors(f"{source}: no config.json of a model that transformers knows", _TWIN):
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)


_TWIN = "a repository whose code comes with it, as InternVL's first form does, has a twin that ends in -hf"


def weight_files(source: str, prefixes: tuple[str, ...] = ("",)) -> list[str]:
    """Paths of the safetensors of a model, of those only that hold tensors whose names contain one of the prefixes.

    Raises:
        ConfigError: there are none, one that the index names is missing or lies outside of the folder, or, where
            liteframe wrote the folder, a file that has changed since.
    """
    folder = local_folder(source)
    if model_file(folder, INDEX) is not None:
        wanted = {shard for name, shard in shards(folder).items() if any(p in name for p in prefixes)}
    else:
        wanted = {SINGLE}
    folder = local_folder(source, [*SMALL_FILES, *wanted])
    require_unchanged(folder)
    files = {shard: model_file(folder, shard) for shard in sorted(wanted)}
    missing = [shard for shard, path in files.items() if path is None]
    if missing == [SINGLE]:
        raise ConfigError(f"{source}: no {SINGLE} and no {INDEX}; copy or download them")
    if missing:
        raise ConfigError(
            f"{source}: the shard {missing[0]} that the index names is missing; copy or download it again"
        )
    return [str(path) for path in files.values()]


def read_tensors(source: str, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors whose names contain one of the prefixes, keyed from the prefix on (older files put `model.` before)."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(source, prefixes):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - the file is no dict, and cannot be iterated
                    for prefix in prefixes:
                        at = name.find(prefix)
                        if at >= 0:
                            tensors[name[at:]] = file.get_tensor(name)
                            break
        except Exception as error:  # of safetensors, of torch for a kind of number, of the file system
            raise ConfigError(f"{path}: cannot be read ({one_line(error)}); copy or download it again") from error
    require_finite(tensors, source)
    return tensors


def build(make: Callable[[], Module], tensors: dict[str, Tensor], source: str) -> Module:
    """A module with these weights.

    Made on `meta` first, so that a config that asks for more than its weights hold takes no memory.

    Raises:
        ConfigError: the config cannot be built, or a weight is missing, unexpected or of another shape.
    """
    with named_errors(f"{source}: {CONFIG} cannot be built", "copy or download it again"):
        with torch.device("meta"):
            planned = make()
        _require_fit(planned, tensors, source)
        module = make()
        module.load_state_dict(tensors)
    return module


def _require_fit(planned: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    wanted, kind = planned.state_dict(), type(planned).__name__
    for name, tensor in tensors.items():
        if name in wanted and tensor.shape != wanted[name].shape:
            raise ConfigError(
                f"{source}: {name} of {kind} has the shape {tuple(tensor.shape)}, its config says"
                f" {tuple(wanted[name].shape)}"
            )
    for problem, names in (("missing", wanted.keys() - tensors.keys()), ("unexpected", tensors.keys() - wanted.keys())):
        if names:
            raise ConfigError(f"{source}: {len(names)} {problem} weights in {kind}, first {min(names)}")


Processor = Literal["image_processor", "video_processor"]
_PROCESSOR_FILES: dict[Processor, tuple[str, ...]] = {
    "image_processor": ("processor_config.json", "preprocessor_config.json"),
    "video_processor": ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json"),
}
"""Where transformers looks for the settings of a processor, in this order; the first may hold those of others alone."""


def read_normalization(
    source: str, mean: Colour, std: Colour, processor: Processor = "image_processor"
) -> tuple[Colour, Colour]:
    """Mean and standard deviation of pixels on the 0 to 1 scale, as a folder's processor says.

    Args:
        source: folder or hub id.
        mean, std: the family's own, for a folder without a processor.
        processor: of images or of videos.

    Raises:
        ConfigError: the processor's file is not readable, or scales pixels to another range than 0 to 1 first.
    """
    folder = local_folder(source)
    for name in _PROCESSOR_FILES[processor]:
        path = model_file(folder, name)
        if path is None:
            continue
        settings = read_json_file(path)
        if name == "processor_config.json" and processor not in settings:
            continue
        settings = settings.get(processor, settings)
        with named_errors(f"{path}: its normalisation cannot be read", "copy or download it again"):
            if not settings.get("do_normalize", True):
                mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
            else:
                mean, std = colour(settings.get("image_mean", mean)), colour(settings.get("image_std", std))
            rescaled = settings.get("do_rescale", True)
            if not rescaled or abs(settings.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
                raise ConfigError(f"{path}: only processors that scale pixels by 1/255 can be followed")
        if not all(isfinite(value) for value in mean) or not all(isfinite(value) and value > 0 for value in std):
            raise ConfigError(f"{path}: image_mean is {mean}, image_std {std}; copy or download it again")
        break
    return mean, std


def colour(values: Any) -> Colour:
    """The values of three colour channels: three numbers as they are, or one number for all three."""
    three = [float(value) for value in (values if isinstance(values, list | tuple) else [values] * 3)]
    return (three[0], three[1], three[2])
