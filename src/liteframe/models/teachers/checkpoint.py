"""Reading a part of a model folder, or of a model on the hub: its config, its weights, its pixels' normalisation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import file_exists, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig
from transformers.utils import cached_file

from liteframe.errors import ConfigError

Colour = tuple[float, float, float]
"""A number for each of red, green and blue, on the 0 to 1 scale."""


def read_config(source: str) -> Any:
    """The config of a model folder or hub id.

    Raises:
        ConfigError: there is no such folder and no such model on the hub (or no hub), or its config is not readable.
    """
    if not Path(source).is_dir():
        _find_on_hub(source)
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        advice = "a repository whose code comes with it, as InternVL's first form does, has a twin that ends in -hf"
        raise ConfigError(f"{source}: no config.json of a model that transformers knows ({error}); {advice}") from error


def _find_on_hub(source: str) -> None:
    """The local cache, then one question, no retries: a machine without network gets its answer at once."""
    advice = "give a folder with config.json and safetensors, or a hub id that can be reached from here"
    try:
        found = try_to_load_from_cache(source, "config.json") is not None or file_exists(source, "config.json")
    except HFValidationError as error:
        raise ConfigError(f"no model folder {source!r}; {advice}") from error
    except Exception as error:  # the hub's client has no common base for "not reachable"
        raise ConfigError(f"no model folder {source!r}, and the hub cannot be asked for it; {advice}") from error
    if not found:
        raise ConfigError(f"no model folder {source!r}, and no such model on the hub; {advice}")


def weight_files(source: str, prefixes: tuple[str, ...] = ("",)) -> list[str]:
    """Paths of the safetensors of a model, of those only that hold tensors whose names contain one of the prefixes.

    Raises:
        ConfigError: there are none, or one that the index names is missing.
    """
    index = _find(source, "model.safetensors.index.json")
    single = None if index else _find(source, "model.safetensors")
    if index:
        weight_map = json.loads(Path(index).read_text())["weight_map"]
        wanted = {shard for name, shard in weight_map.items() if any(p in name for p in prefixes)}
        files = {shard: _find(source, shard) for shard in sorted(wanted)}
        missing = [shard for shard, path in files.items() if path is None]
        if missing:
            raise ConfigError(
                f"{source}: the shard {missing[0]} that the index names is missing; copy or download it again"
            )
        return [path for path in files.values() if path]
    if single:
        return [single]
    raise ConfigError(f"{source}: no model.safetensors and no model.safetensors.index.json; copy or download them")


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
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); copy or download it again") from error
    return tensors


def _find(source: str, name: str) -> str | None:
    if Path(source).is_dir():
        path = Path(source) / name
        return str(path) if path.is_file() else None
    return cached_file(source, name, _raise_exceptions_for_missing_entries=False)


def load_weights(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    wanted = module.state_dict()
    for name, tensor in tensors.items():
        if name in wanted and tensor.shape != wanted[name].shape:
            raise ConfigError(
                f"{source}: {name} of {type(module).__name__} has the shape {tuple(tensor.shape)}, its config says"
                f" {tuple(wanted[name].shape)}"
            )
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    for kind, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            raise ConfigError(f"{source}: {len(names)} {kind} weights in {type(module).__name__}, first {names[0]}")


def read_normalization(source: str, mean: Colour, std: Colour) -> tuple[Colour, Colour]:
    """Mean and standard deviation of pixels on the 0 to 1 scale, as a folder's image processor says.

    Args:
        source: folder or hub id.
        mean, std: the family's own, for a folder without a processor.

    Raises:
        ConfigError: the processor's file is not readable, or scales pixels to another range than 0 to 1 first.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = _find(source, name)
        if path is None:
            continue
        try:
            settings = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path}: not readable as JSON ({error}); copy or download it again") from error
        settings = settings.get("image_processor", settings)
        if not settings.get("do_normalize", True):
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        else:
            mean, std = colour(settings.get("image_mean", mean)), colour(settings.get("image_std", std))
        if not settings.get("do_rescale", True) or abs(settings.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
            raise ConfigError(f"{path}: only processors that scale pixels by 1/255 can be followed")
        break
    return mean, std


def colour(values: Any) -> Colour:
    """Three numbers, from three or from one for all."""
    three = [float(value) for value in (values if isinstance(values, list | tuple) else [values] * 3)]
    return (three[0], three[1], three[2])
