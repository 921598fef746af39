"""Loading of Hugging Face folders that takes nothing but data from them, and refuses what does not fit."""

from __future__ import annotations

from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from liteframe.errors import ConfigError
from liteframe.models.finite import require_finite_module
from liteframe.models.folders.foreign_errors import named_errors
from liteframe.models.folders.model_folder import (
    SMALL_FILES,
    local_folder,
    model_file,
    model_subfolder,
    require_data_only,
)
from liteframe.system.own_folder import drop_listing, require_unchanged

_HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only")
_ADVICE = "copy or download the folder again"
_MOST_TIMES, _FEW_NUMBERS, _FEW_TENSORS = 4, 10_000_000, 100


def open_folder(source: Any, kwargs: dict[str, Any], weights: bool) -> Path:
    """The folder on this machine that `from_pretrained` is asked for, its files looked at (see `require_data_only`).

    Args:
        source: folder or hub id.
        kwargs: of `from_pretrained`, of which the hub's options count.
        weights: whether its weights are wanted too.
    """
    options = {name: kwargs[name] for name in _HUB_OPTIONS if kwargs.get(name) is not None}
    names = [*SMALL_FILES, "*.safetensors"] if weights else SMALL_FILES
    folder = local_folder(str(source), names, **options)
    inner = kwargs.get("subfolder")
    require_data_only(model_subfolder(folder, inner) if inner else folder)
    return folder


class StrictPretrainedConfig(PretrainedConfig):
    """A `PretrainedConfig` that is read from data alone, and whose folder keeps no listing that is no longer true."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """As `PretrainedConfig.from_pretrained`. Raises ConfigError for what is not there or cannot be a config."""
        source = pretrained_model_name_or_path
        folder = open_folder(source, kwargs, weights=False)
        try:
            with named_errors(f"{source}: no {cls.__name__} can be read from here", _ADVICE):
                return super().from_pretrained(str(folder), **kwargs)
        except ConfigError as error:
            raise error if str(source) in str(error) else ConfigError(f"{source}: {error}") from error


class StrictPreTrainedModel(PreTrainedModel):
    """A `PreTrainedModel` that is loaded whole or not at all; transformers itself prints a report and goes on."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As `PreTrainedModel.from_pretrained`, from safetensors only, and strict.

        Raises:
            ConfigError: no such folder or file, a file that is no data, or has changed since liteframe wrote it, sizes
                that the weights do not have, or a weight that is missing, unexpected, of another shape, or not finite,
                by name.
        """
        source = pretrained_model_name_or_path
        folder = open_folder(source, kwargs, weights=True)
        where = folder / kwargs.get("subfolder", "")
        require_unchanged(folder)
        with_info = kwargs.pop("output_loading_info", False)
        strict = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
        with named_errors(f"{source}: no {cls.__name__} can be loaded from here", _ADVICE):
            config: Any = kwargs.get("config")
            if not isinstance(config, PretrainedConfig):
                known: Any = cls.config_class
                config = known.from_pretrained(where)
            require_fitting_size(lambda: cls(config), where)
            loaded: Any = super().from_pretrained(
                str(folder), *args, **{"trust_remote_code": False, **kwargs, **strict}
            )
        model, info = loaded
        wrong = [f"{kind.split('_')[0]}: {key}" for kind in ("missing_keys", "unexpected_keys") for key in info[kind]]
        wrong += [f"shape: {key} is {tuple(got)}, expected {tuple(want)}" for key, got, want in info["mismatched_keys"]]
        if wrong:
            raise ConfigError(f"{source}: weights do not fit {cls.__name__}; " + "; ".join(wrong))
        require_finite_module(model, str(source))
        return (model, info) if with_info else model

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As `PreTrainedModel.save_pretrained`; a listing of what the folder held before goes."""
        drop_listing(save_directory)
        super().save_pretrained(save_directory, *args, **kwargs)


def require_fitting_size(make: Any, folder: Path) -> None:
    """Compares what a model would take with what its safetensors hold, before memory is taken.

    Args:
        make: builds the model; it is called on `meta`.
        folder: of its weights.

    Raises:
        ConfigError: the config asks for several times as many numbers as there are.
    """
    with torch.device("meta"):
        model: nn.Module = make()
    parameters = list(model.parameters())
    headers = [_shapes(folder, path.name) for path in sorted(folder.glob("*.safetensors"))]
    for what, wanted, there, few in (
        ("numbers", sum(map(Tensor.numel, parameters)), sum(map(prod, chain(*headers))), _FEW_NUMBERS),
        ("tensors", len(parameters), sum(map(len, headers)), _FEW_TENSORS),
    ):
        if there and wanted > _MOST_TIMES * there + few:
            raise ConfigError(
                f"{folder}: config.json asks for {wanted:,} {what}, the safetensors hold {there:,}; the two are of"
                " different models"
            )


def _shapes(folder: Path, name: str) -> list[list[int]]:
    path = model_file(folder, name)
    if path is None:
        return []
    with safe_open(path, framework="pt") as file:
        return [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118 - the file is no dict
