"""Which stages a rehearsal's configs are of, and what the parser of `liteframe fit` makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from liteframe.command.code_names import ALLOW_CODE
from liteframe.command.configs import checked_config
from liteframe.command.lightning_cli import StageCLI, import_stages
from liteframe.command.quiet import quieten
from liteframe.errors import ConfigError
from liteframe.planning.build import change_words
from liteframe.stages.cache import CacheStage
from liteframe.stages.ctd import CTDStage
from liteframe.stages.evaluate import EvaluateStage
from liteframe.stages.lma import LMAStage
from liteframe.system.bounded_text import parse_yaml


@dataclass(frozen=True)
class Kind:
    """A kind of stage: its class, verb and shipped config."""

    name: str
    stage: type
    verb: str
    shipped: str


CACHE = Kind("cache", CacheStage, "predict", "cache.yaml")
CTD = Kind("ctd", CTDStage, "fit", "ctd.yaml")
LMA = Kind("lma", LMAStage, "fit", "lma.yaml")
EVALUATE = Kind("evaluate", EvaluateStage, "test", "eval.yaml")
CHAIN = (CACHE, CTD, LMA, EVALUATE)
"""In the order in which they run."""
_SOURCES = {CTD: "teacher", CACHE: "teacher", LMA: "host"}
_TARGETS = ("block", "similarity", "scale", "saliency", "target")
_OF_A_STAGE = {"model", "data"}


@dataclass(frozen=True)
class StageRun:
    """A stage that is rehearsed.

    Attributes:
        kind: of the stage.
        words: what follows its verb: configs by their paths, and changes.
        given: whether the user gave its config; else it is the shipped one, on the user's machine.
        settings: its parsed config.
    """

    kind: Kind
    words: tuple[str, ...]
    given: bool
    settings: dict[str, Any]

    @property
    def model(self) -> dict[str, Any]:
        """Settings of the stage."""
        return dict(self.settings["model"].get("init_args") or {})

    @property
    def data(self) -> dict[str, Any]:
        """Settings of the data."""
        return dict(self.settings["data"].get("init_args") or {})

    @property
    def trainer(self) -> dict[str, Any]:
        """Settings of the trainer."""
        return dict(self.settings["trainer"])


class _ParseOnly(StageCLI):
    """Parses as `liteframe fit` does, and makes nothing of it."""

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def parse(verb: str, words: Sequence[str]) -> dict[str, Any]:
    """The whole config that words make, defaults included, as plain values.

    Raises:
        SystemExit: they do not parse; jsonargparse has said why.
        ConfigError: a setting that no run can have.
    """
    import_stages()
    quieten()
    cli = _ParseOnly(verb, list(words))
    config: Any = parse_yaml(cli._parser(verb).dump(cli.config[verb], skip_unset=False), "the config")
    return dict(config)


def read_runs(configs: Sequence[str], changes: Sequence[str], allow_code: bool) -> list[StageRun]:
    """All stages of the chain: those that configs are of, and the others by their shipped configs.

    Args:
        configs: names or paths, as after `--config`; those of several stages one after the other.
        changes: KEY=VALUE words that come last; of the stages that no config is of, only those of the trainer.
        allow_code: whether they may name any class, as `--allow-code` of `liteframe fit` says.

    Raises:
        ConfigError: a config that is not found or of no such stage, or a change without a `=`.
        SystemExit: what does not parse; jsonargparse has said why.
    """
    paths = [checked_config(name) for name in configs]
    stages = _stages_of(paths)
    if not stages:
        raise ConfigError(
            f"--config {' '.join(configs)}: names no stage; give one that does, such as ctd.yaml, before it"
        )
    flags = [ALLOW_CODE] if allow_code else []
    runs = {kind: _run(kind, [*flags, *_config_words(stages[kind]), *change_words(changes)], True) for kind in stages}
    where = [path for path in paths if not _content(path).keys() & _OF_A_STAGE]
    machine = change_words([change for change in changes if change.startswith("trainer.")])
    for kind in CHAIN:
        if kind not in runs:
            words = [*flags, *_config_words([checked_config(kind.shipped), *where]), *machine]
            runs[kind] = _run(kind, [*words, *_followed(kind, runs)], False)
            if kind == CTD and "ModelParallelStrategy" in str(runs[kind].trainer.get("strategy")):  # which is LMA's
                runs[kind] = _run(kind, [*runs[kind].words, "--trainer.strategy=ddp"], False)
    return [runs[kind] for kind in CHAIN]


def _run(kind: Kind, words: list[str], given: bool) -> StageRun:
    return StageRun(kind, tuple(words), given, parse(kind.verb, words))


def _config_words(paths: Sequence[str]) -> list[str]:
    return [word for path in paths for word in ("--config", path)]


def _followed(kind: Kind, given: Mapping[Kind, StageRun]) -> list[str]:
    """Settings of a shipped stage that follow from the given ones: whose features, and what is made of them."""
    if kind == EVALUATE:
        return []
    sources = [given[of].model.get(name) for of, name in _SOURCES.items() if of in given]
    source = next((source for source in sources if source is not None), None)
    if kind == LMA and isinstance(source, dict):
        source = source["init_args"]["source"]
    followed = {} if source is None else {_SOURCES[kind]: source}
    of_targets = next((given[of].model for of in (CTD, CACHE) if of in given), {})
    if kind in (CACHE, CTD):
        followed |= {name: of_targets[name] for name in _TARGETS if of_targets.get(name) is not None}
    return [f"--model.{name}={_as_word(value)}" for name, value in followed.items()]


def _as_word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _content(path: str) -> dict[str, Any]:
    if "://" in path:
        return {}
    content: Any = parse_yaml(Path(path).read_text(encoding="utf-8"), path)
    return dict(content)


def _stages_of(paths: Sequence[str]) -> dict[Kind, list[str]]:
    """The configs of each kind of stage, in their order.

    One that names a stage, and what has settings of a model or of data after it, belong to that stage; what has neither
    (where it runs), or stands before the first stage, belongs to all.
    """
    owners: list[Kind | None] = []
    owner: Kind | None = None
    for path in paths:
        content = _content(path)
        model = content.get("model")
        named = model.get("class_path") if isinstance(model, dict) else model
        owner = _kind_of(str(named), path) if named else owner
        owners.append(owner if content.keys() & _OF_A_STAGE else None)
    kinds = [kind for kind in dict.fromkeys(owners) if kind is not None]
    return {kind: [path for path, of in zip(paths, owners, strict=True) if of in (kind, None)] for kind in kinds}


def _kind_of(class_path: str, path: str) -> Kind:
    module, _, name = class_path.rpartition(".")
    for kind in CHAIN:
        if name == kind.stage.__name__:
            return kind
    try:
        stage: Any = getattr(import_module(module), name) if module else None
    except (AttributeError, ImportError) as error:
        raise ConfigError(f"{path}: model.class_path {class_path}: {error}") from error
    for kind in CHAIN:
        if isinstance(stage, type) and issubclass(stage, kind.stage):
            return kind
    raise ConfigError(
        f"{path}: model.class_path {class_path} cannot be rehearsed; give a config of the cache, CTD, LMA or evaluation"
        " stage"
    )
