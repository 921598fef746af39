"""The loop around torch's DataLoader: errors by name, skips written down, and a place to go on from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from liteframe.data.loading.batching import SampleRequest, SequentialRequests, TrainBatchSampler
from liteframe.data.loading.dataset import VideoDataset
from liteframe.data.loading.loader_processes import WorkerStart, named_deaths
from liteframe.data.loading.sample import collate
from liteframe.data.loading.skips import SkipLedger
from liteframe.data.loading.training_samples import TrainingSamples
from liteframe.errors import LiteFrameError


class _Guarded(Dataset[Any]):
    """Hands errors over as values: torch cannot rebuild an exception of two arguments that a worker raised."""

    def __init__(self, dataset: VideoDataset) -> None:
        self.dataset = dataset

    def __getitems__(self, requests: Sequence[SampleRequest]) -> Any:
        try:
            return self.dataset.__getitems__(requests)
        except LiteFrameError as error:
            return error


def _note(batch: dict[str, Any], ledger: SkipLedger) -> None:
    """Tells the ledger what was skipped, and what could be read."""
    for row, frames in zip(batch.get("rows", ()), batch.get("valid_frames_B", ()), strict=True):
        if frames:
            ledger.was_read(row["path"], row["id"])
    for skip in batch["skipped"]:
        ledger.record(**skip)


def _collate(items: Any) -> dict[str, Any]:
    return {"error": items} if isinstance(items, LiteFrameError) else collate(items)


class VideoLoader:
    """Batches of a `VideoDataset`, as dicts.

    On purpose not a torch `DataLoader`, though it has one inside: Lightning rebuilds those with a distributed sampler
    of its own (and always for `predict`), while the batch samplers here know the ranks already.

    Args:
        dataset: where samples come from.
        batches: which samples make a batch.
        num_workers: loader processes; 0 loads in this one.
        prefetch_factor: batches that each worker prepares ahead; `None` is torch's default.
        pin_memory: put batches into page-locked memory.
        ledger: takes the skips.
        drop_empty: leave out batches of skips only; without it they come without `frames_BTCHW`.
        position: number of training batches done so far. It is asked for at the first batch of each epoch and not
            before, because Lightning may make the iterator earlier than it loads a checkpoint's counters.

    Attributes:
        waited_s: seconds that this process has waited for batches, workers being started included.

    Raises:
        DecodeError: a video cannot be decoded; the dataset's own error, whichever process it was raised in.
        DataError: a loader process was killed.
        SkipLimitExceeded: from the ledger.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        batches: TrainBatchSampler | SequentialRequests,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        pin_memory: bool = False,
        ledger: SkipLedger | None = None,
        drop_empty: bool = False,
        position: Callable[[], int] | None = None,
    ) -> None:
        self.dataset, self.batches, self.ledger = dataset, batches, ledger
        self._drop_empty, self._position = drop_empty, position
        self.waited_s = 0.0
        self._start = WorkerStart()
        self._loader: DataLoader[Any] | None = DataLoader(
            _Guarded(dataset),
            batch_sampler=batches,
            num_workers=num_workers,
            prefetch_factor=prefetch_factor if num_workers else None,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0 and position is not None,
            collate_fn=_collate,
            worker_init_fn=self._start,
            # Its own generator: making an iterator must not advance the global one, or a resumed run would differ.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._loader is None:
            raise RuntimeError("this VideoLoader was closed")
        if self._position is not None and isinstance(self.batches, TrainBatchSampler):
            self.batches.start_step = self._position()
        self._start.before_start()
        for batch in self._timed(named_deaths(self._loader)):
            if "error" in batch:
                raise batch["error"]
            if self.ledger is not None:
                _note(batch, self.ledger)
            if "frames_BTCHW" in batch or not self._drop_empty:
                yield batch

    def _timed(self, batches: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        began = time.monotonic()
        for batch in batches:
            self.waited_s += time.monotonic() - began
            yield batch
            began = time.monotonic()

    def go_on_with(self, samples: TrainingSamples) -> None:
        """Takes on the samples of a checkpoint, where this loader is of training batches; before its first batch."""
        if isinstance(self.batches, TrainBatchSampler):
            self.batches.rows, self.batches.mixture = len(samples.keys_N), samples.mixture
            self.dataset.places_N = samples.places_N

    def state_dict(self) -> dict[str, int]:
        """Tells Lightning that this loader can go on in mid-epoch; the place itself is in the trainer's counters."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to load: see `position`."""

    def close(self) -> None:
        """Ends the workers."""
        self._loader = None
