"""When frames are, from their file to the batch of a run: true to the file, whatever the precision of the run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.precision import HalfPrecision
from painted_videos import write_video
from torch import Tensor

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.sampling import Linspace

MS = [0, 40, 55, 60, 200, 210, 300, 1000, 1010, 1500, 1_861_700, 5_463_800, 70_000_100]
"""Of a variable rate, to hours that bfloat16 rounds by minutes and float16 does not hold."""
ROWS: list[dict[str, Any]] = [{"id": "whole"}, {"id": "part", "start": 0.19, "end": 1.2}]
EXPECTED = {"whole": MS, "part": [60, 200, 210, 300, 1000, 1010]}


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("times")
    path = write_video(folder / "rate.mkv", len(MS), times=MS, options={"g": "12"})
    listed = folder / "list.jsonl"
    listed.write_text("".join(json.dumps({**row, "path": str(path)}) + "\n" for row in ROWS))
    data = VideoDataModule(val=str(listed), image_size=32, frames=16, batch_size=2, sampler=Linspace(), decoder="pyav")
    (found,) = data.loader("val")
    data.teardown("validate")
    return found


def told(batch: dict[str, Any]) -> dict[str, list[float]]:
    return dict(zip(batch["sample_ids"], map(list, batch["frame_times_s"]), strict=True))


def test_times_are_those_of_the_file_and_count_from_its_start(batch: dict[str, Any]) -> None:
    assert batch["valid_frames_B"].tolist() == [len(EXPECTED[name]) for name in batch["sample_ids"]]
    for name, times in told(batch).items():
        np.testing.assert_allclose(times, np.array(EXPECTED[name]) / 1000, atol=1.1e-3)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_no_precision_of_a_run_rounds_them(batch: dict[str, Any], precision: Any) -> None:
    cast = HalfPrecision(precision).convert_input(batch)
    assert told(cast) == told(batch)
    moved = VideoDataModule(val="").transfer_batch_to_device(cast, torch.device("cpu"), 0)
    assert told(moved) == told(batch)


def test_no_tensor_of_a_batch_is_of_a_kind_that_some_devices_lack(batch: dict[str, Any]) -> None:
    assert all(value.dtype != torch.float64 for value in batch.values() if isinstance(value, Tensor))
