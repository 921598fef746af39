"""Caching on a Ray cluster of several machines' processes: the bytes of one, whatever is killed; `make ray-env`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import liteframe
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.store.list_shard import ListShard, begun_shards
from tiny_world import TRAIN, WAP_SETTINGS, host_folder, manifest, sha256_of

ray = pytest.importorskip("ray", minversion="2.44", reason="needs Ray: make ray-env")

pytestmark = pytest.mark.timeout(3000)
PACE, SLOW_VIDEO = "0.5", "00007.mp4"
SHARDS = [ListShard(index, 3) for index in range(3)]
WAIT_S = 900.0


def cache_words(folder: Path) -> list[str]:
    """The config of a cache of 18 samples into `folder/store`, as words of a command."""
    config = {
        "model": {
            "class_path": "CacheStage",
            "init_args": {
                "teacher": str(host_folder()),
                "store": str(folder / "store"),
                **WAP_SETTINGS,
                "dtype": "float32",
                "store_frames": True,
                "shard_mb": 0.3,
            },
        },
        "data": {
            "class_path": "VideoDataModule",
            "init_args": {
                "predict": str(manifest()),
                "image_size": 112,
                "frames": 8,
                "batch_size": 1,
                "windows_per_video": 2,
                "decoder": "paced_videos:read",
                "sampler": {"class_path": "RandomSegment", "init_args": {"strides": [1, 4]}},
            },
        },
        "trainer": {"accelerator": "cpu", "default_root_dir": str(folder / "runs"), "logger": False},
    }
    folder.mkdir(exist_ok=True)
    (folder / "cache.yaml").write_text(json.dumps(config))
    return ["--config", str(folder / "cache.yaml")]


def variables(**more: str) -> dict[str, str]:
    """The environment of commands and machines here."""
    source = str(Path(liteframe.__file__).parents[1])
    path = os.pathsep.join([source, str(Path(__file__).parent)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **more}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """sha256 of the files of the store that a single process makes."""
    folder = tmp_path_factory.mktemp("straight")
    command = [sys.executable, "-m", "liteframe", "predict", *cache_words(folder)]
    subprocess.run(command, env=variables(), check=True)
    assert len(FeatureStore.open(folder / "store", verify="full")) == 2 * TRAIN
    return sha256_of(folder / "store", "*")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without processors of its own, and two machines with one each."""
    from ray.cluster_utils import Cluster

    for name, value in variables(PACED_VIDEOS_S=PACE).items():
        monkeypatch.setenv(name, value)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small()})
    for _ in range(2):
        made.add_node(num_cpus=1, **small())
    yield made
    made.shutdown()


def small() -> dict[str, Any]:
    return {"object_store_memory": 80_000_000, "include_dashboard": False}


def start(folder: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    """`liteframe cache` of three shards, with what it says in `folder/said.txt`."""
    command = [sys.executable, "-m", "liteframe", "cache", *cache_words(folder), "--shards", "3", *words]
    with (folder / "said.txt").open("a") as said:
        return subprocess.Popen(
            [*command, "--num_cpus", "1", "--num_gpus", "0"],
            stdout=said,
            stderr=said,
            text=True,
            cwd=folder,
            env=variables(**more),
        )


def wait_for(what: Callable[[], Any], driver: subprocess.Popen[str] | None = None) -> Any:
    until = time.monotonic() + WAIT_S
    while not (value := what()):
        assert time.monotonic() < until, "waited in vain"
        assert driver is None or driver.poll() is None, f"the driver ended with {driver.returncode}"
        time.sleep(0.05)
    return value


def at_work(store: Path) -> tuple[ListShard, psutil.Process] | None:
    """A shard of which some is written, and the process that makes it."""
    for shard in begun_shards(store) if store.exists() else []:
        holder = shard.holder(store)
        if holder and list((store / "parts").glob(f"{shard.tag}-*.json")):
            return shard, psutil.Process(int(holder.split()[1]))
    return None


def test_what_is_killed_costs_no_clip_and_no_duplicate(cluster: Any, straight: dict[str, str], tmp_path: Path) -> None:
    store = tmp_path / "store"
    driver = start(tmp_path, "--address", cluster.address, "--max_retries", "5")

    def kill(choose: Callable[[psutil.Process], psutil.Process]) -> None:
        """Kills what belongs to a shard that is being made, and sees that its process does not outlive it."""
        shard, process = wait_for(lambda: at_work(store), driver)
        choose(process).kill()
        wait_for(lambda: f"pid {process.pid} " not in shard.holder(store))

    kill(lambda process: process)
    kill(lambda process: process.parent() or process)  # the worker of Ray
    kill(lambda process: next(p for p in process.parents() if p.name() == "raylet"))  # the machine
    assert driver.wait(WAIT_S) == 0, (tmp_path / "said.txt").read_text()
    assert sha256_of(store, "*") == straight
    assert f"stored {2 * TRAIN} samples" in (tmp_path / "said.txt").read_text()


def test_a_killed_driver_and_a_slow_reader(straight: dict[str, str], tmp_path: Path) -> None:
    store, paced = tmp_path / "store", {"PACED_VIDEOS_S": PACE, "PACED_VIDEOS_SLOW": SLOW_VIDEO}
    driver = start(tmp_path, **paced)
    recorded = lambda: [s for s in SHARDS if s.record_path(store).exists()]  # noqa: E731
    wait_for(recorded, driver)
    wait_for(lambda: at_work(store), driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    made = {str(shard) for shard in recorded()}
    wait_for(lambda: not any(shard.holder(store) for shard in SHARDS))
    made |= {str(shard) for shard in recorded()}
    assert len(made) < 3 and not (store / "COMPLETE").exists()
    (tmp_path / "said.txt").write_text("")
    assert start(tmp_path, **paced).wait(WAIT_S) == 0
    said = (tmp_path / "said.txt").read_text()
    assert not any(f"made shard {shard} of" in said for shard in made), "what is made is not made again"
    assert sha256_of(store, "*") == straight

    (tmp_path / "said.txt").write_text("")  # and a config of other numbers does not take the finished store for its own
    assert start(tmp_path, "--data.frames=4").wait(WAIT_S) == 1
    assert "shard 0/3: " in (said := (tmp_path / "said.txt").read_text())
    assert "sampling.frames: stored 8, this run wants 4" in said
    assert sha256_of(store, "*") == straight


def test_more_than_the_machine_has_is_said_at_once(tmp_path: Path) -> None:
    assert start(tmp_path, "--memory_gb", "100000").wait(WAIT_S) == 1
    said = (tmp_path / "said.txt").read_text()
    assert "this machine has not what a job asks for (--num_cpus 1 --num_gpus 0 --memory_gb 100000)" in said


def test_a_job_that_memory_is_too_short_for_is_not_tried_for_ever(tmp_path: Path) -> None:
    short = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "250"}
    assert start(tmp_path, "--max_retries", "1", **short).wait(WAIT_S) == 1
    said = (tmp_path / "said.txt").read_text()
    assert "OutOfMemoryError" in said and "it is made again" in said
    assert "; lost 2 times (--max_retries 1). What is made is kept" in said
