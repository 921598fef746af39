"""Before the first step, the ranks of a run compare what they are about to do: they may have been started apart."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import liteframe
from liteframe.data.datamodule import VideoDataModule
from liteframe.errors import ConfigError
from liteframe.run_control.earlier_run import first_difference
from liteframe.run_control.redaction import redacted
from liteframe.run_control.run_inputs import inputs_of, names_videos
from liteframe.run_control.run_record import outputs_of
from liteframe.stages.distributed import gather_objects
from liteframe.system.checkpoint_io import seal_of
from liteframe.system.file_url import NotHere, without_file_url


class SameRun(Callback):
    """Refuses a run whose ranks have other settings, versions, lists of videos or checkpoints than the first of them.

    Each of that would go unnoticed: ranks would take samples twice, or other steps, or wait for each other at the end.
    Paths and credentials may differ between hosts; what lies there may not, as far as `facts_of` tells. The files of a
    host are read by its first rank. Of videos, names alone are compared.

    Args:
        config: gives the settings of this rank, as plain values.
    """

    def __init__(self, config: Callable[[], Mapping[str, Any]]) -> None:
        self._config = config

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size == 1:
            return
        versions = {"liteframe": liteframe.__version__, "torch": torch.__version__, "lightning": lightning.__version__}
        config, data = self._config(), trainer.datamodule  # type: ignore[attr-defined]
        mine = {
            "versions": versions,
            "settings": with_local_paths(redacted(config)),
            "checkpoint": _checkpoint(trainer),
            "data": data.order() if isinstance(data, VideoDataModule) else {},
            "inputs": _inputs(config, trainer, pl_module) if trainer.local_rank == 0 else {},
        }
        require_same(gather_objects((socket.gethostname(), mine)))


class LocalPath(str):
    """A path on this host: equal to itself as a text, and to every other path, as hosts keep files where they like."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalPath) or str.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


def require_same(ranks: list[tuple[str, dict[str, Any]]]) -> None:
    """Raises ConfigError for the first rank that differs from rank 0, with what differs; host and facts of each."""
    first_host, expected = ranks[0]
    for rank, (host, facts) in enumerate(ranks):
        told = "{name} is {before} on rank 0 (" + first_host + f") and {{now}} on rank {rank} ({host})"
        shared = {"inputs": _shared(expected, facts)}, {"inputs": _shared(facts, expected)}
        if difference := first_difference(expected | shared[0], facts | shared[1], told=told):
            raise ConfigError(
                f"the ranks would not run the same: {difference}; start all hosts with the same command, versions and"
                " files, and with a run folder that all of them see"
            )


def with_local_paths(value: Any) -> Any:
    """A config with `LocalPath` for what may be elsewhere on another host: absolute paths, and what is there."""
    if isinstance(value, Mapping):
        return {name: with_local_paths(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_local_paths(inner) for inner in value]
    return LocalPath(value) if isinstance(value, str) and _is_local(value) else value


def _is_local(text: str) -> bool:
    try:
        path = without_file_url(text)
    except NotHere:
        return False
    return os.path.isabs(path) or os.path.exists(path)


def _inputs(config: Mapping[str, Any], trainer: Trainer, stage: LightningModule) -> dict[str, dict[str, Any]]:
    """What tells the files, folders and models that this host reads; not the lists, whose rows are compared."""
    read = inputs_of({**config, "ckpt_path": trainer.ckpt_path}, outputs_of(stage))
    facts = {name: told for name, told in read if not names_videos(name)}
    return {name: {fact: value for fact, value in told.items() if fact != "path"} for name, told in facts.items()}


def _shared(facts: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Of the inputs, those that both know: a model of the hub may not be on each host yet."""
    names = {*others.get("inputs", {})}
    return {name: told for name, told in facts.get("inputs", {}).items() if name in names}


def _checkpoint(trainer: Trainer) -> str:
    path = trainer.ckpt_path
    if path is None:
        return "none"
    seal = seal_of(path) if os.path.isfile(path) else None
    return os.path.basename(path) if seal is None else f"{os.path.basename(path)} of sha256 {seal[:12].decode()}"
