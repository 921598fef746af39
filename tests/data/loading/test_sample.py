from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from liteframe.data.decoding.decode import VideoInfo
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames
from liteframe.data.loading.batching import SampleRequest
from liteframe.data.loading.dataset import ClipSettings, VideoDataset
from liteframe.data.loading.sample import Sample, collate
from liteframe.data.loading.skips import Skipped
from liteframe.data.sampling import Linspace
from liteframe.data.sources.manifest import VideoRow
from liteframe.data.store.feature_store import FeatureStore, StoreKey
from liteframe.data.store.finalize import finalize
from liteframe.data.store.writer import FeatureStoreWriter

SIZE = (8, 8)
SETTINGS = ClipSettings(SIZE)
INDICES = [0, 2, 4, 6, 8, 10]
TARGETS_THWC = torch.arange(2 * 2 * 2 * 3.0).reshape(2, 2, 2, 3)


class NumberedPool:
    """Decodes videos of 11 frames whose pixels are the frame's number."""

    processes = 1

    def run(self, jobs: Sequence[DecodeJob]) -> list[VideoFrames]:
        return [self._decode(job) for job in jobs]

    def _decode(self, job: DecodeJob) -> VideoFrames:
        rng = np.random.default_rng(job.seed)
        chosen = job.indices or job.sampler.indices(11, job.num_frames, 10.0, rng, job.row)
        frames_THWC = np.stack([np.full((*SIZE, 3), number, np.uint8) for number in chosen])
        info = VideoInfo(job.path, "none", 8, 8, 10.0, 11, 1.1, 0, "numbers")
        return VideoFrames(frames_THWC, np.asarray(chosen), info, 0.25)


def dataset(rows: list[VideoRow], **settings: Any) -> VideoDataset:
    return VideoDataset(rows, [Linspace()], NumberedPool(), SETTINGS, **settings)  # type: ignore[arg-type]


def frames_of(indices: Sequence[int]) -> Tensor:
    return torch.stack([torch.full((3, *SIZE), number, dtype=torch.uint8) for number in indices])


def stored(folder: Path, keeps_frames: bool) -> VideoDataset:
    key = StoreKey({}, {"block": [4, 2, 2]}, {}, {}, "auto", "float32", 4)
    video = folder / "v.mp4"
    video.touch()
    with FeatureStoreWriter(folder / "store", key, dtype=torch.float32, store_frames=keeps_frames) as writer:
        entry = {"path": str(video), "frame_indices": [*INDICES, -1, -1], "valid_frames": 6, "decoder": "numbers"}
        writer.add("v", TARGETS_THWC, entry, frames_of([*INDICES, 10, 10]))
    finalize(folder / "store", key)
    return dataset([], store=FeatureStore.open(folder / "store"), blank_batches=True)


def listed(folder: Path) -> VideoDataset:
    return dataset([VideoRow(str(folder / "v.mp4"), id="v")], blank_batches=True)


def origins(folder: Path) -> dict[str, VideoDataset]:
    for name in ("kept", "found"):
        (folder / name).mkdir()
    return {
        "list": listed(folder),
        "store with frames": stored(folder / "kept", True),
        "store": stored(folder / "found", False),
    }


def read(data: VideoDataset, blank: bool = False) -> Sample:
    (sample,) = data.__getitems__([SampleRequest(0, 6, seed=0, blank=blank)])
    assert isinstance(sample, Sample)
    return sample


def test_every_origin_gives_the_same_sample(tmp_path: Path) -> None:
    for origin, data in origins(tmp_path).items():
        sample, from_store = read(data), "store" in origin
        assert torch.equal(sample.frames_TCHW, frames_of([*INDICES, 10, 10])), origin
        assert sample.frame_indices_T.tolist() == [*INDICES, -1, -1], origin
        assert (sample.valid_frames, sample.sample_id, sample.index, sample.row["id"]) == (6, "v", 0, "v"), origin
        assert Path(sample.row["path"]).name == "v.mp4"
        decoded = origin != "store with frames"
        assert (sample.decode_s, sample.decoder) == ((0.25, "numbers") if decoded else (0.0, None)), origin
        assert (sample.resize_s > 0) == decoded, origin
        assert (sample.targets_THWC is not None) == from_store
        if sample.targets_THWC is not None:
            assert torch.equal(sample.targets_THWC, TARGETS_THWC)


def test_a_blank_sample_is_like_one_with_frames(tmp_path: Path) -> None:
    for origin, data in origins(tmp_path).items():
        whole, blank = read(data), read(data, blank=True)
        assert blank.valid_frames == 0 and (blank.sample_id, blank.index, blank.row) == ("v", 0, whole.row)
        assert blank.frame_indices_T.tolist() == [-1] * 8 and blank.decoder is None
        for field in fields(Sample):
            own, other = getattr(blank, field.name), getattr(whole, field.name)
            if isinstance(other, Tensor):
                assert (own.shape, own.dtype) == (other.shape, other.dtype), f"{origin}: {field.name}"
        assert not blank.frames_TCHW.any() and (blank.targets_THWC is None or not blank.targets_THWC.any())
        assert collate([blank]).keys() == collate([whole]).keys()


def test_each_field_of_a_sample_is_in_the_batch(tmp_path: Path) -> None:
    data = origins(tmp_path)["store"]
    batch = collate([read(data), Skipped("a.mp4", "a", "gone"), read(data, blank=True)])
    assert batch.pop("skipped") == [{"path": "a.mp4", "id": "a", "reason": "gone"}]
    assert len(batch) == len(fields(Sample)) and {len(values) for values in batch.values()} == {2}


@pytest.mark.parametrize("origin", ["list", "store"])
def test_pickling_keeps_everything(origin: str, tmp_path: Path) -> None:
    sample = read(origins(tmp_path)[origin])
    copy = pickle.loads(pickle.dumps(sample))
    for field in fields(Sample):
        own, other = getattr(copy, field.name), getattr(sample, field.name)
        assert torch.equal(own, other) if isinstance(other, Tensor) else own == other, field.name
