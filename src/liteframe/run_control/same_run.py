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
from liteframe.stages.distributed import gather_objects
from liteframe.system.checkpoint_io import seal_of

_PATH = "a path"


class SameRun(Callback):
    """Refuses a run whose ranks have other settings, versions, lists of videos or checkpoints than the first of them.

    Each of that would go unnoticed: ranks would take samples twice, or other steps, or wait for each other at the end.
    Paths may differ between hosts; what lies there may not.

    Args:
        config: gives the settings of this rank, as plain values.
    """

    def __init__(self, config: Callable[[], Mapping[str, Any]]) -> None:
        self._config = config

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size == 1:
            return
        versions = {"liteframe": liteframe.__version__, "torch": torch.__version__, "lightning": lightning.__version__}
        data = trainer.datamodule  # type: ignore[attr-defined]
        mine = {
            "versions": versions,
            "settings": without_paths(self._config()),
            "checkpoint": _checkpoint(trainer),
            "data": data.order() if isinstance(data, VideoDataModule) else {},
        }
        require_same(gather_objects((socket.gethostname(), mine)))


def require_same(ranks: list[tuple[str, dict[str, Any]]]) -> None:
    """Raises ConfigError for the first rank that differs from rank 0, with what differs; host and facts of each."""
    first_host, expected = ranks[0]
    for rank, (host, facts) in enumerate(ranks):
        told = "{name} is {before} on rank 0 (" + first_host + f") and {{now}} on rank {rank} ({host})"
        if difference := first_difference(expected, facts, told=told):
            raise ConfigError(
                f"the ranks would not run the same: {difference}; start all hosts with the same command, versions and"
                " files, and with a run folder that all of them see"
            )


def without_paths(value: Any) -> Any:
    """A config without what may be elsewhere on another host."""
    if isinstance(value, Mapping):
        return {name: without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner) for inner in value]
    return _PATH if isinstance(value, str) and os.path.basename(value) != value else value


def _checkpoint(trainer: Trainer) -> str:
    path = trainer.ckpt_path
    if path is None:
        return "none"
    seal = seal_of(path) if os.path.isfile(path) else None
    return os.path.basename(path) if seal is None else f"{os.path.basename(path)} of sha256 {seal[:12].decode()}"
