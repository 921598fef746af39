"""``liteframe cache``."""

from __future__ import annotations

import os
from typing import Literal

from liteframe.command.configs import checked_config
from liteframe.errors import ConfigError
from liteframe.system.installation import install_hint

_MOST_SHARDS = 100_000


def cache_command(
    config: list[str] | None = None,
    set: list[str] | None = None,
    shards: int | None = None,
    engine: Literal["ray"] = "ray",
    address: str | None = None,
    num_cpus: float = 8.0,
    num_gpus: float = 1.0,
    memory_gb: float | None = None,
    max_jobs: int | None = None,
    max_retries: int = 3,
) -> int:
    """Cache a list on the machines of a cluster: shards of it as jobs, then one feature store of them.

    Each job is `liteframe predict --shard i/n` of the same config, in one process on one device. Run again after
    anything, it makes what is missing.

    Args:
        config: config files of the run, as `liteframe predict` takes them.
        set: KEY=VALUE words that come last, such as data.batch_size=4; --KEY=VALUE does the same.
        shards: how many shards the list is cut into, several for each job that runs at a time.
        engine: what runs the jobs.
        address: of a running Ray cluster, "auto" for the one on this machine, or "local" to start one on this machine
            alone, until the end; by default RAY_ADDRESS of the environment, else "local".
        num_cpus: that a job asks the cluster for: those of its loader workers and one more.
        num_gpus: that a job asks for; 0 for a teacher on the CPU.
        memory_gb: memory that a job asks for, in gigabytes; none in particular by default.
        max_jobs: at a time; by default as many as the cluster has room for.
        max_retries: of a shard whose process or machine was lost; -1 for no end.

    Raises:
        LiteFrameError: a shard failed or was lost too often; what is made is kept.
    """
    if not config:
        raise ConfigError("nothing to cache: give --config FILE, such as --config cache.yaml")
    if shards is None or not 0 < shards <= _MOST_SHARDS:
        raise ConfigError(f"--shards is {shards}; give a number from 1 to {_MOST_SHARDS:,}, such as 4 for each GPU")
    for name, value in (("num_cpus", num_cpus), ("num_gpus", num_gpus), ("memory_gb", memory_gb or 0)):
        if not 0 <= value < 1e6:
            raise ConfigError(f"--{name} is {value}; give 0 or more")
    if max_jobs is not None and max_jobs < 1:
        raise ConfigError(f"--max_jobs is {max_jobs}; give 1 or more")
    if max_retries < -1:
        raise ConfigError(f"--max_retries is {max_retries}; give 0 or more, or -1 for no end")
    files = [checked_config(name) for name in config]
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from liteframe.ray.driver import Resources, cache_on_ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError(f"--engine ray: Ray is not installed; {install_hint('ray')}") from error
    from liteframe.planning.build import build, change_words
    from liteframe.ray.jobs import words_of
    from liteframe.stages.cache import CacheStage

    stage, _, _ = build(files, set or ())
    if not isinstance(stage, CacheStage):
        raise ConfigError(f"{type(stage).__name__} makes no feature store; give the config of a cache stage")
    resources = Resources(num_cpus, num_gpus, memory_gb, max_jobs, max_retries)
    words = words_of(config, change_words(set or ()))  # by name, as those that ship may lie elsewhere there
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    samples, skipped = cache_on_ray(words, stage.folder, shards, address, resources)
    listed = f"; {skipped} skipped" if skipped else ""
    print(f"stored {samples:,} samples in {stage.folder}{listed}")
    return 0
