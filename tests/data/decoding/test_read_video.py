from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted_videos import number_of, write_video

import liteframe
from liteframe.data.decoding import read_video as reading
from liteframe.data.decoding.decode import read_frames
from liteframe.data.sampling import Linspace
from liteframe.data.transforms import resize_uint8
from liteframe.errors import ConfigError, DataError, DecodeError, DecodeTimeout


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 50)


def test_frames_carry_their_numbers_times_and_decoder(clip: Path) -> None:
    video = liteframe.read_video(clip, frames=7, sampler=Linspace())
    assert [number_of(frame) for frame in video.frames_THWC] == video.indices.tolist()
    assert video.frames_THWC.shape == (7, 64, 64, 3) and video.frames_THWC.dtype == np.uint8
    assert video.times_s is not None
    np.testing.assert_allclose(video.times_s, video.indices / 25, atol=1e-9)
    assert video.decoder == "pyav" and video.info == liteframe.probe_video(clip)


def test_size_scales_as_the_model_sees_it(clip: Path) -> None:
    small = liteframe.read_video(clip, frames=5, size=(28, 20))
    whole = read_frames(str(clip), small.indices)
    np.testing.assert_array_equal(small.frames_THWC, resize_uint8(whole, (28, 20)).permute(0, 2, 3, 1).numpy())


def test_rate_start_and_end(clip: Path) -> None:
    video = liteframe.read_video(clip, frames=None, fps=5, start=0.4, end=1.4)
    assert video.indices.tolist() == [10, 15, 20, 25, 30]
    assert liteframe.read_video(clip, frames=None).indices.tolist() == list(range(50))


def test_a_file_may_be_given_as_a_url(clip: Path) -> None:
    assert liteframe.probe_video(clip.as_uri()).path == str(clip)
    assert len(liteframe.read_video(clip.as_uri(), frames=3).frames_THWC) == 3


def test_one_child_is_left_whatever_the_deadlines_and_threads(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_pools", {})
    for deadline_s in (50.0, 51.0, 52.5):
        liteframe.read_video(clip, frames=2, deadline_s=deadline_s)
    liteframe.probe_video(clip)
    (pool,) = reading._pools.values()
    assert len(pool.children()) == 1
    with ThreadPoolExecutor(3) as threads:
        videos = list(threads.map(lambda count: liteframe.read_video(clip, frames=count), range(2, 8)))
    assert [len(video.indices) for video in videos] == [2, 3, 4, 5, 6, 7]
    assert len(pool.children()) == 1
    pool.close()


@pytest.mark.parametrize(
    "settings",
    [
        *({"size": size} for size in ((2.5, 3), 10, (10,), (3, True), "ab", (1, 2, 3), (float("nan"), 4))),
        *({name: value} for name in ("start", "end") for value in ("3", True, float("nan"), 1j, [1])),
        *({"frames": frames} for frames in (2.5, "3", True, -1, [4])),
        *({"fps": fps} for fps in ("1", True, 0, float("nan"), [1])),
        *({"sampler": sampler} for sampler in (lambda: None, Linspace, "Linspace", 3)),
        *({"deadline_s": deadline} for deadline in ("3", None, 0, -1.0, float("inf"), True)),
        *({"decoder": decoder} for decoder in (None, 3, ["pyav"], "vlc")),
        *({"truncated": truncated} for truncated in (True, "maybe", ["use"])),
        *({"path": path} for path in (None, 3, b"a.mp4", ["a.mp4"])),
    ],
    ids=lambda settings: ", ".join(settings),
)
def test_settings_that_make_no_sense_are_told_by_name(clip: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        liteframe.read_video(**{"path": clip, **settings})
    text = str(error.value)
    assert text.startswith(next(iter(settings))) and ("give" in text or "none of" in text) and "\n" not in text


def test_numbers_of_numpy_are_numbers(clip: Path) -> None:
    small = np.array([20, 28])
    video = liteframe.read_video(clip, frames=np.int64(3), size=small, start=np.float32(0.4), end=np.int32(1))  # type: ignore[arg-type]
    assert video.frames_THWC.shape == (3, 20, 28, 3)
    assert len(liteframe.read_video(clip, frames=5, size=[8, 8]).indices) == 5  # type: ignore[arg-type]


def test_a_sampler_that_cannot_be_sent_is_no_fault_of_the_video(clip: Path) -> None:
    class Local(Linspace):
        """Of a class that no other process finds."""

    with pytest.raises(ConfigError, match=r"Local.* cannot be sent .*; define its class in a module"):
        liteframe.read_video(clip, sampler=Local())


def test_no_file_is_asked_for_by_nothing() -> None:
    with pytest.raises(ConfigError, match="path is None; give"):
        liteframe.probe_video(None)  # type: ignore[arg-type]


def test_errors_name_the_file_or_the_setting(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:300])
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        liteframe.read_video(broken)
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        liteframe.probe_video(broken)
    with pytest.raises(DataError, match="nothing is fetched"):
        liteframe.probe_video("https://example.org/a.mp4")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(clip.read_bytes())
    with pytest.raises(DecodeTimeout, match=r"bad\.mp4.*within"):
        liteframe.read_video(bad, decoder="slow_decoders:sleeps_for_ever_on_bad", deadline_s=0.1)
    with pytest.raises(ConfigError, match="frames is 0"):
        liteframe.read_video(clip, frames=0)
    with pytest.raises(ConfigError, match="fps and sampler"):
        liteframe.read_video(clip, fps=1, sampler=Linspace())
    with pytest.raises(ConfigError, match="size is"):
        liteframe.read_video(clip, size=(0, 5))
    with pytest.raises(ConfigError, match="decoder"):
        liteframe.read_video(clip, decoder="vlc")
