"""Loading of Hugging Face folders that refuses what does not fit."""

from __future__ import annotations

from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedModel

from liteframe.errors import ConfigError


class StrictPreTrainedModel(PreTrainedModel):
    """A `PreTrainedModel` that is loaded whole or not at all; transformers itself prints a report and goes on."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As `PreTrainedModel.from_pretrained`, from safetensors only, and strict.

        Raises:
            ConfigError: no such folder or file, or a weight that is missing, unexpected or of another shape, by name.
        """
        source = pretrained_model_name_or_path
        with_info = kwargs.pop("output_loading_info", False)
        strict = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
        try:
            loaded: Any = super().from_pretrained(source, *args, **{**kwargs, **strict})
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{source}: no {cls.__name__} can be loaded from here: {error}") from error
        model, info = loaded
        wrong = [f"{kind.split('_')[0]}: {key}" for kind in ("missing_keys", "unexpected_keys") for key in info[kind]]
        wrong += [f"shape: {key} is {tuple(got)}, expected {tuple(want)}" for key, got, want in info["mismatched_keys"]]
        if wrong:
            raise ConfigError(f"{source}: weights do not fit {cls.__name__}; " + "; ".join(wrong))
        return (model, info) if with_info else model
