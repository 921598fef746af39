"""Absurd numbers are refused by name; what people run is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from liteframe.data import limits
from liteframe.data.checking.command import check_command
from liteframe.data.datamodule import VideoDataModule
from liteframe.data.loading.batching import BatchShape
from liteframe.data.sampling.frame_spec import FrameSpec
from liteframe.data.sources.manifest import VideoSource
from liteframe.errors import ConfigError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", 10**9),
        ("frames", 0),
        ("frames", -(10**40)),
        ("batch_size", 10**9),
        ("batch_size", 10**4000),
        ("image_size", 10**7),
        ("image_size", (1, 10**7)),
        ("image_size", -1),
        ("clip_frames", 10**9),
        ("windows_per_video", 10**12),
        ("num_workers", 10**6),
        ("num_workers", -1),
        ("decode_processes", 10**6),
        ("decode_processes", 0),
        ("prefetch_factor", 10**9),
        ("prefetch_factor", 0),
        ("decode_deadline_s", INF),
        ("decode_deadline_s", NAN),
        ("decode_deadline_s", -1.0),
        ("seed", -1),
        ("seed", 2**70),
        ("max_skip_fraction", NAN),
    ],
)
def test_an_absurd_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"data\.{name}\b|data\..*, data\.{name}\b") as error:
        VideoDataModule(**{name: value})
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    "shape", [BatchShape(8, 2, NAN), BatchShape(8, 2, INF), BatchShape(8, 2, -1.0), BatchShape(10**9, 8)]
)
def test_an_absurd_shape_is_refused_by_name(shape: BatchShape) -> None:
    with pytest.raises(ConfigError, match=r"data\.shapes"):
        VideoDataModule(shapes=[BatchShape(8, 2), shape])


def test_clips_that_a_teacher_asks_for_count_too() -> None:
    with pytest.raises(ConfigError, match=r"data\.clip_frames"):
        VideoDataModule().follow(FrameSpec(clip_frames=10**9), "a teacher")


@pytest.mark.parametrize("memory_gb", [8, 24, 512])
def test_what_people_run_is_let_through(memory_gb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "memory_bytes", lambda: memory_gb * 10**9)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    VideoDataModule(frames=1024, batch_size=8, image_size=448, num_workers=16, decode_processes=4, prefetch_factor=4)
    VideoDataModule(frames=100_000, batch_size=1, image_size=224, decode_deadline_s=86_400.0, seed=2**63 - 1)
    VideoDataModule(
        frames=8, batch_size=4096, image_size=224, shapes=[BatchShape(8, 4096, 1e-9), BatchShape(4, 8, 1e9)]
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("processes", 10**6), ("processes", 0), ("verify_frames", -1), ("deadline_s", NAN), ("deadline_s", INF)],
)
def test_check_refuses_them_as_well(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"--{name} is"):
        check_command("absent.jsonl", **{name: value})


@pytest.mark.parametrize("weight", [NAN, INF, 0.0, -1.0])
def test_an_absurd_weight_of_a_source_is_refused_before_it_is_read(weight: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.train: the weight of absent\.jsonl"):
        VideoDataModule(train=[VideoSource("absent.jsonl", weight=weight), VideoSource("b.jsonl", weight=1.0)])


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    assert VideoDataModule(frames=np.int64(4)).frames == 4  # type: ignore[arg-type]
