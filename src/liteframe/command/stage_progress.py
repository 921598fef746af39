"""How far a stage has come, on the terminal, in log files and in the run's loggers."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from liteframe.command.run_rates import RunRates, Tally, as_words
from liteframe.system.progress import Meter

HEARTBEAT_S = 30.0
_SECONDS_BETWEEN_NOTES = 1.0


class StageProgress(Callback):
    """Steps of the whole run, their rate and the time left: a bar on a terminal, a line every so often elsewhere.

    It counts optimizer steps in ``fit`` (Lightning's own bar counts the batches of one epoch, so it cannot say when a
    run of several epochs ends) and batches in the other verbs. Beside them stand videos and frames a second, the share
    of the time that was waited for batches, rows skipped, peak memory, and the losses. Only rank 0 shows it, with the
    skips of all ranks. The loggers get the same numbers: in ``fit`` every ``trainer.log_every_n_steps`` steps, else at
    every line and at the end.

    Args:
        every_s: seconds between two lines. Where no batch ends in twice that time, a line says so, and what the run is
            in the middle of.
        shown: False leaves it at the loggers.
    """

    def __init__(self, every_s: float = HEARTBEAT_S, shown: bool = True) -> None:
        self._every_s, self._shown = every_s, shown
        self._meter: Meter | None = None
        self._rates: RunRates | None = None
        self._logged: Tally | None = None
        self._beat: Tally | None = None
        self._steps = 0
        self._doing = ""
        self._ended = threading.Event()

    def _open(self, trainer: Trainer, pl_module: LightningModule, total: float, unit: str, initial: int = 0) -> None:
        whole = int(total) if math.isfinite(total) and total >= 0 else None
        verb = trainer.state.fn.value if trainer.state.fn is not None else ""
        name = f"{verb} {type(pl_module).__name__}"
        shown = self._shown and trainer.is_global_zero
        self._meter = Meter(name, whole, unit, initial, enabled=shown, every_s=0)
        self._rates = RunRates(trainer, initial)
        self._steps, self._logged, self._beat = initial, self._rates.start, self._rates.start
        self._doing = "waiting for data"
        if shown and not self._meter.is_bar:
            self._ended = threading.Event()
            threading.Thread(target=self._watch, args=(self._meter, self._ended), daemon=True).start()

    def _watch(self, meter: Meter, ended: threading.Event) -> None:
        """Speaks up for a run of which nothing is heard: whoever reads its log file must not take it for dead."""
        while not ended.wait(self._every_s):
            if meter.silent_s >= 2 * self._every_s:
                meter.still(self._doing)

    def _advance(self, trainer: Trainer, steps: int, batch: Any) -> None:
        """A batch has ended, with so many steps done in all."""
        if self._meter is None or self._rates is None or self._logged is None or self._beat is None:
            return
        self._rates.count(batch)
        is_new, self._steps = steps != self._steps, steps
        if is_new and trainer.training and trainer._logger_connector.should_update_logs:
            tally = self._rates.tally(steps)
            self.log_dict(tally.rates_since(self._logged) | self._rates.state())  # type: ignore[attr-defined]
            self._logged = tally
        every_s = _SECONDS_BETWEEN_NOTES if self._meter.is_bar else self._every_s
        if time.monotonic() - self._beat.at_s >= every_s:
            self._show(trainer)
        elif self._meter.is_bar:
            self._meter.set(steps)

    def _show(self, trainer: Trainer) -> None:
        assert self._meter is not None and self._rates is not None and self._beat is not None
        tally = self._rates.tally(self._steps)
        numbers = tally.rates_since(self._beat) | self._rates.state()
        self._beat = tally
        losses = {name: value for name, value in trainer.progress_bar_metrics.items() if name != "v_num"}
        self._meter.note(**as_words(numbers), **losses)
        self._meter.set(self._steps)
        if not trainer.training:
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=self._steps)

    def _close(self, trainer: Trainer) -> None:
        self._ended.set()
        if self._meter is None or self._rates is None:
            return
        if self._beat is not None and self._steps > self._beat.steps:
            self._show(trainer)
        self._meter.close()
        self._meter = self._rates = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, pl_module, trainer.estimated_stepping_batches, "steps", trainer.global_step)

    def on_train_batch_start(self, *_: Any) -> None:
        self._doing = "in a step"

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._advance(trainer, trainer.global_step, batch)
        self._doing = "waiting for data"

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._ended.set()
        if self._meter is not None:
            self._meter.close()
            self._meter = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._doing = "validating"
        if trainer.state.fn == "validate":
            self._open(trainer, pl_module, sum(trainer.num_val_batches), "batches")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if trainer.state.fn == "validate":
            self._advance(trainer, self._steps + 1, batch)
        else:
            self._doing = f"validating, batch {batch_idx + 1} of {sum(map(int, trainer.num_val_batches))}"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._doing = "waiting for data"
        if trainer.state.fn == "validate":
            self._close(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, pl_module, sum(trainer.num_test_batches), "batches")

    def on_test_batch_start(self, *_: Any) -> None:
        self._doing = "in a batch"

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self._advance(trainer, self._steps + 1, batch)
        self._doing = "waiting for data"

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._open(trainer, pl_module, sum(trainer.num_predict_batches), "batches")

    on_predict_batch_start = on_test_batch_start  # type: ignore[assignment]
    on_predict_batch_end = on_test_batch_end  # type: ignore[assignment]
    on_predict_end = on_test_end
