"""`adapter_config.json` of a LoRA adapter: the few fields that say what it computes, nothing that peft would follow.

Given the whole file, peft imports modules that it names and matches its regular expressions with every layer's name.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liteframe.errors import ConfigError
from liteframe.models.folders.model_folder import read_json_file

if TYPE_CHECKING:
    from peft import LoraConfig

_NAME = re.compile(r"[A-Za-z_][\w.]{0,199}")
_MOST_RANK, _MOST_TARGETS = 4096, 1000
_SWITCHES = ("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out")
_READ = ("peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "bias", *_SWITCHES)
_NOT_READ = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "megatron_core", "peft_version", "revision"),
    *("task_type", "qalora_group_size", "runtime_config"),
    # How training began, which is over.
    *("init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
}
"""What loading has no use for."""


def read_adapter_config(path: Path) -> LoraConfig:
    """The LoRA settings of a file.

    Raises:
        ConfigError: not readable, another kind of adapter, a field of the wrong kind or size, or one that would change
            what the adapter computes and that liteframe's adapters do not have.
    """
    fields = read_json_file(path)
    if fields.get("peft_type") != "LORA":
        raise ConfigError(f"{path}: peft_type is {fields.get('peft_type')!r}; only LORA adapters can be put on")
    for name, value in fields.items():
        if name not in _READ and name not in _NOT_READ and value not in (None, False, {}, [], ""):
            raise ConfigError(f"{path}: {name} is set, which the adapters of liteframe do not have; export it again")
    if fields.get("bias", "none") != "none":
        raise ConfigError(f"{path}: bias is {fields['bias']!r}; only 'none' can be read")
    switches = {name: fields[name] for name in _SWITCHES if fields.get(name) is not None}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{path}: {name} is {value!r}; it must be true or false")
    rank, alpha = fields.get("r"), fields.get("lora_alpha")
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= _MOST_RANK:
        raise ConfigError(f"{path}: r is {str(rank)[:40]}; it must be a whole number from 1 to {_MOST_RANK}")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not (math.isfinite(alpha) and 0 < alpha <= 1e6):
        raise ConfigError(f"{path}: lora_alpha is {str(alpha)[:40]}; it must be a number above 0")
    settings: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "lora_dropout": _dropout(fields, path), **switches}
    from peft import LoraConfig

    return LoraConfig(target_modules=_targets(fields.get("target_modules"), path), inference_mode=True, **settings)


def _dropout(fields: dict[str, Any], path: Path) -> float:
    dropout = fields.get("lora_dropout", 0.0)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
        raise ConfigError(f"{path}: lora_dropout is {str(dropout)[:40]}; it must be a number from 0 to 1")
    return float(dropout)


def _targets(value: Any, path: Path) -> list[str] | str:
    """Peft takes a text, and each name of a pattern, as a regular expression; here they are names."""
    if value == "all-linear":
        return str(value)
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not 1 <= len(names) <= _MOST_TARGETS:
        raise ConfigError(f"{path}: target_modules must be a list of names of layers, at most {_MOST_TARGETS}")
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"{path}: target_modules holds {str(name)[:60]!r}, which is no plain name of a layer")
    return list(names)
