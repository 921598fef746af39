"""Saves a training run as it was after its last whole step, from whichever thread and without the other ranks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from liteframe.run_control.earlier_run import CHECKPOINTS


class LastCheckpoint(ModelCheckpoint):
    """``last.ckpt`` every so many steps and at the end of training, before anything else is done.

    Args:
        every_n_train_steps: optimizer steps between two.
    """

    def __init__(self, every_n_train_steps: int) -> None:
        super().__init__(
            save_last=True, save_top_k=0, every_n_train_steps=every_n_train_steps, enable_version_counter=False
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the last steps too: the export that follows may be killed."""
        if self._last_global_step_saved != trainer.global_step and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


class LastStep:
    """The state that a run can go on from: that after its last whole step, or that at its start.

    Args:
        trainer: of the run, whose training begins.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer: Any = trainer
        self._loops = self._loops_now()
        self._step = -1
        self.saved_step: int | None = None

    def note(self) -> None:
        """Remembers where the loops are; call it at the end of each step. Weights need no copy until the next one."""
        self._loops = self._loops_now()
        self._step = self._trainer.global_step

    def set_back(self, checkpoint: dict[str, Any]) -> None:
        """Lets a checkpoint that is made between accumulated batches go on from the first of them.

        The gradients so far are not in it, so the batches that they are of have to be taken once more.
        """
        if self._trainer.fit_loop._should_accumulate():
            checkpoint["loops"] = copy.deepcopy(self._loops)

    def _loops_now(self) -> dict[str, Any]:
        loops: dict[str, Any] = copy.deepcopy(self._trainer._checkpoint_connector._get_loops_state_dict())
        return loops

    def path(self) -> Path | None:
        """Where the last checkpoint goes; None where the run keeps none."""
        callbacks = [
            callback for callback in self._trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)
        ]
        if not callbacks or self._trainer.fast_dev_run:
            return None
        folder = callbacks[0].dirpath or Path(self._trainer.default_root_dir) / CHECKPOINTS
        return Path(folder) / f"{ModelCheckpoint.CHECKPOINT_NAME_LAST}{ModelCheckpoint.FILE_EXTENSION}"

    def save_with_all_ranks(self) -> None:
        """Saves at the end of a step, every rank taking part. LiteFrameError where it cannot be written."""
        path = self.path()
        if path is not None:
            self._trainer.save_checkpoint(path)
            self.saved_step = self._trainer.global_step

    @property
    def saves_alone(self) -> bool:
        """Whether each rank has all weights, so that one can save them without the others."""
        return isinstance(self._trainer.strategy, (SingleDeviceStrategy, DDPStrategy))

    def save_alone(self) -> bool:
        """Saves in the middle of a step, on rank 0 and without the others; whether it is on disk.

        Nothing is written where the weights are shared out among the ranks, or change while they are read.

        Raises:
            LiteFrameError: it cannot be written.
        """
        trainer, path = self._trainer, self.path()
        if path is None or self._step < 0 or not self.saves_alone or not trainer.is_global_zero:
            return False
        if trainer.global_step != self._step or self.saved_step == self._step:
            return False
        versions = self._versions()
        checkpoint = copy.deepcopy({**trainer._checkpoint_connector.dump_checkpoint(False), "loops": self._loops})
        if self._versions() != versions:
            return False
        trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, path)
        self.saved_step = self._step
        return True

    def _versions(self) -> list[int]:
        """Counters that torch raises whenever a weight, or what the optimizer keeps of it, is written to."""
        tensors = list(self._trainer.lightning_module.parameters())
        for optimizer in self._trainer.optimizers:
            for state in optimizer.state.values():
                tensors += [value for value in state.values() if isinstance(value, Tensor)]
        return [self._trainer.global_step, *(tensor._version for tensor in tensors)]
