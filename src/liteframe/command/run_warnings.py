"""What a training run lacks that nobody would miss before it is over: said once, in a line each."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.model_helpers import is_overridden

from liteframe.command.library_warnings import warn
from liteframe.data.datamodule import VideoDataModule
from liteframe.system.runtime import usable_cores

WAIT_SHARE = 0.3
"""Share of a step that may be waited for data before a line says what to do about it."""
_FIRST_BATCHES = 3
_LOOK_S = 60.0


class RunWarnings(Callback):
    """Warns of a run that nobody validates, that keeps no checkpoint or logs no loss, and that waits for its videos.

    Args:
        look_s: seconds, from the fourth batch on, after which the waiting is looked at.
    """

    def __init__(self, look_s: float = _LOOK_S) -> None:
        self._look_s = look_s
        self._batches = 0
        self._since: tuple[float, float] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for text in (*_of_validation(trainer, pl_module), *_of_checkpoints(trainer), *_of_logs(trainer)):
            if trainer.is_global_zero:
                warn(text)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        waited = getattr(data, "waited_s", None)
        if waited is None or self._batches > _FIRST_BATCHES or not trainer.is_global_zero:
            return
        if self._batches < _FIRST_BATCHES:  # these start workers, compile, and fill caches
            self._batches, self._since = self._batches + 1, (time.monotonic(), waited)
            return
        assert self._since is not None
        seconds = time.monotonic() - self._since[0]
        if seconds >= self._look_s:
            self._batches += 1
            share = (waited - self._since[1]) / seconds
            if share > WAIT_SHARE:
                warn(f"{share:.0%} of the time goes into waiting for videos: {advice(data, trainer.num_devices)}")


def _of_validation(trainer: Any, stage: LightningModule) -> Iterator[str]:
    if is_overridden("validation_step", stage) and not (trainer.enable_validation and sum(trainer.num_val_batches)):
        data = getattr(trainer, "datamodule", None)
        is_set = isinstance(data, VideoDataModule) and bool(data.sources["val"])
        why = "trainer.limit_val_batches is 0" if is_set else "data.val is not set"
        yield f"{why}, so nothing is validated, and nobody sees whether the run learns what it should"


def _of_checkpoints(trainer: Any) -> Iterator[str]:
    if trainer.fast_dev_run:
        return
    savers = [saver for saver in trainer.checkpoint_callbacks if isinstance(saver, ModelCheckpoint)]
    if not savers:
        yield "no checkpoint is kept (trainer.enable_checkpointing is false), so a run that is killed begins anew"
    elif not any(saver.save_last for saver in savers):
        yield (
            "no `last.ckpt` is kept, so `--ckpt_path last` will find nothing; give a ModelCheckpoint of"
            " trainer.callbacks save_last: true"
        )


def _of_logs(trainer: Any) -> Iterator[str]:
    every, steps = trainer.log_every_n_steps, trainer.estimated_stepping_batches - trainer.global_step
    if trainer.loggers and math.isfinite(steps) and 0 < steps < every:
        yield (
            f"trainer.log_every_n_steps is {every}, and this run does {int(steps)} steps, so no loss of training is"
            " logged; lower it"
        )


def advice(data: VideoDataModule, ranks: int) -> str:
    """What makes batches come faster, on a machine with so many ranks."""
    cores = usable_cores()
    readers = max(1, data.num_workers) * data.decode_processes * ranks
    if readers < cores:
        return (
            f"raise data.num_workers, which is {data.num_workers} ({readers} processes decode, and there are {cores}"
            " cores)"
        )
    return (
        f"all {cores} cores decode already; scale the videos down once, or keep what is decoded (data.clip_store, or a"
        " feature store by `liteframe predict --config cache.yaml`)"
    )
