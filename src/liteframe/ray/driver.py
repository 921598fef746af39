"""The shards of a list as tasks of a Ray cluster, then one store of them.

Tasks and not actors: nothing is kept from one shard to the next, so a shard whose machine was lost is made by any
other, and a cluster may shrink to nothing and grow again in between. What passes through Ray are names of shards;
frames and features stay in the process that makes them.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from liteframe.data.store.files import PARTS
from liteframe.data.store.index import is_complete, read_key
from liteframe.data.store.key import StoreKey
from liteframe.data.store.list_shard import ListShard, ShardRecord, require_stored
from liteframe.data.store.merge import merge
from liteframe.errors import ConfigError, LiteFrameError, StoreError, as_one_line
from liteframe.ray.jobs import ShardJob, ShardLost, make_shard

LOCAL = "local"
_MOST_REASON = 300
_LOCAL_OBJECT_STORE_BYTES = 100_000_000


@dataclass(frozen=True)
class Resources:
    """What a job asks of the cluster, and how it is tried.

    Attributes:
        num_cpus, num_gpus: that a machine must have free.
        memory_gb: likewise, in 1e9 bytes; None for none in particular.
        max_jobs: at a time; None for as many as there is room for.
        max_retries: of a shard whose process or machine was lost; -1 for no end.
    """

    num_cpus: float
    num_gpus: float
    memory_gb: float | None
    max_jobs: int | None
    max_retries: int

    def options(self) -> dict[str, Any]:
        """In Ray's words."""
        memory = {} if self.memory_gb is None else {"memory": int(self.memory_gb * 1e9)}
        return {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, **memory}

    def fit(self, machine: dict[str, float]) -> bool:
        """Whether a machine with these resources could ever run a job."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": (self.memory_gb or 0) * 1e9}
        return all(machine.get(name, 0) >= amount for name, amount in wanted.items())


def cache_on_ray(words: Sequence[str], folder: Path, count: int, address: str, resources: Resources) -> tuple[int, int]:
    """Makes the shards that are not made yet, and the store of all.

    Args:
        words: of the command that makes a shard, without `--shard`.
        folder: of the store.
        count: number of shards.
        address: of a running cluster; "local" starts one on this machine.
        resources: of each job.

    Returns:
        Samples in the store, and samples skipped.

    Raises:
        ConfigError: a shard failed, or was lost too often, or no machine can ever run a job.
        StoreError: what `merge` raises.
    """
    small = {"include_dashboard": False, "object_store_memory": _LOCAL_OBJECT_STORE_BYTES}
    ray.init(address=address, logging_level="WARNING", **(small if address == LOCAL else {}))
    try:
        _require_room(resources, may_grow=address != LOCAL)
        for made, shard in enumerate(_make(_jobs(words, folder, count), resources), start=1):
            print(f"shard {shard} is made ({made} since this command began)", flush=True)
    finally:
        ray.shutdown()
    store = merge(folder)
    return len(store), len(store.skipped)


def _jobs(words: Sequence[str], folder: Path, count: int) -> list[ShardJob]:
    """Those of the shards that are not made.

    Where all are made, or the store is finished, the first again: it makes nothing, and compares config and list with
    the store's.
    """
    shards = [ListShard(index, count) for index in range(count)]
    left = [] if is_complete(folder) else [shard for shard in shards if not _is_made(folder, shard)]
    place = {"folder": os.getcwd(), "locks": str(folder.absolute() / PARTS)}
    return [ShardJob(str(s), tuple(words), lock=s.lock_name, **place) for s in left or shards[:1]]


def _is_made(folder: Path, shard: ListShard) -> bool:
    """Whether all of a shard is in the store, under its key; what is damaged of it counts as missing."""
    if not shard.record_path(folder).exists():
        return False
    try:
        key, record = read_key(folder), ShardRecord.read(folder, shard)
        require_stored(folder, key, record)
    except StoreError:
        return False
    return not key.diff(StoreKey.from_dict(record.settings))


def _require_room(resources: Resources, may_grow: bool) -> None:
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(resources.fit(machine) for machine in machines):
        return
    asked = f"--num_cpus {resources.num_cpus:g} --num_gpus {resources.num_gpus:g}"
    asked += "" if resources.memory_gb is None else f" --memory_gb {resources.memory_gb:g}"
    has = "; ".join(f"{m.get('CPU', 0):g} CPUs and {m.get('GPU', 0):g} GPUs" for m in machines)
    if not may_grow:
        raise ConfigError(f"this machine has not what a job asks for ({asked}), but {has}; ask for less")
    print(f"liteframe: no machine of the cluster has {asked} ({has}); waiting for one that has", file=sys.stderr)


def _make(jobs: Sequence[ShardJob], resources: Resources) -> Iterator[str]:
    """Runs the jobs, lost ones again, and gives the name of each shard as it is made."""
    # Ray's own retries would have no end where its memory monitor kills, and say nothing of why.
    task = ray.remote(make_shard).options(max_retries=0, **resources.options())
    ahead = iter(jobs)
    running: dict[Any, ShardJob] = {}
    losses: Counter[str] = Counter()
    while True:
        while len(running) < (resources.max_jobs or len(jobs)) and (job := next(ahead, None)) is not None:
            running[task.remote(job)] = job
        if not running:
            return
        (done, *_), _ = ray.wait([*running], num_returns=1)
        job = running.pop(done)
        reason, is_lost = _end(done, job)
        losses[job.shard] += is_lost
        if not reason:
            yield job.shard
        elif is_lost and (resources.max_retries < 0 or losses[job.shard] <= resources.max_retries):
            print(f"liteframe: shard {job.shard}: {reason}; it is made again", file=sys.stderr, flush=True)
            running[task.remote(job)] = job
        else:
            for other in running:
                ray.cancel(other, force=True)
            tries = f"; lost {losses[job.shard]} times (--max_retries {resources.max_retries})" if is_lost else ""
            raise ConfigError(
                f"shard {job.shard}: {reason}{tries}. What is made is kept; the same command goes on from there"
            )


def _end(done: Any, job: ShardJob) -> tuple[str, bool]:
    """Why a job did not make its shard, or nothing, and whether that is because it was ended from outside."""
    try:
        return str(ray.get(done)), False
    except ray.exceptions.RayTaskError as error:
        said, kind = as_one_line(str(error.cause)), type(error.cause).__name__
        if isinstance(error.cause, LiteFrameError):
            return said.removeprefix(f"shard {job.shard}: "), isinstance(error.cause, ShardLost)
        return f"{kind}: {said}", False
    except ray.exceptions.RayError as error:
        return f"{type(error).__name__}: {as_one_line(str(error))[:_MOST_REASON]}", True
