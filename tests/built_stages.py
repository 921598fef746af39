"""Stages built from their configs on `meta`, each once a session: parsing one takes a third of a second."""

from __future__ import annotations

from functools import cache

from liteframe.command.configs import resolve_config_args
from liteframe.command.lightning_cli import import_stages
from liteframe.planning.build import BuildOnly


@cache
def build_stage(verb: str, config: str, *words: str) -> BuildOnly:
    """What `liteframe VERB --config CONFIG WORDS` would build; shared, so nobody may change it."""
    import_stages()
    return BuildOnly(verb, resolve_config_args(["--config", config, *words]))
