"""Pictures come out as a display matrix maps them, wherever it stands; what is no right angle is left and said."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from painted_videos import SIZE, picture, write_video
from remuxed_videos import with_message

from liteframe.data.decoding.decode import probe, read_frames
from liteframe.data.decoding.orientation import from_matrix
from liteframe.data.decoding.pyav.scan import scan
from liteframe.errors import DecodeError

_ONE = 1 << 16
EIGHT = [
    (1, 0, 0, 1),
    (-1, 0, 0, -1),
    (0, 1, -1, 0),
    (0, -1, 1, 0),
    (-1, 0, 0, 1),
    (1, 0, 0, -1),
    (0, 1, 1, 0),
    (0, -1, -1, 0),
]
"""a, b, c, d of the turns and mirrorings by right angles: x' = a x + c y, y' = b x + d y."""


def with_matrix(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """The file with that display matrix in the header of its first track."""
    data, (a, b, c, d) = bytearray(path.read_bytes()), (round(number * _ONE) for number in matrix)
    header = data.index(b"tkhd") + 4
    data[header + 40 : header + 76] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def mapped(picture_HWC: np.ndarray, matrix: tuple[float, ...]) -> np.ndarray:
    """Each pixel put where the matrix says, and the whole moved back to the corner."""
    a, b, c, d = (int(number) for number in matrix)
    y, x = np.mgrid[: picture_HWC.shape[0], : picture_HWC.shape[1]]
    right, down = a * x + c * y, b * x + d * y
    out = np.empty((int(np.ptp(down)) + 1, int(np.ptp(right)) + 1, 3), np.uint8)
    out[down - down.min(), right - right.min()] = picture_HWC
    return out


@pytest.mark.parametrize("matrix", EIGHT)
def test_each_right_angle_with_and_without_mirroring(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    plain = read_frames(str(write_video(tmp_path / "a.mp4", 4)), [0, 3])
    path = str(with_matrix(write_video(tmp_path / "b.mp4", 4), matrix))
    expected = np.stack([mapped(frame, matrix) for frame in plain])
    np.testing.assert_array_equal(read_frames(path, [0, 3]), expected)
    seen = scan(path)
    assert (seen.orientation.doubt, seen.orientation_in_stream) == ("", False)
    assert probe(path).mirrored == (np.linalg.det(np.reshape(matrix, (2, 2))) < 0)
    wide = picture(5)[:40]
    np.testing.assert_array_equal(mapped(wide, matrix).shape[:2], wide.shape[:2][:: 1 if matrix[0] else -1])


@pytest.mark.parametrize("rotate, matrix", [(0, EIGHT[0]), (90, EIGHT[3]), (180, EIGHT[1]), (270, EIGHT[2])])
@pytest.mark.parametrize("flip", ["", "horizontal"])
def test_an_orientation_in_the_stream_is_heeded_and_decord_is_not_asked(
    tmp_path: Path, rotate: int, matrix: tuple[int, int, int, int], flip: str
) -> None:
    """As FFmpeg says: the picture is flipped, then turned counter-clockwise."""
    plain = write_video(tmp_path / "a.mp4", 4)
    options = f"display_orientation=insert:rotate={rotate}" + (f":flip={flip}" if flip else "")
    path = str(with_message(plain, tmp_path / "b.mp4", options))
    frames = read_frames(str(plain), [0, 3])
    flipped = frames[:, :, ::-1] if flip else frames
    np.testing.assert_array_equal(read_frames(path, [0, 3]), [mapped(frame, matrix) for frame in flipped])
    if rotate or flip:
        with pytest.raises(DecodeError, match=r"to be turned|not installed"):
            read_frames(path, [0], "decord")


def test_the_containers_orientation_goes_before_that_of_the_stream(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "a.mp4", 4)
    both = with_message(plain, tmp_path / "b.mp4", "display_orientation=insert:rotate=180")
    path = str(with_matrix(both, EIGHT[2]))
    expected = [mapped(frame, EIGHT[2]) for frame in read_frames(str(plain), range(4))]
    np.testing.assert_array_equal(read_frames(path, range(4)), expected)
    for index in range(4):
        np.testing.assert_array_equal(read_frames(path, [index])[0], expected[index])


@pytest.mark.parametrize("matrix", [(0.7, 0.7, -0.7, 0.7), (1, 0, 0.5, 1), (0, 0, 0, 0)])
def test_other_matrices_leave_the_picture_and_are_said(tmp_path: Path, matrix: tuple[float, ...]) -> None:
    told = from_matrix(np.array([matrix[0], matrix[1], 0, matrix[2], matrix[3], 0, 0, 0, 1]) * _ONE)
    assert told.doubt and (told.rotation, told.mirrored) == (0, False)
    plain = write_video(tmp_path / "a.mp4", 2)
    frames = read_frames(str(plain), [0, 1])
    path = str(with_matrix(plain, matrix))
    np.testing.assert_array_equal(read_frames(path, [0, 1]), frames)
    assert scan(path).orientation.doubt or matrix == (0, 0, 0, 0)  # FFmpeg ignores a matrix of zeros


def test_scaled_matrices_are_right_angles_too() -> None:
    assert from_matrix(np.array([0, -2, 0, 3, 0, 0, 0, 0, 1]) * _ONE).rotation == 90


def test_the_shape_of_pixels_is_told_and_frames_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
        container.mux(stream.encode(None))
    assert probe(str(path)).sample_aspect == 2 and read_frames(str(path), [0]).shape == (1, SIZE, SIZE, 3)
    assert scan(str(with_matrix(path, EIGHT[2]))).sample_aspect == 0.5
