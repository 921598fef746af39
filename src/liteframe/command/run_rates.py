"""How fast a run goes, what it waits for, and how much it left out, as loggers and log files have it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Trainer

from liteframe.bench.memory import peak_mib


@dataclass(frozen=True)
class Tally:
    """What a run has done until a moment.

    Attributes:
        at_s: when, on a clock of its own.
        steps: optimizer steps in `fit`, batches elsewhere.
        samples, frames: of all ranks, whose batches are of one shape; None where batches are not of frames.
        waited_s: time that this rank waited for batches; None where its loader does not say.
    """

    at_s: float
    steps: int
    samples: int | None = None
    frames: int | None = None
    waited_s: float | None = None

    def rates_since(self, earlier: Tally) -> dict[str, float]:
        """Means over the time since an earlier one: `rate/steps_per_s`, `videos_per_s`, `frames_per_s`, `data_wait`.

        `data_wait` is the share of the time that was waited for batches, 0 to 1.
        """
        seconds = max(self.at_s - earlier.at_s, 1e-9)
        rates = {"rate/steps_per_s": (self.steps - earlier.steps) / seconds}
        if self.samples is not None and self.frames is not None:
            rates["rate/videos_per_s"] = (self.samples - (earlier.samples or 0)) / seconds
            rates["rate/frames_per_s"] = (self.frames - (earlier.frames or 0)) / seconds
        if self.waited_s is not None:
            rates["rate/data_wait"] = min(1.0, (self.waited_s - (earlier.waited_s or 0.0)) / seconds)
        return rates


class RunRates:
    """Counts the batches of a run.

    Args:
        trainer: of the run.
        steps: done before it begins, as after a checkpoint.
    """

    def __init__(self, trainer: Trainer, steps: int = 0) -> None:
        self._trainer: Any = trainer
        self._data = getattr(trainer, "datamodule", None)
        self._samples: int | None = None
        self._frames: int | None = None
        self.start = self.tally(steps)

    def count(self, batch: Any) -> None:
        """Adds a batch that is done."""
        if isinstance(batch, dict) and "frames_BTCHW" in batch:
            B, T = batch["frames_BTCHW"].shape[:2]
            ranks = self._trainer.world_size
            self._samples = (self._samples or 0) + B * ranks
            self._frames = (self._frames or 0) + B * T * ranks

    def tally(self, steps: int) -> Tally:
        """What is done by now, `steps` in all."""
        waited = getattr(self._data, "waited_s", None)
        return Tally(time.monotonic(), steps, self._samples, self._frames, waited)

    def state(self) -> dict[str, float]:
        """`rate/skipped`, rows left out so far by any rank, and `memory/peak_gib`, of this rank: GPU, or process."""
        ledger = getattr(self._data, "ledger", None)
        skipped = {} if ledger is None else {"rate/skipped": float(ledger.count())}
        return {**skipped, "memory/peak_gib": peak_mib(self._trainer.strategy.root_device) / 1024}


def as_words(numbers: dict[str, float]) -> dict[str, float | str]:
    """The numbers of `Tally.rates_since` and `RunRates.state` as a line has them."""
    names = {
        "rate/videos_per_s": ("videos/s", "{:.3g}"),
        "rate/frames_per_s": ("frames/s", "{:.3g}"),
        "rate/data_wait": ("data_wait", "{:.0%}"),
        "rate/skipped": ("skipped", "{:.0f}"),
        "memory/peak_gib": ("peak_gib", "{:.2f}"),
    }
    return {names[key][0]: names[key][1].format(value) for key, value in numbers.items() if key in names}
