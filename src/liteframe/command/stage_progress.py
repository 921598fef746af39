"""How far a stage has come, as a Lightning callback."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks.progress import ProgressBar

from liteframe.system.progress import Meter


class StageProgress(ProgressBar):
    """Steps of the whole run, their rate and the time left: a bar on a terminal, lines elsewhere.

    It counts optimizer steps in ``fit`` (Lightning's own bar counts the batches of one epoch, so it cannot say when a
    run of several epochs ends) and batches in the other verbs. Only rank 0 shows it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._meter: Meter | None = None

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def _open(self, trainer: Trainer, pl_module: LightningModule, total: float, unit: str, initial: int = 0) -> None:
        whole = int(total) if math.isfinite(total) and total >= 0 else None
        verb = trainer.state.fn.value if trainer.state.fn is not None else ""
        name = f"{verb} {type(pl_module).__name__}"
        self._meter = Meter(name, whole, unit, initial, enabled=self._enabled and trainer.is_global_zero)

    def _close(self) -> None:
        if self._meter is not None:
            self._meter.close()
            self._meter = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, pl_module, trainer.estimated_stepping_batches, "steps", trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._meter is not None:
            shown = {key: value for key, value in self.get_metrics(trainer, pl_module).items() if key != "v_num"}
            self._meter.note(**{key: value for key, value in shown.items() if isinstance(value, (int, float, str))})
            self._meter.set(trainer.global_step)

    def on_train_end(self, *_: Any) -> None:
        self._close()

    def on_exception(self, *_: Any) -> None:
        self._close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._open(trainer, pl_module, sum(trainer.num_val_batches), "batches")

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.state.fn == "validate" and self._meter is not None:
            self._meter.update()

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.state.fn == "validate":
            self._close()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, pl_module, sum(trainer.num_test_batches), "batches")

    def on_test_batch_end(self, *_: Any) -> None:
        if self._meter is not None:
            self._meter.update()

    def on_test_end(self, *_: Any) -> None:
        self._close()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, pl_module, sum(trainer.num_predict_batches), "batches")

    def on_predict_batch_end(self, *_: Any) -> None:
        if self._meter is not None:
            self._meter.update()

    def on_predict_end(self, *_: Any) -> None:
        self._close()
