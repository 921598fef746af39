"""Starts the other ranks of this machine as Lightning does, and leaves it to others to watch over them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher


class WatchedLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher without its observer, which kills all ranks, its own too, without a word when one has ended.

    Args:
        launcher: whose place it takes.
        watch: is given the trainer and the processes once they are started.
    """

    def __init__(
        self, launcher: _SubprocessScriptLauncher, watch: Callable[[Trainer, list[subprocess.Popen[bytes]]], None]
    ) -> None:
        super().__init__(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes)
        self._watch = watch

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        """Starts the processes, then calls `function` in this one."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            assert trainer is not None
            self._watch(trainer, self.procs)
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)


def use_watched_launcher(trainer: Trainer, watch: Callable[[Trainer, list[subprocess.Popen[bytes]]], None]) -> None:
    """Puts a `WatchedLauncher` in the place of Lightning's, where that starts processes by itself."""
    launcher: Any = trainer.strategy.launcher
    if type(launcher) is _SubprocessScriptLauncher:
        trainer.strategy._launcher = WatchedLauncher(launcher, watch)
