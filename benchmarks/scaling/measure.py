"""Measures what the simulation starts from: decoding, lists, the index of a store; `plan` counts operations."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from decoding.clips import Clip
from liteframe.command.configs import checked_config
from liteframe.data.decoding.decode import forget_scans
from liteframe.data.decoding.processes.job import DecodeJob, decode
from liteframe.data.sampling import UniformMidpoints
from liteframe.data.sources.manifest import VideoSource, read_sources
from liteframe.data.store.feature_store import FeatureStore
from liteframe.data.store.finalize import finalize
from liteframe.data.store.key import StoreKey
from liteframe.data.store.writer import FeatureStoreWriter
from liteframe.planning.build import build
from liteframe.planning.plan import make_plan
from liteframe.planning.stage_plans import plan_stage

CLIPS = {
    "10 s of 480p": Clip("scale_480p", 300, 480, 854),
    "30 s of 720p": Clip("scale_720p", 900, 720, 1280, group=60),
    "20 s of 1080p": Clip("scale_1080p", 600, 1080, 1920, group=60),
}
"""Kinds of videos, equally frequent."""
FRAMES = {"cache": 16, "ctd": 16, "lma": 160}
"""Frames of a clip that a stage looks at, LMA on average over its shapes."""
SIDE = 448
_STAGES = {
    "cache": (["cache.yaml"], []),
    "ctd": (["ctd.yaml"], ["data.train=null", "data.store=runs/cache/store"]),
    "ctd_live": (["ctd.yaml"], []),
    "lma": (["lma.yaml"], []),
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured: rounds of decoding, rows of a list, samples of a store."""

    rounds: int = 3
    rows: int = 200_000
    samples: int = 10_000


def measured(folder: Path, sizes: Sizes) -> dict[str, Any]:
    """All of it; CPU seconds of this process, with one thread, and of those that it starts."""
    return {
        "decode": decoding(folder, sizes.rounds),
        "lists": lists(folder, sizes.rows),
        "store": store(folder, sizes.samples),
        "work": {name: work(configs, changes) for name, (configs, changes) in _STAGES.items()},
    }


def decoding(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """CPU seconds to decode frames of each kind of video and scale them to 448 pixels."""
    rows = []
    for name, clip in CLIPS.items():
        path = clip.make(folder)
        for frames in sorted(set(FRAMES.values())):
            job = DecodeJob(path, UniformMidpoints(), frames, size=(SIDE, SIDE))
            seconds = []
            for _ in range(rounds):
                forget_scans()
                began = time.process_time()
                decode(job, "pyav")
                seconds.append(round(time.process_time() - began, 4))
            rows.append({"video": name, "frames": frames, "bytes": os.path.getsize(path), "cpu_s": seconds})
    return rows


def lists(folder: Path, rows: int) -> dict[str, Any]:
    """Seconds and memory to read a list."""
    path, video = folder / "rows.jsonl", folder / "video.mp4"
    video.touch()
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(
                json.dumps({"path": f"videos/{number % 1000:03d}/{number:09d}.mp4", "id": f"{number:09d}"}) + "\n"
            )
    process = psutil.Process()
    before, began = process.memory_info().rss, _cpu_s()
    table = read_sources([VideoSource(str(path))], keep_unusable=True)
    seconds, grown = _cpu_s() - began, process.memory_info().rss - before
    return {"rows": len(table), "cpu_s": round(seconds, 3), "bytes": grown, "file_bytes": path.stat().st_size}


def _cpu_s() -> float:
    """Of this process, and of those that it has started and that have ended."""
    return sum(os.times()[:4])


def store(folder: Path, samples: int) -> dict[str, Any]:
    """Seconds and memory to open a feature store of samples that are as small as can be, and to finish writing it."""
    key = StoreKey({}, {}, {}, {"frames": 16}, "auto", "bfloat16")
    place = folder / "store"
    names = [f"{number:09d}" for number in range(samples)]
    writer = FeatureStoreWriter(place, key, shard_mb=8)
    tokens_THWC = torch.zeros(4, 1, 1, 8, dtype=torch.bfloat16)
    for order, name in enumerate(names):
        entry = {"path": f"/videos/{name}.mp4", "frame_indices": [*range(16)], "valid_frames": 16, "order": order}
        writer.add(name, tokens_THWC, {**entry, "decoder": "pyav"}, None)
    writer.close()
    began = time.process_time()
    finalize(place, key, 8, expected_ids=names)
    finishing = time.process_time() - began
    process = psutil.Process()
    before, began = process.memory_info().rss, time.process_time()
    opened = FeatureStore.open(place)
    seconds, grown = time.process_time() - began, process.memory_info().rss - before
    return {
        "samples": len(opened),
        "finish_cpu_s": round(finishing, 3),
        "open_cpu_s": round(seconds, 3),
        "bytes": grown,
        "index_bytes": sum(path.stat().st_size for path in place.glob("index*")),
    }


def work(configs: list[str], changes: list[str]) -> dict[str, Any]:
    """Operations, frames and stored bytes of a video by `liteframe plan`, means over the batches of the stage."""
    stage, data, machine = build([checked_config(name) for name in (*configs, "trainer/gpu8.yaml")], changes)
    plan = make_plan(plan_stage(stage, data, 256), data, machine, 1_000_000, 150.0, None)
    batches = plan.stage.batches
    videos = sum(batch.weight * batch.batch_size for batch in batches)
    return {
        "flops": plan.time.flops / plan.time.videos,
        "frames": sum(batch.weight * batch.batch_size * batch.frames for batch in batches) / videos,
        "batch": round(videos / sum(batch.weight for batch in batches)),
        "passes": round(plan.time.videos / 1_000_000),
        "stored_bytes": 0.0 if plan.store is None else plan.store.gigabytes * 1e9 / plan.store.samples,
    }


def median_cpu_s(record: dict[str, Any], frames: int) -> list[float]:
    """Of each kind of video, as a record has it."""
    return [median(row["cpu_s"]) for row in record["decode"] if row["frames"] == frames]
