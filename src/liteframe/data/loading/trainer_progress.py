"""Where the trainer of a data module is."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn


def is_fitting(trainer: Any) -> bool:
    """Whether a trainer, if there is one, fits."""
    return trainer is not None and trainer.state.fn == TrainerFn.FITTING


def ranks_of(trainer: Any) -> tuple[int, int]:
    """This process's rank, and how many there are: the only one without a trainer."""
    return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


def batches_done(trainer: Any) -> int:
    """Training batches that have been processed, whatever the accumulation of gradients or cut epochs."""
    if trainer is None:
        return 0
    progress = trainer.fit_loop.epoch_loop.batch_progress
    # Over-fitting shows the same batches in each epoch.
    return progress.current.completed if trainer.overfit_batches else progress.total.processed


def batches_of_run(trainer: Any, epoch_batches: int) -> int | None:
    """Training batches of a whole run on each rank; None where nothing but time or a callback ends it.

    Args:
        trainer: of the run.
        epoch_batches: batches that the data has for an epoch.
    """
    limit = trainer.limit_train_batches
    epoch = min(epoch_batches, limit) if isinstance(limit, int) else int(epoch_batches * limit)
    by_steps = trainer.max_steps * trainer.accumulate_grad_batches if trainer.max_steps >= 0 else math.inf
    by_epochs = trainer.max_epochs * epoch if (trainer.max_epochs or -1) >= 0 else math.inf
    least = min(by_steps, by_epochs)
    return None if math.isinf(least) else int(least)


def validates_every(trainer: Any) -> int | None:
    """Training batches between validations that are counted over the whole run; None where epochs decide."""
    interval = trainer.val_check_interval
    counted = isinstance(interval, int) and not isinstance(interval, bool) and trainer.check_val_every_n_epoch is None
    return interval if counted else None
