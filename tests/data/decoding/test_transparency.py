"""Transparent pixels are white, as on a page, and not of the colours that their writer left below."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from liteframe.data.checking.probe import check_video
from liteframe.data.decoding.decode import probe, read_frames
from liteframe.data.decoding.pictures import open_picture

SIDE = 32
OPAQUE, BELOW, WHITE = (20, 120, 220), (200, 40, 60), (255, 255, 255)


def picture(alpha: int) -> np.ndarray:
    """Left half opaque; right half of another colour, with `alpha`."""
    pixels_HWC = np.empty((SIDE, SIDE, 4), np.uint8)
    pixels_HWC[:, : SIDE // 2], pixels_HWC[:, SIDE // 2 :] = (*OPAQUE, 255), (*BELOW, alpha)
    return pixels_HWC


def write(path: Path, codec: str, pixel_format: str, pictures: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, pixel_format
        for number, pixels_HWC in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels_HWC, format="rgba").reformat(format=pixel_format)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def halves(frame_HWC: np.ndarray) -> np.ndarray:
    return frame_HWC[SIDE // 2, [SIDE // 4, 3 * SIDE // 4]].astype(int)


@pytest.mark.parametrize(
    "name, codec, pixel_format",
    [
        ("a.mov", "qtrle", "argb"),
        ("a.mov", "png", "rgba"),
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mkv", "ffv1", "yuva420p"),
        ("a.avi", "utvideo", "gbrap"),
        ("a.apng", "apng", "rgba"),
    ],
)
def test_frames_are_on_white(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    path = write(tmp_path / name, codec, pixel_format, [picture(alpha) for alpha in (255, 0, 102)])
    shown = [BELOW, WHITE, 0.4 * np.array(BELOW) + 0.6 * np.array(WHITE)]
    for frame_HWC, right in zip(read_frames(str(path), [0, 1, 2]), shown, strict=True):
        np.testing.assert_allclose(halves(frame_HWC), [OPAQUE, right], atol=6)


def test_the_fourth_byte_of_rgb_is_no_alpha(tmp_path: Path) -> None:
    unset = picture(0)
    unset[..., 3] = 0
    path = write(tmp_path / "a.avi", "rawvideo", "bgra", [unset])
    np.testing.assert_array_equal(halves(read_frames(str(path), [0])[0]), [OPAQUE, BELOW])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_pictures_are_on_white(tmp_path: Path, mode: str) -> None:
    whole = Image.fromarray(picture(0))
    if mode in ("RGBA", "LA"):
        whole.convert(mode).save(tmp_path / "a.png")
    else:  # one colour, or one place in the palette, stands for what is transparent
        plain = whole.convert("RGB").quantize(4) if mode == "P" else whole.convert("RGB").convert(mode)
        plain.save(tmp_path / "a.png", transparency=plain.getpixel((SIDE - 1, 0)))
    left = (
        OPAQUE
        if mode in ("RGBA", "P", "RGB")
        else (int(Image.new("RGB", (1, 1), OPAQUE).convert("L").getpixel((0, 0))),) * 3
    )
    np.testing.assert_allclose(halves(np.asarray(open_picture(tmp_path / "a.png"))), [left, WHITE], atol=1)


def test_an_alpha_channel_that_is_not_read_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.webm", "libvpx-vp9", "yuva420p", [picture(0)] * 2)
    assert probe(str(path)).codec == "vp9"
    assert "alpha channel (AlphaMode) is not read" in check_video(str(path)).reason
