"""The clip store: the same frames as decoding gives, decoded once, and never those of another request."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from painted_videos import write_video

from liteframe.data.datamodule import VideoDataModule
from liteframe.data.decoding.processes.job import DecodeJob, VideoFrames, decode
from liteframe.data.loading.batching import BatchShape
from liteframe.data.loading.stage_checks import StageChecks
from liteframe.data.loading.unused_settings import require_used
from liteframe.data.sampling import Linspace, RandomSegment, UniformMidpoints
from liteframe.data.store.clip_store import ClipStore, StoredFrames
from liteframe.errors import ConfigError

LENGTHS = [3, 20, 40]


class CountingPool:
    """Decodes here, and notes what."""

    processes = 1
    decoded: list[str]

    def __init__(self, *_: Any, **__: Any) -> None:
        self.decoded = []

    def run(self, jobs: Sequence[DecodeJob]) -> list[VideoFrames]:
        self.decoded += [Path(job.path).name for job in jobs]
        return [decode(job, "pyav") for job in jobs]

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _decoding_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteframe.data.datamodule.DecodePool", CountingPool)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number, length in enumerate(LENGTHS):
        write_video(folder / f"{number}.mp4", length)
    return folder


def read(videos: Path, store: Path | None, gigabytes: float = 1.0, **settings: Any) -> tuple[torch.Tensor, list[str]]:
    """Frames of all videos and what was decoded for them, by a data module of its own."""
    given = {"image_size": 32, "frames": 8, "batch_size": len(LENGTHS), "decoder": "pyav", "sampler": Linspace()}
    clip_store = None if store is None else ClipStore(str(store), gigabytes)
    data = VideoDataModule(test=str(videos), clip_store=clip_store, **{**given, **settings})
    data.setup("test")
    (batch,) = data.loader("test")
    pool: Any = data._pool
    return batch["frames_BTCHW"], pool.decoded


def files(store: Path) -> list[Path]:
    return sorted(store.glob("*.clip.safetensors"))


def test_a_second_visit_gives_the_same_batch_and_decodes_nothing(clips: Path, tmp_path: Path) -> None:
    expected, _ = read(clips, None)
    first, decoded = read(clips, tmp_path / "store")
    again, decoded_again = read(clips, tmp_path / "store")
    assert sorted(decoded) == ["0.mp4", "1.mp4", "2.mp4"] and decoded_again == []
    assert torch.equal(first, expected) and torch.equal(again, expected)


def test_training_decodes_in_its_first_epoch_alone(clips: Path, tmp_path: Path) -> None:
    data = VideoDataModule(
        train=str(clips),
        shapes=[BatchShape(8, 3)],
        train_sampler=UniformMidpoints(),
        image_size=32,
        clip_store=ClipStore(str(tmp_path / "store")),
    )
    data.setup("fit")
    pool: Any = data._pool
    seen = []
    for _ in range(3):
        (batch,) = data.train_dataloader()
        order = np.argsort(batch["sample_ids"])
        seen.append((batch["frames_BTCHW"][order], batch["frame_indices_BT"][order], sorted(batch["decoders"])))
    assert len(pool.decoded) == 3
    for frames, indices, decoders in seen[1:]:
        assert torch.equal(frames, seen[0][0]) and torch.equal(indices, seen[0][1]) and decoders == seen[0][2]


@pytest.mark.parametrize(
    "other",
    [
        {"frames": 4},
        {"image_size": 48},
        {"sampler": UniformMidpoints()},
        {"truncated": "use"},
        {"decoder": "auto"},
    ],
    ids=str,
)
def test_other_settings_are_other_clips(clips: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    read(clips, tmp_path / "store")
    found, decoded = read(clips, tmp_path / "store", **other)
    expected, _ = read(clips, None, **other)
    assert len(decoded) == 3 and torch.equal(found, expected)


def test_another_file_of_a_name_is_decoded_and_a_file_that_moved_is_not(clips: Path, tmp_path: Path) -> None:
    read(clips, tmp_path / "store")
    write_video(clips / "1.mp4", 21)
    found, decoded = read(clips, tmp_path / "store")
    assert decoded == ["1.mp4"] and torch.equal(found, read(clips, None)[0])
    moved = Path(shutil.move(clips, tmp_path / "moved"))
    assert read(moved, tmp_path / "store")[1] == []


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("a diary"),
        lambda path: shutil.copy(files(path.parent)[0 if path != files(path.parent)[0] else 1], path),
    ],
    ids=["flipped bit", "cut short", "empty", "foreign", "of another clip"],
)
def test_damaged_files_are_said_and_made_anew(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    expected, _ = read(clips, tmp_path / "store")
    victim = files(tmp_path / "store")[1]
    damage(victim)
    found, decoded = read(clips, tmp_path / "store")
    assert torch.equal(found, expected) and len(decoded) == 1
    assert str(victim) in caplog.text and "decoded again" in caplog.text
    assert read(clips, tmp_path / "store")[1] == []


def test_a_full_store_keeps_what_it_has_and_grows_no_more(clips: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "notes.txt").write_bytes(b"x" * 10_000_000)
    one = 8 * 3 * 32 * 32 / 1e9
    expected, _ = read(clips, None)
    for _ in range(2):
        found, _ = read(clips, store, gigabytes=1.5 * one)
        assert torch.equal(found, expected)
    assert len(files(store)) == 2 and (store / "notes.txt").stat().st_size == 10_000_000
    assert len(read(clips, store, gigabytes=1.5 * one)[1]) == 1


def test_a_disk_that_takes_nothing_stops_no_run(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("liteframe.data.store.clip_store.atomic_open", full)
    found, _ = read(clips, tmp_path / "store")
    assert torch.equal(found, read(clips, None)[0]) and "No space left" in caplog.text


def test_many_writers_of_one_clip_leave_one_whole_file(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    store = ClipStore(str(tmp_path))
    store.prepare()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: store.write("a", StoredFrames(frames, tuple(range(8)))), range(40)))
    clip = store.read("a")
    assert clip is not None and torch.equal(clip.frames_TCHW, frames) and clip.indices == tuple(range(8))
    assert clip.decoder is None and store.read("b") is None
    assert [path.name for path in tmp_path.iterdir()] == [files(tmp_path)[0].name]


def test_what_comes_of_it_can_be_changed_without_changing_the_file(tmp_path: Path) -> None:
    store = ClipStore(str(tmp_path))
    store.write("a", StoredFrames(torch.full((2, 3, 4, 4), 7, dtype=torch.uint8), (0, 1), "pyav"))
    before = files(tmp_path)[0].read_bytes()
    clip = store.read("a")
    assert clip is not None and clip.decoder == "pyav"
    clip.frames_TCHW.zero_()
    assert files(tmp_path)[0].read_bytes() == before


def test_settings_that_it_cannot_help_are_refused_by_name(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"clip_store\.gigabytes is 0"):
        ClipStore("store", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"clip_store\.folder .*file"):
        ClipStore(str(tmp_path / "file")).prepare()
    store = ClipStore(str(tmp_path / "store"))
    at_random = VideoDataModule(train=str(clips), train_sampler=RandomSegment(), clip_store=store)
    with pytest.raises(ConfigError, match=r"data\.clip_store .*RandomSegment.*data\.train_sampler"):
        at_random.setup("fit")
    with pytest.raises(ConfigError, match=r"data\.clip_store .*RandomSegment.*data\.sampler"):
        require_used(VideoDataModule(predict=str(clips), sampler=RandomSegment(), clip_store=store), "predict", None)
    some = [BatchShape(8, 1), BatchShape(4, 1, sampler=UniformMidpoints())]
    require_used(VideoDataModule(train=str(clips), shapes=some, clip_store=store), "fit", None)


def test_frames_drawn_at_random_are_not_kept(clips: Path, tmp_path: Path) -> None:
    shapes = [BatchShape(8, 3, sampler=RandomSegment()), BatchShape(4, 3, sampler=UniformMidpoints())]
    store, counts = ClipStore(str(tmp_path / "store")), set()
    for seed in range(6):
        data = VideoDataModule(train=str(clips), shapes=shapes, image_size=32, clip_store=store, seed=seed)
        data.setup("fit")
        (batch,) = data.train_dataloader()
        counts.add(batch["frames_BTCHW"].shape[1])
    assert counts == {4, 8} and len(files(tmp_path / "store")) == 3


def test_configs_name_it() -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(VideoDataModule, "data")
    config = {"class_path": "VideoDataModule", "init_args": {"clip_store": {"folder": "clips", "gigabytes": 2}}}
    parsed = parser.parse_object({"data": config})
    assert parser.instantiate_classes(parsed).data.clip_store == ClipStore("clips", 2.0)
    assert "_usage" not in parser.dump(parsed)


def timed(videos: Path, store: Path) -> tuple[list[Any], list[str]]:
    """Times of the frames of all videos, and what was decoded for them."""
    data = VideoDataModule(
        test=str(videos), clip_store=ClipStore(str(store)), image_size=32, batch_size=1, decoder="pyav"
    )
    data.setup("test")
    pool: Any = data._pool
    return [times for batch in data.loader("test") for times in batch["frame_times_s"]], pool.decoded


def test_times_of_frames_are_kept(clips: Path, tmp_path: Path) -> None:
    (first, decoded), again = timed(clips, tmp_path / "store"), timed(clips, tmp_path / "store")
    assert len(decoded) == 3 and again == (first, [])
    assert [len(times) for times in first] == [3, 8, 8]
    for times in first:
        assert np.allclose(np.array(times) * 25, np.round(np.array(times) * 25), atol=1e-2) and times[-1] > times[0]


def test_clips_of_earlier_versions_are_decoded_again_where_times_are_needed(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ClipStore.write
    with monkeypatch.context() as earlier:
        earlier.setattr(ClipStore, "write", lambda own, asked, clip: write(own, asked, replace(clip, times_s=None)))
        timed(clips, tmp_path / "store")
    assert timed(clips, tmp_path / "store") == ([None] * 3, [])
    monkeypatch.setattr(StageChecks, "timed", True)
    found, decoded = timed(clips, tmp_path / "store")
    assert len(decoded) == 3 and all(found)
    assert timed(clips, tmp_path / "store") == (found, [])


def test_times_that_have_changed_are_not_taken(clips: Path, tmp_path: Path) -> None:
    expected, _ = timed(clips, tmp_path / "store")
    for path in files(tmp_path / "store"):
        data = path.read_bytes()
        (told,) = {np.array(times).tobytes() for times in expected if np.array(times).tobytes() in data}
        path.write_bytes(data.replace(told, np.full(len(told) // 8, 9.0).tobytes()))
    found, decoded = timed(clips, tmp_path / "store")
    assert found == expected and len(decoded) == 3
