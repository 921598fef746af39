"""Transparent pixels are white, as on a page, and not of the colours that their writer left below."""

from __future__ import annotations

import struct
import zlib
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
        ("a.avi", "ffv1", "bgra"),
        ("a.avi", "utvideo", "gbrap"),
        ("a.apng", "apng", "rgba"),
    ],
)
def test_frames_are_on_white(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    path = write(tmp_path / name, codec, pixel_format, [picture(alpha) for alpha in (255, 0, 102)])
    shown = [BELOW, WHITE, 0.4 * np.array(BELOW) + 0.6 * np.array(WHITE)]
    for frame_HWC, right in zip(read_frames(str(path), [0, 1, 2]), shown, strict=True):
        np.testing.assert_allclose(halves(frame_HWC), [OPAQUE, right], atol=6)


def faded(alpha: int) -> np.ndarray:
    """All of the picture with one alpha, as at a step of a fade-in."""
    pixels_HWC = picture(alpha)
    pixels_HWC[..., 3] = alpha
    return pixels_HWC


@pytest.mark.parametrize("name, codec", [("a.mkv", "ffv1"), ("a.mov", "rawvideo")])
def test_a_frame_that_is_transparent_all_over_is_white(tmp_path: Path, name: str, codec: str) -> None:
    path = write(tmp_path / name, codec, "bgra", [faded(alpha) for alpha in (0, 255, 0)])
    shown = [[WHITE, WHITE], [OPAQUE, BELOW], [WHITE, WHITE]]
    for frame_HWC, colours in zip(read_frames(str(path), range(3)), shown, strict=True):
        np.testing.assert_array_equal(halves(frame_HWC), colours)


@pytest.mark.parametrize("codec", ["rawvideo", "huffyuv"])
def test_the_fourth_byte_of_rgb_is_no_alpha_whatever_it_holds(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / "a.avi", codec, "bgra", [faded(alpha) for alpha in (0, 128, 255, 0)])
    for frame_HWC in read_frames(str(path), range(4)):
        np.testing.assert_array_equal(halves(frame_HWC), [OPAQUE, BELOW])


def test_the_fourth_byte_of_a_tga_is_alpha_where_its_header_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tga"
    Image.fromarray(faded(0)).save(path)
    np.testing.assert_array_equal(halves(np.asarray(open_picture(path))), [WHITE, WHITE])
    data = bytearray(path.read_bytes())
    data[17] &= 0xF0
    path.write_bytes(data)
    np.testing.assert_array_equal(halves(np.asarray(open_picture(path))), [OPAQUE, BELOW])


def png(bits: int, colour: int, row: bytes, transparent: bytes) -> bytes:
    """A PNG of two pixels in a row, one level or colour of which is transparent (tRNS)."""
    header = struct.pack(">IIBBBBB", 2, 1, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize(
    "bits, colour, row, transparent, left",
    [
        (1, 0, b"\x40", b"\0\x01", 0),
        (2, 0, b"\x60", b"\0\x02", 85),
        (4, 0, b"\x57", b"\0\x07", 85),
        (8, 0, b"\x55\x07", b"\0\x07", 85),
        (16, 0, b"\x07\x09\x07\x08", b"\x07\x08", 7),
        (16, 2, b"\x01\x08" * 3 + b"\x07\x08" * 3, b"\x07\x08" * 3, 1),
    ],
)
def test_the_transparent_level_of_a_picture_of_any_depth_is_white(
    tmp_path: Path, bits: int, colour: int, row: bytes, transparent: bytes, left: int
) -> None:
    (tmp_path / "a.png").write_bytes(png(bits, colour, row, transparent))
    pixels_HWC = np.asarray(open_picture(tmp_path / "a.png"))
    np.testing.assert_array_equal(pixels_HWC[0], [[left] * 3, WHITE])


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
