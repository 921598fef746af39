"""Videos that are kept as a picture a frame, whatever is among the pictures."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from liteframe.errors import DecodeError
from liteframe.evaluation.benchmarks.question import questions_of
from liteframe.evaluation.frames import FrameReader, Stretch, parse_sampler
from liteframe.hf.inputs import read_image

SIZE = (28, 36)
CHOICE = {"question": "Which?", "options": ["red", "blue"], "answer": "red"}
VIDEO = Stretch("video", pictures_fps=3.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A video of four pictures, of which the first is smaller."""
    folder = tmp_path / "root/video"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, size in enumerate([(20, 30), (90, 70), (90, 70), (90, 70)], start=1):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{number:05d}.png")
    return tmp_path / "root"


@pytest.fixture(scope="module")
def readers() -> Iterator[list[FrameReader]]:
    made: list[FrameReader] = []
    yield made
    for reader in made:
        reader.close()


def reader(root: Path, readers: list[FrameReader]) -> FrameReader:
    readers.append(FrameReader(root, parse_sampler("UniformMidpoints"), (2, 4), SIZE))
    return readers[-1]


def test_pictures_are_those_of_the_processor(root: Path, readers: list[FrameReader]) -> None:
    (read,) = reader(root, readers).read(VIDEO)
    paths = [root / "video" / f"{number:05d}.png" for number in range(1, 5)]
    assert torch.equal(read.frames_TCHW, torch.cat([read_image(path, SIZE) for path in paths]))
    assert read.times_T.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert read.seen(2).times_s == tuple(read.times_T[read.places[2]])


def varying(path: Path) -> list[int]:
    """A video of a hundred frames in a little more than three seconds, and then five a second: their milliseconds."""
    times_ms = [*(33 * place for place in range(100)), *(3300 + 200 * place for place in range(50))]
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in times_ms:
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return times_ms


def test_times_are_those_on_screen_and_the_rate_is_the_containers(tmp_path: Path, readers: list[FrameReader]) -> None:
    times_ms = varying(tmp_path / "varying.mp4")
    (read,) = reader(tmp_path, readers).read(Stretch("varying.mp4"))
    assert read.times_T == pytest.approx([times_ms[index] / 1000 for index in read.indices_T], abs=2e-3)
    with av.open(tmp_path / "varying.mp4") as container:
        assert read.fps == float(container.streams.video[0].average_rate or 0) > 0


def test_a_part_of_ones_own_list_ends_in_its_video(tmp_path: Path, readers: list[FrameReader]) -> None:
    """One that a benchmark publishes is cut at the end of its video, as harnesses do it."""
    varying(tmp_path / "varying.mp4")  # 13.3 s
    (own,) = questions_of({"path": "varying.mp4", "id": "a", **CHOICE, "start": 12.0, "end": 20.0}, video="varying.mp4")
    read = reader(tmp_path, readers).read
    with pytest.raises(DecodeError, match="is 13\\.30 s long, and its part ends at 20 s; where the file is that part"):
        read(Stretch.of(own))
    (published,) = read(Stretch.of(replace(own, ends_in_video=False)))
    (within,) = read(Stretch.of(replace(own, end_s=14.0)))
    assert published.times_T[-1] == within.times_T[-1] > 12


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bomb(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 12_000, 9_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1 << 20))), (b"IEND", b"")]
    written = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        written += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(written)


def link_out(path: Path) -> None:
    outside = path.parents[2] / "secret.png"
    Image.new("RGB", (8, 8)).save(outside)
    path.symlink_to(outside)


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (pipe, "no file but a folder, a pipe or a device"),
        (Path.mkdir, "no file but a folder, a pipe or a device"),
        (bomb, "12000 x 9000 pixels"),
        (lambda path: path.write_bytes(b"no picture"), "cannot be read as an image"),
        (link_out, "leads out of"),
    ],
    ids=["pipe", "folder", "bomb", "text", "link"],
)
def test_whatever_is_named_as_a_picture_costs_its_video_alone(
    put: object, said: str, root: Path, readers: list[FrameReader]
) -> None:
    path = root / "video/00002.png"
    path.unlink()
    assert callable(put)
    put(path)
    with pytest.raises(DecodeError, match=said):
        reader(root, readers).read(VIDEO)
