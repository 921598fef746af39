"""A plan: what a stage takes on a machine, for so many videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.loading.split_rows import Split
from liteframe.data.loading.unused_settings import said_of_training
from liteframe.data.store.feature_store import Estimate, FeatureStore, estimate
from liteframe.data.store.index import is_there
from liteframe.planning.build import Machine
from liteframe.planning.memory import Memory, memory
from liteframe.planning.parts import StagePlan

ASSUMED_VIDEOS = 1_000_000


@dataclass(frozen=True)
class Time:
    """How long a stage takes.

    Attributes:
        videos: samples that it goes through, repetitions counted.
        flops: of all of them.
        gpu_hours: over all GPUs.
        hours: on the clock.
        frames_per_s: that have to be decoded for it, on all GPUs together.
    """

    videos: float
    flops: float
    gpu_hours: float
    hours: float
    frames_per_s: float


@dataclass(frozen=True)
class Plan:
    """What `liteframe plan` says: `stage` for any machine, the rest for `machine`; `store` of the cache stage only."""

    stage: StagePlan
    machine: Machine
    memory: Memory
    time: Time
    store: Estimate | None
    notes: list[str]


def make_plan(
    stage: StagePlan,
    data: VideoDataModule,
    machine: Machine,
    videos: int | None,
    tflops: float,
    rate: float | None,
) -> Plan:
    """Puts a stage on a machine.

    Args:
        stage: what it takes anywhere.
        data: whose manifest is counted, where it is here.
        machine: where it runs.
        videos: in a pass over the data; None counts the manifest, or assumes a million.
        tflops: what a GPU achieves, in 1e12 operations a second.
        rate: videos a second that all GPUs together were measured at, in place of `tflops`.
    """
    notes = [*stage.notes, *(f"trainer.{name} is not planned with" for name in machine.unplanned)]
    if stage.target is None and data.sources["val"] and (line := said_of_training(data)):
        notes.append(line)
    found = videos or _count(data, stage.split)
    if found is None:
        found = ASSUMED_VIDEOS
        name = "store" if data.store_path and stage.split == "train" else stage.split
        notes.append(f"data.{name} is not here: {found:,} videos are assumed (--videos)")
    samples = found * (data.windows_per_video if stage.target else 1)
    gone_through = _gone_through(stage, machine, samples, notes)
    per_video = _average(stage, lambda batch: sum(batch.flops.values()))
    hours = gone_through / rate / 3600 if rate else gone_through * per_video / (tflops * 1e12 * machine.gpus) / 3600
    frames = gone_through * _average(stage, lambda batch: batch.frames)
    time = Time(gone_through, gone_through * per_video, hours * machine.gpus, hours, frames / (3600 * hours))
    store = None
    if target := stage.target:
        seconds = hours * 3600 / samples
        store = estimate(
            samples, target.clips, target.grid, target.channels, target.dtype, seconds, target.frames_bytes
        )
    largest = max(stage.batches, key=lambda batch: batch.activations + batch.inputs)
    held = memory(stage.parts, largest.activations, largest.inputs, machine.gpus, machine.sharded, machine.autocast)
    return Plan(stage, machine, held, time, store, notes)


def _gone_through(stage: StagePlan, machine: Machine, samples: int, notes: list[str]) -> float:
    """Samples until the first limit of the trainer; a stage that stores goes through all of them once."""
    if stage.target:
        return float(samples)
    limits = []
    if machine.max_steps:
        batch = _total_weighted(stage, lambda batch: batch.batch_size) / sum(b.weight for b in stage.batches)
        limits.append(machine.max_steps * machine.accumulate * machine.gpus * batch)
    if machine.max_epochs:
        limits.append(float(machine.max_epochs * samples))
    if not limits:
        notes.append("trainer.max_epochs and max_steps are not set: one pass over the data is planned")
    return min(limits, default=float(samples))


def _average(stage: StagePlan, of_batch: Any) -> float:
    """Mean over videos: each kind of batch weighted by how often it is drawn times its size."""
    videos = _total_weighted(stage, lambda batch: batch.batch_size)
    return _total_weighted(stage, lambda batch: batch.batch_size * of_batch(batch)) / videos


def _total_weighted(stage: StagePlan, of_batch: Any) -> float:
    return float(sum(batch.weight * of_batch(batch) for batch in stage.batches))


def _count(data: VideoDataModule, split: str) -> int | None:
    """Rows of the manifests, or samples of the feature store, or None where one of them is not on this machine."""
    if split == "train" and data.store_path is not None:
        return len(FeatureStore.open(data.store_path)) if is_there(data.store_path) else None
    names: Split = "predict" if split == "predict" else "train"
    sources = data.sources[names]
    here = sources and all(Path(source.path).exists() for source in sources)
    return len(data.rows(names)) if here else None
