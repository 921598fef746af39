"""What `check` remarks on colours and on sound that begins first."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from painted_videos import SIZE, picture, write_video
from remuxed_videos import with_box

from liteframe.data.checking.probe import check_video
from liteframe.data.checking.source_check import check_source
from liteframe.data.decoding.processes.job import DecodeJob, decode
from liteframe.data.sampling import UniformMidpoints
from liteframe.errors import DecodeError


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("transfer, told", [("smpte2084", "PQ"), ("arib-std-b67", "HLG"), ("bt709", "")])
def test_hdr_colours_are_told(tmp_path: Path, name: str, transfer: str, told: str) -> None:
    path = write_video(tmp_path / name, 8, options={"x264-params": f"transfer={transfer}"})
    words = f"its colours are {told} (HDR) and are not tone-mapped" if told else ""
    row = check_video(str(path))
    assert row.ok and row.reason == words


def test_dolby_vision_of_profile_5_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 8)
    data = path.read_bytes()
    for profile, words in ((5, "its colours are Dolby Vision profile 5 (HDR) and are not tone-mapped"), (8, "")):
        path.write_bytes(with_box(data, b"dvvC", bytes([1, 0, profile << 1, 13]) + bytes(20)))
        assert check_video(str(path)).reason == words


def test_a_clean_aperture_is_told_where_it_crops(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 8)
    data = path.read_bytes()
    for width, words in ((SIZE - 4, "its container asks for cropping, which is not applied"), (SIZE, "")):
        path.write_bytes(with_box(data, b"clap", struct.pack(">8I", width, 1, SIZE, 1, 0, 1, 0, 1)))
        row = check_video(str(path))
        assert (row.reason, row.width, row.height) == (words, SIZE, SIZE)


def test_crops_of_matroska_are_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 8)
    unit, crop_at_top = b"\x54\xb2\x81\x04", b"\x54\xbb\x81\x04"
    data = path.read_bytes()
    assert data.count(unit) == 1 and check_video(str(path)).reason == ""
    path.write_bytes(data.replace(unit, crop_at_top))
    row = check_video(str(path))
    assert (row.reason, row.height) == ("its container asks for cropping, which is not applied", SIZE)


def write_with_sound(path: Path, late_s: float, sound_s: int = 1) -> Path:
    """A second of sound, or more, and one of pictures that begins `late_s` after it."""
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=16000)
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        for start in range(0, 16000 * sound_s, 1024):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 16000, start
            container.mux(sound.encode(samples))
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number + round(25 * late_s)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.flv"])
def test_pictures_that_begin_after_the_sound_are_told(tmp_path: Path, name: str) -> None:
    row = check_video(str(write_with_sound(tmp_path / name, 2.0)))
    assert row.ok and row.frames == 25
    assert "its first frame is shown 2." in row.reason and "times count from the first frame" in row.reason
    assert check_video(str(write_with_sound(tmp_path / f"even{name}", 0.0))).reason == ""


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_part_may_end_where_the_sound_does(tmp_path: Path, name: str) -> None:
    path = str(write_with_sound(tmp_path / name, 0.0, sound_s=4))
    (tmp_path / "list.jsonl").write_text("".join(f'{{"path": "{name}", "start": 0, "end": {end}}}\n' for end in (4, 6)))
    found, row = check_source(str(tmp_path / "list.jsonl")), check_video(path)
    assert row.lasts == pytest.approx(4, abs=0.2) and found.complete(row).lacks["outside_part"] == 1
    assert check_video(str(write_with_sound(tmp_path / f"even{name}", 0.0))).lasts == 0
    within, beyond = (DecodeJob(path, UniformMidpoints(), 4, end_s=end, row={"end": end}) for end in (4.0, 6.0))
    assert len(decode(within, "auto").indices) == 4
    with pytest.raises(DecodeError, match=r"is 1\.00 s long, and its part ends at 6 s"):
        decode(beyond, "auto")
