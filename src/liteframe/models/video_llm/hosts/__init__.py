"""Families of base VLMs, all by one interface (`Host`), chosen by the `model_type` of a config."""

from __future__ import annotations

from typing import Any

from liteframe.errors import ConfigError
from liteframe.models.video_llm.hosts.host import Groups, Host, Line, Wording, count_of, seconds_of_groups
from liteframe.models.video_llm.hosts.internvl import InternVLHost
from liteframe.models.video_llm.hosts.llava_onevision import LlavaOnevisionHost
from liteframe.models.video_llm.hosts.qwen3_vl import Qwen3VLHost

INTERNVL = InternVLHost()
HOSTS: dict[str, Host] = {host.model_type: host for host in (INTERNVL, Qwen3VLHost(), LlavaOnevisionHost())}
"""By `model_type`."""


def host_of(config: Any, source: str) -> Host:
    """The family that a config is of.

    Raises:
        ConfigError: none that can be a base VLM here; names those that can.
    """
    host = HOSTS.get(config.model_type)
    if host is None or not isinstance(config, host.config_class):
        *others, last = (each.name for each in HOSTS.values())
        raise ConfigError(
            f"{source}: model_type {config.model_type!r} is not a base VLM of the families"
            f" {', '.join(others)} and {last} ({', '.join(HOSTS)}); give one in transformers' format, such as"
            f" {', '.join(each.example for each in HOSTS.values())}{_why_not(config.model_type)}"
        )
    return host


def _why_not(model_type: str) -> str:
    return ". Qwen3-VLs with mixtures of experts are not read" if model_type == "qwen3_vl_moe" else ""


__all__ = [
    "HOSTS",
    "INTERNVL",
    "Groups",
    "Host",
    "Line",
    "Wording",
    "count_of",
    "host_of",
    "seconds_of_groups",
]
