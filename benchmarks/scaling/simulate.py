"""A node at work: loader processes that fetch and decode, queues that fill, GPUs that take a batch in step or wait."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_WARM = 0.25
"""Share of the steps that are not counted: queues are empty at the start."""


@dataclass(frozen=True)
class Instance:
    """A machine that is rented by the hour.

    Attributes:
        name: as its provider calls it.
        dollars_per_hour: list price.
        gpus, vcpus: of it; a vCPU counts as one core of the machine that decoding was measured on.
        tflops: that a GPU achieves on average, in 1e12 operations a second.
        network_gbit_s, stream_mb_s, latency_s: of the object store: all streams together, one of them, until its first
            byte.
        disk_gb, disk_gb_s: of its local disks: size, and writing.
    """

    name: str = "AWS p4de.24xlarge"
    dollars_per_hour: float = 27.45
    gpus: int = 8
    vcpus: int = 96
    tflops: float = 150.0
    network_gbit_s: float = 400.0
    stream_mb_s: float = 80.0
    latency_s: float = 0.05
    disk_gb: float = 8000.0
    disk_gb_s: float = 4.0


@dataclass(frozen=True)
class ObjectStore:
    """What an object store charges: dollars for a gigabyte and month, for 1000 reads, for 1000 writes."""

    name: str = "S3 Standard"
    dollars_per_gb_month: float = 0.023
    dollars_per_1000_get: float = 0.0004
    dollars_per_1000_put: float = 0.005
    read_mib: float = 8.0
    write_mib: float = 64.0


@dataclass(frozen=True)
class Work:
    """What one stage does with a clip.

    Attributes:
        stage: its name.
        flops: operations of a clip, on average.
        batch: clips that a GPU takes at a time.
        cpu_s: CPU seconds to decode and scale a clip, one for each kind of video; all kinds are equally frequent.
        video_bytes: of the same kinds.
        passes: over all clips.
        stored_bytes: that it writes for a clip.
        read_bytes: that it reads of a feature store for a clip.
        in_step: whether GPUs wait for each other at every step.
    """

    stage: str
    flops: float
    batch: int
    cpu_s: Sequence[float]
    video_bytes: Sequence[float]
    passes: int = 1
    stored_bytes: float = 0.0
    read_bytes: float = 0.0
    in_step: bool = True


@dataclass(frozen=True)
class Rate:
    """How fast a node goes through clips, and the share of each resource that is in use then.

    Attributes:
        clips_per_s: of the node.
        gpu, cpu, network, disk: 0 to 1.
    """

    clips_per_s: float
    gpu: float
    cpu: float
    network: float
    disk: float

    @property
    def binds(self) -> str:
        """The resource that is used most, which is the one that more of would help first."""
        names = {"GPU": self.gpu, "decode CPU": self.cpu, "network": self.network, "local disk": self.disk}
        return max(names, key=lambda name: names[name])


def simulate(
    work: Work, instance: Instance, workers: int = 12, prefetch: int = 2, steps: int = 600, seed: int = 0
) -> Rate:
    """Runs so many batches through a node.

    Args:
        work: of the stage.
        instance: the node.
        workers: loader processes of each GPU, which hand over their batches in order, as torch's do.
        prefetch: batches that each makes ahead.
        steps: batches of each GPU.
        seed: of which videos make a batch.
    """
    random = np.random.default_rng(seed)
    kinds_SRB = random.integers(len(work.cpu_s), size=(steps, instance.gpus, work.batch))
    crowd = max(1.0, instance.gpus * workers / instance.vcpus)
    decode_K, bytes_K = np.asarray(work.cpu_s), np.asarray(work.video_bytes) + work.read_bytes
    bytes_per_s = instance.network_gbit_s * 1e9 / 8  # all loaders are taken to fetch at once
    stream = min(instance.stream_mb_s * 1e6, bytes_per_s / (instance.gpus * workers))
    fetch_K = instance.latency_s + bytes_K / stream
    made_SR = (crowd * decode_K + fetch_K)[kinds_SRB].sum(axis=2)
    gpu_s = work.flops * work.batch / (instance.tflops * 1e12)
    write_s = work.stored_bytes * work.batch * instance.gpus / (instance.disk_gb_s * 1e9)  # between batches
    free_RW = np.zeros((instance.gpus, workers))
    taken_SR = np.zeros((steps, instance.gpus))
    idle_R = np.zeros(instance.gpus)
    for step in range(steps):
        worker, before = step % workers, step - prefetch * workers
        begin_R = np.maximum(free_RW[:, worker], taken_SR[before] if before >= 0 else 0.0)
        free_RW[:, worker] = begin_R + made_SR[step]
        taken_SR[step] = np.maximum(idle_R, free_RW[:, worker])
        ready_R = np.full_like(idle_R, taken_SR[step].max()) if work.in_step else taken_SR[step]
        idle_R = ready_R + gpu_s + write_s
    first = int(steps * _WARM)
    seconds = float(idle_R.mean() - taken_SR[first].mean())
    clips_per_s = (steps - first) * instance.gpus * work.batch / seconds
    return Rate(
        clips_per_s,
        min(1.0, (steps - first) * gpu_s / seconds),
        clips_per_s * float(decode_K.mean()) / instance.vcpus,
        clips_per_s * float(bytes_K.mean()) / bytes_per_s,
        clips_per_s * work.stored_bytes / (instance.disk_gb_s * 1e9),
    )


@dataclass(frozen=True)
class Bill:
    """What a stage takes for so many clips.

    Attributes:
        hours: on the clock, of all nodes together at work.
        node_hours: of all nodes.
        stored_gb, files: of the feature store that it writes.
        gets, puts: requests to the object store.
        dollars: of machines and requests.
        dollars_per_month: of keeping what it stored.
        rate: of one node.
    """

    hours: float
    node_hours: float
    stored_gb: float
    files: int
    gets: float
    puts: float
    dollars: float
    dollars_per_month: float
    rate: Rate


def bill(
    work: Work,
    clips: float,
    nodes: int,
    instance: Instance,
    store: ObjectStore,
    workers: int = 12,
    shard_mb: float = 256,
) -> Bill:
    """The bill of a stage.

    Videos are read again at each pass, unless all of them fit on the disks of one node, as `data.remote_cache` has
    them there.

    Args:
        work: of the stage.
        clips: how many there are.
        nodes: that share them out.
        instance, store: their prices.
        workers: loader processes of each GPU.
        shard_mb: size of a shard of the feature store, in megabytes.
    """
    rate = simulate(work, instance, workers)
    node_hours = clips * work.passes / rate.clips_per_s / 3600
    fits = clips * float(np.mean(work.video_bytes)) / 1e9 <= instance.disk_gb and nodes == 1
    block = store.read_mib * 2**20
    visits = clips * (1 if fits else work.passes)
    gets = visits * float(np.mean([math.ceil(size / block) for size in work.video_bytes]))
    gets += clips * work.passes * math.ceil(work.read_bytes / block)
    stored = clips * work.stored_bytes
    puts = stored / (store.write_mib * 2**20)
    requests = gets * store.dollars_per_1000_get / 1000 + puts * store.dollars_per_1000_put / 1000
    return Bill(
        node_hours / nodes,
        node_hours,
        stored / 1e9,
        math.ceil(stored / (shard_mb * 1e6)),
        gets,
        puts,
        node_hours * instance.dollars_per_hour + requests,
        stored / 1e9 * store.dollars_per_gb_month,
        rate,
    )
