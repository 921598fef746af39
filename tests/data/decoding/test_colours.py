"""Colours are those that the matrix and the range of a file's YUV say, whichever PyAV converts them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from liteframe.data.decoding import pyav_versions
from liteframe.data.decoding.decode import read_frames

COLOURS = np.array([[200, 40, 60], [30, 180, 90], [40, 60, 210], [220, 200, 40], [250, 250, 250], [128, 128, 128]])
SIDE = 32
WEIGHTS = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}
"""Of red and blue in the brightness (ITU-R BT.709, BT.601 and BT.2020)."""


def yuv_of(matrix: str, full: bool, bits: int) -> np.ndarray:
    red, blue = WEIGHTS[matrix]
    r, g, b = COLOURS.T / 255
    y = red * r + (1 - red - blue) * g + blue * b
    differences = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    most, unit = 2**bits - 1, 2 ** (bits - 8)
    if full:
        return np.round([y * most, *(d * most + 128 * unit for d in differences)]).clip(0, most).astype(int)
    return np.round([(16 + 219 * y) * unit, *((128 + 224 * d) * unit for d in differences)]).astype(int)


def patches(path: Path, matrix: str, full: bool, bits: int) -> Path:
    """Patches of the colours side by side in H.264, whose parameters tell matrix and range."""
    luma, *chroma = yuv_of(matrix, full, bits)
    planes = [np.tile(np.repeat(luma, SIDE), (SIDE, 1))]
    planes += [np.tile(np.repeat(values, SIDE // 2), (SIDE // 2, 1)) for values in chroma]
    width, dtype = SIDE * len(luma), np.uint8 if bits == 8 else np.uint16
    pixel_format = "yuv420p" if bits == 8 else "yuv420p10le"
    told = f"colormatrix={matrix}:fullrange={'on' if full else 'off'}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "x264-params": told})
        stream.width, stream.height, stream.pix_fmt = width, SIDE, pixel_format
        frame = av.VideoFrame(width, SIDE, pixel_format)
        for plane, values in zip(frame.planes, planes, strict=True):
            row = values.astype(dtype).view(np.uint8)
            buffer = np.zeros((plane.height, plane.line_size), np.uint8)
            buffer[:, : row.shape[1]] = row
            plane.update(buffer.tobytes())
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(path: Path) -> np.ndarray:
    """The colour in the middle of each patch."""
    (frame_HWC,) = read_frames(str(path), [0])
    return frame_HWC[SIDE // 2, SIDE // 2 :: SIDE].astype(int)


@pytest.mark.parametrize("as_before_17", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_colours_are_those_that_the_file_says(
    matrix: str, full: bool, bits: int, as_before_17: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if as_before_17:
        monkeypatch.setattr(pyav_versions, "_heeds_colours", lambda: False)
    np.testing.assert_allclose(shown(patches(tmp_path / "a.mp4", matrix, full, bits)), COLOURS, atol=6)


def test_what_one_frame_says_is_not_kept_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyav_versions, "_heeds_colours", lambda: False)
    convert = pyav_versions.rgb_converter("h264", "mov,mp4,m4a,3gp,3g2,mj2")
    plain, told = (av.VideoFrame.from_ndarray(np.full((24, 16), 90, np.uint8), "yuv420p") for _ in range(2))
    before = convert(plain)
    told.colorspace = 1
    assert not np.array_equal(convert(told), before)
    np.testing.assert_array_equal(convert(plain), before)
