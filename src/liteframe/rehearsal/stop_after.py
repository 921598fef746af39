"""The callback by which a rehearsal ends a run half-way, as a scheduler or a failing machine does."""

from __future__ import annotations

import os
import signal
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class StopAfter(Callback):
    """Sends a signal to the last rank after some steps of training, or batches of prediction.

    Args:
        steps: after how many.
        kill: send SIGKILL, which no process can answer, in place of SIGTERM; on Windows neither can be.
    """

    def __init__(self, steps: int, kill: bool = False) -> None:
        self._steps = steps
        self._signal = getattr(signal, "SIGKILL", signal.SIGTERM) if kill else signal.SIGTERM

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step >= self._steps:
            self._stop(trainer)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if batch_idx + 1 >= self._steps:
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        if trainer.global_rank == trainer.world_size - 1:
            os.kill(os.getpid(), self._signal)
