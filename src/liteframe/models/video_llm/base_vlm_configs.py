"""The InternVL family: its published sizes, as configs that need no hub, and what tells a base VLM of it."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import InternVLConfig

from liteframe.command.configs import shipped_configs
from liteframe.errors import ConfigError
from liteframe.models.teachers import read_config


@lru_cache
def published_base_vlms() -> dict[str, Path]:
    """Name -> file of every published size that ships with liteframe (``configs/hosts``), such as ``internvl3-8b``."""
    return {path.stem: path for path in sorted((shipped_configs() / "hosts").glob("*.json"))}


def base_vlm_config(source: str) -> InternVLConfig:
    """The config of a base VLM, for planning: sizes and nothing else are asked of it.

    Args:
        source: a folder in transformers' format; a published size by its name or its hub id, for which no network is
            needed; or another hub id.

    Raises:
        ConfigError: nothing there, or another family.
    """
    if not os.path.isdir(source):
        for name, path in published_base_vlms().items():
            fields = json.loads(path.read_text(encoding="utf-8"))
            if source.lower() in (name, fields.pop("source").lower()):
                return InternVLConfig.from_dict(fields)
    return require_internvl(read_config(source), source)


def require_internvl(config: Any, source: str) -> InternVLConfig:
    """The same config if it is a base VLM of the family; else ConfigError, naming what it is.

    Plans, measurements at real size, compressors between encoder and LLM, and pretraining are of this family alone.
    """
    if not isinstance(config, InternVLConfig):
        raise ConfigError(
            f"{source}: model_type {config.model_type!r} is not a base VLM of the InternVL family, which alone this can"
            " be had of; give InternVL3 or InternVL3.5 in transformers' format, such as OpenGVLab/InternVL3-8B-hf"
        )
    return config
